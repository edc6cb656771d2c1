"""What others do between two requests of ours: a removal that began before our lock, and a file that is replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.azure import reading, writing
from aiofs.backends.azure.client import PART
from aiofs.backends.azure.names import LOCKS
from aiofs.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.storage.blob import ContainerClient

    from aiofs.driver import Entry, ReadStream
    from aiofs.stores import AzureFileSystem

pytestmark = pytest.mark.may_block  # the tests change files from outside with a client that blocks


@pytest.fixture(params=["made", "replaced", "removed"])
def meddle(request: pytest.FixtureRequest, raw: ContainerClient) -> Callable[[], bool]:
    """Prepare what is there, and return what others do to it; that returns whether it is a file of theirs now."""
    if request.param != "made":
        raw.upload_blob("file", b"old")

    def replace() -> bool:
        raw.upload_blob("file", b"theirs", overwrite=True)
        return True

    def remove() -> bool:
        raw.delete_blob("file")
        return False

    return remove if request.param == "removed" else replace


@pytest.mark.parametrize("size", [3, PART + 1])
async def test_a_writer_takes_the_place_of_a_removed_file_alone(
    fs: AzureFileSystem, meddle: Callable[[], bool], size: int
) -> None:
    file = await fs.open("file", "w")
    await file.write(bytes(size))
    if meddle():
        with pytest.raises(Conflict):
            await file.close()
        assert await fs.read_bytes("file") == b"theirs"
    else:
        await file.close()
        assert await fs.read_bytes("file") == bytes(size)


async def test_a_large_file_whose_place_is_gone_at_its_start(fs: AzureFileSystem, raw: ContainerClient) -> None:
    raw.upload_blob("file", b"old")
    async with fs.open("file", "w") as file:
        raw.delete_blob("file")
        await file.write(bytes(2 * PART + 1))
    assert await fs.read_bytes("file") == bytes(2 * PART + 1)


async def test_a_copy_takes_the_place_of_a_removed_file_alone(
    fs: AzureFileSystem, meddle: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    send, theirs = writing.Copier._to, []

    async def meddled(*given: Any) -> Entry:
        if not theirs:
            theirs.append(meddle())
        return await send(*given)

    monkeypatch.setattr(writing.Copier, "_to", meddled)
    await fs.write_bytes("source", b"new")
    try:
        await fs.copy("source", "file")
    except Conflict:
        assert theirs == [True]
        assert await fs.read_bytes("file") == b"theirs"
    else:
        assert theirs == [False]
        assert await fs.read_bytes("file") == b"new"


@pytest.mark.parametrize("before", [True, False])
async def test_a_lost_lock_publishes_nothing(fs: AzureFileSystem, raw: ContainerClient, before: bool) -> None:
    if before:
        raw.upload_blob("file", b"old")
    with pytest.raises(BlockingIOError):
        async with fs.open("file", "w") as file:
            await file.write(b"late")
            (lock,) = raw.list_blob_names(name_starts_with=LOCKS)
            raw.get_blob_client(lock).delete_blob(lease=file._lease.fence)  # type: ignore[attr-defined]
            if before:
                raw.delete_blob("file")
            else:
                raw.upload_blob("file", b"theirs")
    if before:
        assert not await fs.exists("file")
    else:
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
