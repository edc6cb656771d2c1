"""Blobs that are no block blobs: they stay what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import BlobType

import aiofs
from aiofs.backends.azure import writing
from aiofs.errors import Conflict, TooLarge, Unsupported
from aiofs.layers import Limit, Log, Matching, Percent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from azure.storage.blob import ContainerClient

    from aiofs.stores import AzureFileSystem
    from aiofs.system import FileLikeSystem

    Way = Callable[[FileLikeSystem, str], Coroutine[Any, Any, None]]

pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks
LOG = b"first line\n"


@pytest.fixture
def log(raw: ContainerClient) -> str:
    """An append blob."""
    blob = raw.get_blob_client("folder/log")
    blob.create_append_blob(metadata={"kind": "log"})
    blob.append_block(LOG)
    return "folder/log"


@pytest.fixture
def disk(raw: ContainerClient) -> str:
    """A page blob."""
    blob = raw.get_blob_client("disk")
    blob.create_page_blob(512)
    blob.upload_page(b"d" * 512, 0, 512)
    return "disk"


def kind(raw: ContainerClient, name: str) -> object:
    return raw.get_blob_client(name).get_blob_properties().blob_type


def layers(fs: AzureFileSystem) -> list[FileLikeSystem]:
    """The same file, seen in several ways."""
    return [fs, fs.over(Matching(".*")), fs.over(Log()), fs.over(Percent())]


async def test_appending_to_an_append_blob_adds_one_block(fs: AzureFileSystem, raw: ContainerClient, log: str) -> None:
    written = LOG
    for system in layers(fs):
        async with system.open(log, "a") as file:
            assert await file.tell() == len(written)
            await file.write(b"second ")
            await file.write(b"line\n")
        written += b"second line\n"
    async with fs.at("folder").open("log", "a") as file:
        await file.write(b"end")
    properties = raw.get_blob_client(log).get_blob_properties()
    assert properties.blob_type == BlobType.APPENDBLOB
    assert properties.append_blob_committed_block_count == 6
    assert properties.metadata == {"kind": "log"}
    assert await fs.read_bytes(log) == written + b"end"
    assert (await fs.stat(log)).size == len(written) + 3


async def test_what_does_not_fit_into_a_block_is_refused(
    fs: AzureFileSystem, raw: ContainerClient, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST_BLOCK", 1 << 20)
    async with fs.open(log, "a") as file:
        await file.write(bytes(1 << 20))
    with pytest.raises(TooLarge, match="1 MiB at most") as caught:
        async with fs.open(log, "a") as file:
            await file.write(bytes((1 << 20) + 1))
    assert caught.value.filename == log
    assert (await fs.stat(log)).size == len(LOG) + (1 << 20)
    assert kind(raw, log) == BlobType.APPENDBLOB


async def test_older_versions_of_the_service_take_smaller_blocks(
    fs: AzureFileSystem, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGER_SINCE", "9999-01-01")
    with pytest.raises(TooLarge, match="4 MiB at most"):
        async with fs.open(log, "a") as file:
            await file.write(bytes((4 << 20) + 1))


async def test_what_another_appended_meanwhile_is_not_passed_over(
    fs: AzureFileSystem, raw: ContainerClient, log: str
) -> None:
    file = await fs.open(log, "a")
    await file.write(b"ours")
    raw.get_blob_client(log).append_block(b"theirs")
    with pytest.raises(Conflict):
        await file.close()
    assert await fs.read_bytes(log) == LOG + b"theirs"


@pytest.mark.usefixtures("answers_are_lost")
async def test_a_block_whose_answer_is_lost_is_appended_once(fs: AzureFileSystem, log: str) -> None:
    async with fs.open(log, "a") as file:
        await file.write(b"once")
    assert await fs.read_bytes(log) == LOG + b"once"


async def write(fs: FileLikeSystem, path: str) -> None:
    await fs.write_bytes(path, b"new")


async def edit(fs: FileLikeSystem, path: str) -> None:
    async with fs.open(path, "r+") as file:
        await file.write(b"new")


async def append(fs: FileLikeSystem, path: str) -> None:
    async with fs.open(path, "a") as file:
        await file.write(b"new")


async def remove(fs: FileLikeSystem, path: str) -> None:
    await fs.rm(path)


async def copy(fs: FileLikeSystem, path: str) -> None:
    await fs.copy(path, "other")


async def move(fs: FileLikeSystem, path: str) -> None:
    await fs.move(path, "other")


async def copy_over(fs: FileLikeSystem, path: str) -> None:
    await fs.write_bytes("source", b"source")
    try:
        await fs.copy("source", path)
    finally:
        await fs.rm("source")


def in_a_transaction(way: Way) -> Way:
    async def changed(fs: FileLikeSystem, path: str) -> None:
        async with aiofs.transaction(fs) as tx:
            await tx.write_bytes("another", b"another")
            await way(tx, path)

    return changed


def through_a_layer(way: Way) -> Way:
    return lambda fs, path: way(fs.over(Limit(1 << 20)), path)


WAYS = {
    **{way.__name__: way for way in (write, edit, copy, move, copy_over)},
    **{f"transaction: {way.__name__}": in_a_transaction(way) for way in (write, edit, append, remove)},
    **{f"layer: {way.__name__}": through_a_layer(way) for way in (write, edit)},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_other_changes_of_an_append_blob_are_refused(
    fs: AzureFileSystem, raw: ContainerClient, log: str, way: Way
) -> None:
    with pytest.raises(Unsupported, match="append blob") as caught:
        await way(fs, log)
    assert caught.value.filename == log
    assert [blob.name for blob in raw.list_blobs()] == [log]
    assert kind(raw, log) == BlobType.APPENDBLOB
    assert await fs.read_bytes(log) == LOG


@pytest.mark.parametrize("way", [*WAYS.values(), append], ids=[*WAYS, "append"])
async def test_changes_of_a_page_blob_are_refused(
    fs: AzureFileSystem, raw: ContainerClient, disk: str, way: Way
) -> None:
    with pytest.raises(Unsupported, match="page blob") as caught:
        await way(fs, disk)
    assert caught.value.filename == disk
    assert [blob.name for blob in raw.list_blobs()] == [disk]
    assert kind(raw, disk) == BlobType.PAGEBLOB
    assert await fs.read_bytes(disk) == b"d" * 512


async def test_both_can_be_read_and_removed(fs: AzureFileSystem, log: str, disk: str) -> None:
    assert await fs.ls() == [disk, log]
    assert await fs.read_bytes(log, 6) == b"line\n"
    assert await fs.read_bytes(disk, 500) == b"d" * 12
    await fs.rm(log, disk)
    await fs.write_bytes(log, b"a block blob")
    assert await fs.read_bytes(log) == b"a block blob"
