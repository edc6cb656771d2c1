"""What others do between two requests of ours: a removal that began before our lock, and a file that is replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.azure import reading, writing
from aiofs.backends.azure.client import PART
from aiofs.backends.azure.names import LOCKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.storage.blob import ContainerClient

    from aiofs.driver import ReadStream
    from aiofs.stores import AzureFileSystem

pytestmark = pytest.mark.may_block  # the tests change files from outside with a client that blocks


@pytest.fixture(params=["made", "replaced", "removed"])
def meddle(request: pytest.FixtureRequest, raw: ContainerClient) -> Callable[[], None]:
    """Prepare what is there, and return what others do to it."""
    if request.param != "made":
        raw.upload_blob("file", b"old")
    if request.param == "removed":
        return lambda: raw.delete_blob("file")
    return lambda: raw.upload_blob("file", b"theirs", overwrite=True) and None


@pytest.mark.parametrize("size", [3, PART + 1])
async def test_who_asked_for_no_version_replaces_what_is_there(
    fs: AzureFileSystem, meddle: Callable[[], None], size: int
) -> None:
    async with fs.open("file", "w") as file:
        await file.write(bytes(size))
        meddle()
    assert await fs.read_bytes("file") == bytes(size)


async def test_a_copy_replaces_what_is_there(
    fs: AzureFileSystem, meddle: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = writing.version_to_replace, 0

    async def then_meddle(*given: object) -> str:
        nonlocal looks
        version = await look(*given)  # type: ignore[arg-type]
        looks += 1
        if looks == 1:
            meddle()
        return version

    monkeypatch.setattr(writing, "version_to_replace", then_meddle)
    await fs.write_bytes("source", b"new")
    await fs.copy("source", "file")
    assert await fs.read_bytes("file") == b"new"
    assert looks == 2


async def test_a_lost_lock_publishes_nothing(fs: AzureFileSystem, raw: ContainerClient) -> None:
    with pytest.raises(BlockingIOError):
        async with fs.open("file", "w") as file:
            await file.write(b"late")
            (lock,) = raw.list_blob_names(name_starts_with=LOCKS)
            raw.get_blob_client(lock).delete_blob(lease=file._lease.fence)  # type: ignore[attr-defined]
            raw.upload_blob("file", b"theirs")
    assert await fs.read_bytes("file") == b"theirs"


async def test_an_empty_file_is_replaced_while_it_is_opened(
    fs: AzureFileSystem, raw: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fs.write_bytes("file", b"")
    look = reading._without_bytes

    async def replaced(*given: object) -> ReadStream:
        await asyncio.to_thread(raw.upload_blob, "file", b"longer", overwrite=True)
        return await look(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "_without_bytes", replaced)
    assert await fs.read_bytes("file") == b"longer"
