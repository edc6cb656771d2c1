"""What a writer can do who may create and write blobs, but not delete them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.azure.driver import AzureDriver
from aiofs.errors import AccessDenied, Locked
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from azure.storage.blob import ContainerClient

    from servers.azurite.server import AzureAccount

LARGE = bytes(range(256)) * 4096 * 9  # 9 MiB
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
async def writer(azurite: AzureAccount) -> AsyncIterator[AzureFileSystem]:
    """The same files for somebody who may read, create, write and list."""
    signature = azurite.signature("rcwl")
    async with AzureFileSystem(azurite.container, account_url=azurite.url, credential=signature) as system:
        yield system


async def test_writing_needs_no_right_to_delete(writer: AzureFileSystem) -> None:
    for data in (b"one", b"two", LARGE):
        await writer.write_bytes("file", data)
        assert await writer.read_bytes("file") == data
    for mode in ("a", "r+"):
        async with writer.open("file", mode) as file:
            await file.write(b"changed")
    await writer.copy("file", "copy")
    assert await writer.read_bytes("copy") == b"changed" + LARGE[7:] + b"changed"
    with pytest.raises(RuntimeError):
        async with writer.open("new", "w") as file:
            await file.write(LARGE)
            raise RuntimeError
    await writer.write_bytes("new", b"new")
    assert await writer.ls() == ["copy", "file", "new"]


async def test_a_lock_still_excludes(writer: AzureFileSystem, fs: AzureFileSystem, raw: ContainerClient) -> None:
    await writer.write_bytes("file", b"old")  # whose lock stays, and is free
    for one, other in ((writer, fs), (fs, writer)):
        async with one.open("file", "w") as file:
            await file.write(b"new")
            with pytest.raises(Locked, match="this file is being written"):
                await other.write_bytes("file", b"another's")
    await fs.write_bytes("file", b"by one who may delete")
    assert [blob.name for blob in raw.list_blobs(".aiofs/")] == []


async def test_what_must_remove_is_refused_and_names_the_right(writer: AzureFileSystem, fs: AzureFileSystem) -> None:
    await writer.write_bytes("file", b"bytes")
    for attempt in (writer.rm("file"), writer.rm("file", "file"), writer.move("file", "other")):
        with pytest.raises(AccessDenied, match="permission to delete blobs") as caught:
            await attempt
        assert caught.value.filename == "file"
        assert "sig=" not in str(caught.value)
    with pytest.raises(AccessDenied, match="a transaction, which removes its journal"):
        async with aiofs.transaction(writer) as tx:
            await tx.write_bytes("file", b"new")
            await tx.write_bytes("other", b"new")
    assert await fs.ls() == ["file"]
    assert await fs.read_bytes("file") == b"bytes"
    driver = writer.driver
    assert isinstance(driver, AzureDriver)
    left = [left async for left in driver.leftovers()]
    assert [(item.path, item.live) for item in left] == [("file", False), ("other", False)]
    with pytest.raises(AccessDenied, match="permission to delete blobs"):
        await driver.sweep(left[0])


async def test_moving_by_one_who_may_delete(fs: AzureFileSystem) -> None:
    await fs.write_bytes("file", b"bytes")
    await fs.move("file", "other")
    assert await fs.ls() == ["other"]
