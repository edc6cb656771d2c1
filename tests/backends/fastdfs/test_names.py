"""Names over FastDFS: what stands behind them, and when servers fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs import (
    AiofsError,
    AlreadyExists,
    Conflict,
    Damaged,
    FastDFSFileSystem,
    Locked,
    MemoryFileSystem,
    NotFound,
    OSFileSystem,
    Unreachable,
    Unsupported,
    transaction,
)
from aiofs.backends.fastdfs import FileId
from aiofs.driver import MIB, Layer
from backends.fastdfs.systems import leftovers, over, stored
from servers.fastdfs.storage import framed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiofs.driver import Lease, WriteSession
    from servers.fastdfs.cluster import Cluster


async def test_overwritten_and_removed_files_leave_the_storages(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    for data in (b"one", b"two", b"three"):
        await fs.write_bytes("name", data)
    assert stored(cluster) == [b"three"]
    await fs.rm("name")
    assert stored(cluster) == []


async def test_storages_keep_the_extension(fs: FastDFSFileSystem) -> None:
    for name, extension in (
        ("a/b.txt", ".txt"),
        ("a.d/plain", ""),
        ("x.longer1", ""),
        (".hidden", ".hidden"),
        ("a.", ""),
    ):
        await fs.write_bytes(name, b"x")
        assert str((await fs.stat(name)).version)[-7:].lstrip("0123456789") == extension


async def test_stat_of_a_name_asks_no_server(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"12345")
    cluster.tracker.asked.clear()
    cluster.storage.asked.clear()
    entry = await fs.stat("name")
    assert (entry.size, FileId.parse(str(entry.version)).size) == (5, 5)
    assert entry.modified is not None
    assert cluster.tracker.asked == cluster.storage.asked == []


async def test_rename_leaves_the_file_where_it_is(cluster: Cluster, tmp_path: Path) -> None:
    async with over(cluster, OSFileSystem(tmp_path)) as fs:
        await fs.write_bytes("old", b"data", metadata={"k": "v"})
        await fs.write_bytes("new", b"replaced")
        version = (await fs.stat("old")).version
        await fs.move("old", "new")
        entry = await fs.stat("new")
        assert (entry.version, entry.metadata) == (version, {"k": "v"})
        assert stored(cluster) == [b"data"]
        assert await fs.ls() == ["new"]
        assert await leftovers(fs) == []
        with pytest.raises(Unsupported):
            await fs.move(await fs.create(b"x"), "name")


async def test_an_index_in_a_folder_of_another_system(cluster: Cluster) -> None:
    async with MemoryFileSystem() as memory, over(cluster, memory.at("index")) as fs:
        await fs.write_bytes("old", b"data")
        await fs.write_bytes("gone", b"data")
        await fs.move("old", "new")
        async with transaction(fs) as tx:
            await tx.rm("gone")
            await tx.move("new", "newest")
        assert await fs.ls() == ["newest"]
        async with fs.open("newest", "r+"):
            with pytest.raises(Locked):
                await fs.rm("newest")
        await fs.rm("newest")
        assert stored(cluster) == []


async def test_index_that_leads_nowhere(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"data")
    cluster.storages[0].files.clear()
    with pytest.raises(Damaged) as caught:
        await fs.read_bytes("name")
    assert caught.value.filename == "name"


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"id": 5}', b'{"id": "no id", "metadata": {}}'])
async def test_index_with_foreign_files(fs: FastDFSFileSystem, index: MemoryFileSystem, record: bytes) -> None:
    await index.write_bytes("name", record)
    for attempt in (fs.read_bytes, fs.stat):
        with pytest.raises(Damaged) as caught:
            await attempt("name")
        assert caught.value.filename == "name"


class Meddling(Layer):
    """Another program writes an index file in the very moment before ours is written."""

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        if path == "name":
            session = await self.base.begin(path, lease)
            await session.write(b'{"id": "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt", "metadata": {}}')
            await session.commit()
        return await super().begin(path, lease, match=match, metadata=metadata)


async def test_index_that_changes_in_the_last_moment(cluster: Cluster) -> None:
    async with over(cluster, MemoryFileSystem().over(Meddling())) as fs:
        with pytest.raises(AlreadyExists):
            await fs.write_bytes("name", b"mine")
        with pytest.raises(Conflict):
            await fs.write_bytes("name", b"mine")
        assert stored(cluster) == []
        assert str((await fs.stat("name")).version).endswith("0904.txt")


async def test_reader_of_a_file_that_is_replaced(fs: FastDFSFileSystem) -> None:
    await fs.write_bytes("name", bytes(5 * MIB))
    async with fs.open("name") as reader:
        assert await reader.read(10) == bytes(10)
        await fs.write_bytes("name", b"new")
        await reader.seek(4 * MIB)
        with pytest.raises(Conflict) as caught:
            await reader.read()
        assert caught.value.filename == "name"


async def test_many_readers_pause_without_keeping_connections(cluster: Cluster, index: MemoryFileSystem) -> None:
    async with FastDFSFileSystem(
        cluster.addresses, index=index, address_map=cluster.address_map, connections=2, pool_timeout=1
    ) as fs:
        await fs.write_bytes("name", bytes(3 * MIB))
        readers = [await fs.open("name") for _ in range(5)]
        for reader in readers:
            assert await reader.read(1) == b"\0"
        for reader in readers:
            assert len(await reader.read()) == 3 * MIB - 1
            await reader.close()


async def test_storage_that_is_down(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await cluster.storage.stop()
    for attempt in (fs.read_bytes("name"), fs.write_bytes("name", b"new"), fs.write_bytes("other", b"new")):
        with pytest.raises(Unreachable) as caught:
            await attempt
        assert caught.value.filename in {"name", "other"}
    await cluster.storage.start()
    assert await fs.read_bytes("name") == b"old"
    assert await fs.ls() == ["name"]
    await fs.write_bytes("name", b"new")
    assert stored(cluster) == [b"new"]


@pytest.mark.parametrize("command", [11, 13])
async def test_storage_that_fails_before_the_index_knows(fs: FastDFSFileSystem, cluster: Cluster, command: int) -> None:
    await fs.write_bytes("name", b"old")
    cluster.storage.instead = {command: framed(b"", 5)}
    with pytest.raises(AiofsError, match="disk"):
        await fs.write_bytes("name", b"new")
    cluster.storage.instead.clear()
    assert await fs.read_bytes("name") == b"old"
    if command == 13:
        assert stored(cluster) == [b"old"]
    await fs.write_bytes("name", b"newer")


async def test_lent_index_stays_open(cluster: Cluster, index: MemoryFileSystem) -> None:
    async with over(cluster, index) as fs:
        await fs.write_bytes("name", b"x")
    assert await index.ls() == ["name"]


async def test_group_of_new_files(cluster: Cluster, index: MemoryFileSystem) -> None:
    async with FastDFSFileSystem(
        cluster.addresses, index=index, group="nogroup", address_map=cluster.address_map
    ) as fs:
        with pytest.raises(AiofsError, match="nogroup") as caught:
            await fs.write_bytes("name", b"x")
        assert not isinstance(caught.value, NotFound)
        assert caught.value.filename == "name"
