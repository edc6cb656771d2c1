"""All storages of a cluster, looked at by fsck and rebuild_index: each of them, and many files at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs import FastDFSFileSystem, Finding, MemoryFileSystem, NotFound, fsck
from aiofs.backends.fastdfs import FileId
from aiofs.errors import Unavailable
from backends.fastdfs.systems import leftovers, over, prepared, stored
from servers.fastdfs.cluster import Cluster
from servers.skipping import run

if TYPE_CHECKING:
    from backends.fastdfs.conftest import Starts


@pytest.fixture
async def trio(start: Starts) -> Cluster:
    return await start(groups=(3,))


async def check(fs: FastDFSFileSystem, *, fix: bool = False) -> list[Finding]:
    return await fsck({"data": fs}, journal=MemoryFileSystem(), fix=fix)


async def source_of(cluster: Cluster, fs: FastDFSFileSystem, name: str) -> int:
    source = FileId.parse(str((await fs.stat(name)).version)).source
    return [storage.ip for storage in cluster.storages].index(str(source))


async def test_every_storage_is_asked(trio: Cluster) -> None:
    async with over(trio, MemoryFileSystem()) as fs, over(trio, MemoryFileSystem()) as anew:
        for name in ("a", "b", "c"):  # one on each storage, and not replicated yet
            await fs.write_bytes(name, name.encode())
        assert await leftovers(fs) == []
        assert await anew.rebuild_index() == 3
        for name in ("a", "b", "c"):
            assert await anew.read_bytes(name) == name.encode()
        for name in ("a", "b", "c"):
            await prepared(fs.driver, name, b"new")
        assert sorted(leftover.path for leftover in await leftovers(fs)) == ["a", "b", "c"]
        trio.storages[0].replicate()
        assert sorted(leftover.path for leftover in await leftovers(fs)) == ["a", "b", "c"]
        assert all(finding.fixed for finding in await check(fs, fix=True))
        assert await leftovers(fs) == []


async def test_file_that_a_replica_has_still_is_none(trio: Cluster) -> None:
    async with over(trio, MemoryFileSystem()) as fs, over(trio, MemoryFileSystem()) as anew:
        await fs.write_bytes("name", b"old")
        trio.storages[await source_of(trio, fs, "name")].replicate()
        await fs.rm("name")
        assert sum(len(storage.files) for storage in trio.storages) == 2
        assert await leftovers(fs) == []
        assert await anew.rebuild_index() == 0


def test_what_was_left_a_moment_ago_is_found_although_logs_are_late() -> None:
    async def work() -> None:
        async with (
            Cluster(log_delay=1.0) as cluster,
            over(cluster, MemoryFileSystem(), log_delay=1.5) as fs,
            over(cluster, MemoryFileSystem(), log_delay=1.5) as anew,
        ):
            await prepared(fs.driver, "name", b"new")
            assert [leftover.path for leftover in await leftovers(fs)] == ["name"]
            await fs.write_bytes("other", b"data")
            await anew.rebuild_index()
            assert await anew.ls() == ["name", "other"]

    run(work())


@pytest.mark.parametrize("known", [True, False])
async def test_storage_that_could_not_be_asked_is_reported(trio: Cluster, known: bool) -> None:
    async with over(trio, MemoryFileSystem()) as fs, over(trio, MemoryFileSystem()) as anew:
        for name in ("a", "b", "c"):
            await fs.write_bytes(name, name.encode())
        await trio.stop_storage(1, known=known)
        [finding] = await check(fs, fix=True)
        assert (finding.kind, finding.live, finding.fixed) == ("storage that could not be asked", False, False)
        assert finding.path == "group1 10.0.1.2:23000"
        assert ("OFFLINE" in finding.why) is known
        with pytest.raises(Unavailable, match=r"10\.0\.1\.2:23000"):
            await anew.rebuild_index()
        assert await anew.ls() == []
        async with over(trio, MemoryFileSystem(), retired=["10.0.1.2"]) as without:
            assert await without.rebuild_index() == 2
        await trio.start_storage(1)
        assert await check(fs, fix=True) == []
        assert await anew.rebuild_index() == 3


async def test_name_whose_file_is_gone_is_reported_and_stays(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    for name in ("kept", "lost"):
        await fs.write_bytes(name, name.encode())
    lost = str((await fs.stat("lost")).version)
    await fs.driver.client.delete(lost)
    [finding] = await check(fs, fix=True)
    assert (finding.path, finding.kind, finding.live, finding.fixed) == ("lost", "name without a file", False, False)
    assert lost in finding.why
    assert await fs.ls() == ["kept", "lost"]
    await fs.rm("lost")
    assert await check(fs) == []
    assert stored(cluster) == [b"kept"]


async def test_name_that_is_written_anew_while_it_is_looked_for_is_not_reported(
    fs: FastDFSFileSystem, cluster: Cluster
) -> None:
    await fs.write_bytes("name", b"old")
    client = fs.driver.client
    exists = client.exists

    async def replaced(file: str) -> bool:
        await fs.write_bytes("name", b"new")
        return await exists(file)

    cluster.storages[0].log.clear()
    client.exists = replaced
    assert await check(fs) == []


async def test_many_names_are_worked_on_at_a_time(cluster: Cluster) -> None:
    index = MemoryFileSystem()
    async with over(cluster, index) as fs:
        names = [f"name{number:03}" for number in range(40)]
        for name in names:
            await fs.write_bytes(name, b"data")
        for storage in cluster.storages:
            for key in storage.metadata:
                storage.metadata[key] = storage.metadata[key].replace(b"name0", b"left0")
        await index.rm(*names[:30])
    for connections in (1, 16):
        async with over(cluster, index, connections=connections) as fs:
            before = cluster.storage.connections
            assert len(await leftovers(fs)) == 30
            assert (cluster.storage.connections - before > 2) is (connections > 1)  # one is for the log
    async with over(cluster, index) as fs:
        before = cluster.storage.connections
        await fs.rm(*names[30:])
        assert cluster.storage.connections - before > 1
        assert await fs.ls() == []


async def test_nothing_is_removed_if_one_of_many_is_missing_or_locked(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    names = [f"name{number}" for number in range(40)]
    for name in names:
        await fs.write_bytes(name, b"data")
    with pytest.raises(NotFound) as caught:
        await fs.rm(*names, "missing")
    assert caught.value.filename == "missing"
    async with fs.open(names[20], "a"):
        with pytest.raises(BlockingIOError) as locked:
            await fs.rm(*names)
    assert locked.value.filename == names[20]
    assert len(stored(cluster)) == len(await fs.ls()) == 40
    await fs.rm(*names)
    assert stored(cluster) == []
