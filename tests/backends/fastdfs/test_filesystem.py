"""What is special about a file system over FastDFS: its ids, its index, and what a crash leaves."""

from __future__ import annotations

import asyncio
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
)
from aiofs.backends.fastdfs import FileId
from aiofs.driver import MIB, Layer, Sweeps
from servers.fastdfs.cluster import Fault
from servers.fastdfs.storage import framed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from aiofs.driver import Driver, Lease, Leftover, WriteSession
    from aiofs.system import FileLikeSystem
    from servers.fastdfs.cluster import Cluster

WEIRD = ["a/ü.txt", "x\x01y\x02z", "k" * 255, "/".join(["long"] * 180), "{}", '"quoted"']


def over(cluster: Cluster, index: FileLikeSystem | None) -> FastDFSFileSystem:
    return FastDFSFileSystem(cluster.addresses, index=index, address_map=cluster.address_map, network_timeout=5)


@pytest.fixture
def index() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
async def fs(cluster: Cluster, index: MemoryFileSystem) -> AsyncIterator[FastDFSFileSystem]:
    async with over(cluster, index) as fs:
        yield fs


@pytest.fixture
async def bare(cluster: Cluster) -> AsyncIterator[FastDFSFileSystem]:
    """Without an index."""
    async with over(cluster, None) as fs:
        yield fs


def stored(cluster: Cluster) -> list[bytes]:
    """All that the storage has."""
    return sorted(bytes(file.data) for file in cluster.storages[0].files.values())


async def leftovers(fs: FastDFSFileSystem) -> list[Leftover]:
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    return [leftover async for leftover in sweeps.leftovers()]


async def prepared(driver: Driver, path: str, data: bytes) -> dict[str, object]:
    """A write that came as far as the journal."""
    lease = await driver.lock(path)
    session = await driver.begin(path, lease)
    await session.write(data)
    token = await session.prepare()
    await session.leave()
    await lease.release()
    return token


# Ids


async def test_create_and_use_an_id(fs: FastDFSFileSystem, bare: FastDFSFileSystem) -> None:
    file = await fs.create(b"0123456789", suffix=".txt")
    assert file.endswith(".txt")
    for system in (fs, bare):
        assert await system.read_bytes(file) == b"0123456789"
        assert await system.read_bytes(file, 2, 5) == b"234"
        assert await system.read_bytes(file, 20) == b""
        assert (await system.stat(file)).size == 10
        async with system.open(file) as handle:
            await handle.seek(-3, 2)
            assert await handle.read() == b"789"
    await bare.rm(file)
    assert not await fs.exists(file)


async def test_missing_ids(fs: FastDFSFileSystem, bare: FastDFSFileSystem) -> None:
    gone = [await fs.create(b"x"), await fs.create(b""), await fs.create(b"x", appender=True)]
    await fs.rm(*gone)
    for system in (fs, bare):
        for file in gone:
            for attempt in (system.open(file).__aenter__(), system.stat(file), system.rm(file)):
                with pytest.raises(FileNotFoundError) as caught:
                    await attempt
                assert caught.value.filename == file
    await fs.rm(*gone, missing_ok=True)


async def test_empty_files(fs: FastDFSFileSystem) -> None:
    file = await fs.create(b"")
    assert await fs.read_bytes(file) == b""
    await fs.write_bytes("empty", b"")
    assert await fs.read_bytes("empty") == b""
    assert (await fs.stat("empty")).size == 0


async def test_ids_are_chosen_by_the_storages(fs: FastDFSFileSystem) -> None:
    file = await fs.create(b"x")
    appender = await fs.create(b"x", appender=True)
    for path, mode in ((file, "w"), (file, "a"), (file, "r+"), (appender, "w")):
        with pytest.raises(Unsupported) as caught:
            async with fs.open(path, mode) as handle:
                await handle.write(b"y")
        assert caught.value.filename == path
    assert await fs.read_bytes(file) == await fs.read_bytes(appender) == b"x"


async def test_names_need_an_index(bare: FastDFSFileSystem) -> None:
    with pytest.raises(ValueError, match="index"):
        await bare.read_bytes("name")
    with pytest.raises(Unsupported):
        await bare.ls()


@pytest.mark.parametrize("size", [0, 10, MIB - 1, MIB, 2 * MIB + 5])
async def test_append_to_an_appender(bare: FastDFSFileSystem, size: int) -> None:
    log = await bare.create(bytes(size), appender=True, suffix=".log")
    for number in range(3):
        async with bare.open(log, "a") as handle:
            await handle.write(b"line %d\n" % number)
    assert await bare.read_bytes(log) == bytes(size) + b"line 0\nline 1\nline 2\n"


async def test_edit_an_appender(bare: FastDFSFileSystem) -> None:
    data = bytearray(bytes(range(256)) * 12288)
    file = await bare.create(bytes(data), appender=True)
    async with bare.open(file, "r+") as handle:
        for offset in (5, MIB + 7, 3 * MIB - 2):
            await handle.seek(offset)
            await handle.write(b"changed")
            data[offset : offset + 7] = b"changed"
    assert await bare.read_bytes(file) == data
    async with bare.open(file, "r+") as handle:
        await handle.truncate(MIB + 9)
    assert await bare.read_bytes(file) == data[: MIB + 9]


async def test_aborted_append_leaves_an_appender_alone(bare: FastDFSFileSystem) -> None:
    log = await bare.create(b"old", appender=True)
    handle = await bare.open(log, "a")
    await handle.write(b"new")
    await handle.abort()
    assert await bare.read_bytes(log) == b"old"


async def test_appender_that_was_changed_meanwhile(bare: FastDFSFileSystem, cluster: Cluster) -> None:
    log = await bare.create(b"old", appender=True)
    handle = await bare.open(log, "a")
    await handle.write(b"mine")
    cluster.storages[0].files[FileId.parse(log).name].data += b" theirs"
    with pytest.raises(Conflict):
        await handle.close()
    assert await bare.read_bytes(log) == b"old theirs"


async def test_writers_of_an_appender_exclude_each_other(fs: FastDFSFileSystem, bare: FastDFSFileSystem) -> None:
    for system in (fs, bare):
        log = await system.create(b"", appender=True)
        async with system.open(log, "a"):
            with pytest.raises(Locked):
                await system.open(log, "a").__aenter__()
            with pytest.raises(Locked):
                await system.rm(log)


async def test_create_checks_its_suffix(fs: FastDFSFileSystem) -> None:
    with pytest.raises(ValueError, match="extension"):
        await fs.create(b"", suffix=".much-too-long")


# Names


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


# What crashes leave


async def test_old_file_that_could_not_be_removed_is_swept(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    cluster.storage.instead = {12: framed(b"", 5)}
    await fs.write_bytes("name", b"new")
    cluster.storage.instead.clear()
    assert await fs.read_bytes("name") == b"new"
    [leftover] = await leftovers(fs)
    assert (leftover.path, leftover.live) == ("name", False)
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    assert await sweeps.sweep(leftover)
    assert await sweeps.sweep(leftover)
    assert stored(cluster) == [b"new"]
    assert await leftovers(fs) == []


async def test_crash_between_upload_and_index(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await prepared(fs.driver, "name", b"new")
    assert await fs.read_bytes("name") == b"old"
    assert stored(cluster) == [b"new", b"old"]
    [leftover] = await leftovers(fs)
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    async with fs.open("name", "a"):
        [busy] = await leftovers(fs)
        assert busy.live
        assert not await sweeps.sweep(busy)
    assert await sweeps.sweep(leftover)
    assert stored(cluster) == [b"old"]


@pytest.mark.parametrize("ending", ["commit", "abort"])
async def test_another_system_ends_what_was_prepared(
    fs: FastDFSFileSystem, cluster: Cluster, index: MemoryFileSystem, ending: str
) -> None:
    await fs.write_bytes("name", b"old")
    token = await prepared(fs.driver, "name", b"new")
    async with over(cluster, index) as other:
        for _ in range(2):
            session = await other.driver.resume(token)
            await getattr(session, ending)()
    expected = b"new" if ending == "commit" else b"old"
    assert await fs.read_bytes("name") == expected
    assert stored(cluster) == [expected]


async def test_what_was_prepared_and_swept_is_not_published(fs: FastDFSFileSystem) -> None:
    await fs.write_bytes("name", b"old")
    token = await prepared(fs.driver, "name", b"new")
    [leftover] = await leftovers(fs)
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    await sweeps.sweep(leftover)
    session = await fs.driver.resume(token)
    with pytest.raises(Conflict):
        await session.commit()
    await session.abort()
    assert await fs.read_bytes("name") == b"old"


async def test_published_name_is_not_swept(fs: FastDFSFileSystem) -> None:
    token = await prepared(fs.driver, "name", b"new")
    [leftover] = await leftovers(fs)
    session = await fs.driver.resume(token)
    await session.commit()
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    assert not await sweeps.sweep(leftover)
    assert await fs.read_bytes("name") == b"new"


async def test_answer_that_is_lost_after_the_upload(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    cluster.storage.fault = Fault("cut", "answer", 0)
    with pytest.raises(Unreachable):
        await fs.write_bytes("name", b"new")
    assert await fs.read_bytes("name") == b"old"


@pytest.mark.parametrize("size", [3, 700_000])
async def test_cancelled_upload_leaves_nothing(fs: FastDFSFileSystem, cluster: Cluster, size: int) -> None:
    for turns in range(80):
        task = asyncio.create_task(fs.write_bytes("name", bytes(size)))
        for _ in range(turns):
            await asyncio.sleep(0)
        in_time = task.cancel()
        await asyncio.wait([task])
        await fs.rm("name", missing_ok=True)
        await fs.ls()
        assert stored(cluster) == []
        if not in_time:
            break
    else:
        pytest.fail("the write never ended")


# Before-images


async def test_file_that_is_kept_comes_back(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old", metadata={"k": "v"})
    before = await fs.stat("name")
    await fs.driver.keep("name", "tag-1")
    await fs.driver.keep("name", "tag-1")
    await fs.write_bytes("name", b"new")
    assert stored(cluster) == [b"new", b"old"]
    lease = await fs.driver.lock("name")
    with pytest.raises(Conflict):
        await fs.driver.restore("name", "tag-1", lease, match=str(before.version))
    restored = await fs.driver.restore("name", "tag-1", lease, match=str((await fs.stat("name")).version))
    await lease.release()
    assert restored == before == await fs.stat("name")
    assert await fs.read_bytes("name") == b"old"
    await fs.driver.drop("name", "tag-1")
    await fs.driver.drop("name", "tag-1")
    assert stored(cluster) == [b"old"]
    assert await leftovers(fs) == []


async def test_file_that_is_kept_goes_when_it_is_dropped(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag")
    await fs.rm("name")
    assert stored(cluster) == [b"old"]
    await fs.driver.drop("name", "tag")
    assert stored(cluster) == []


async def test_missing_file_is_not_kept(fs: FastDFSFileSystem) -> None:
    await fs.driver.keep("name", "tag")
    lease = await fs.driver.lock("name")
    with pytest.raises(NotFound):
        await fs.driver.restore("name", "tag", lease, match="")
    await lease.release()


@pytest.mark.parametrize("ending", ["commit", "write", "rm"])
async def test_what_a_process_that_died_kept_stays(
    fs: FastDFSFileSystem, cluster: Cluster, index: MemoryFileSystem, ending: str
) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag")
    async with over(cluster, index) as heir:
        if ending == "commit":
            session = await heir.driver.resume(await prepared(fs.driver, "name", b"new"))
            await session.commit()
        elif ending == "write":
            await heir.write_bytes("name", b"new")
        else:
            await heir.rm("name")
        assert b"old" in stored(cluster)
        lease = await heir.driver.lock("name")
        match = "" if ending == "rm" else str((await heir.stat("name")).version)
        await heir.driver.restore("name", "tag", lease, match=match)
        await lease.release()
        await heir.driver.drop("name", "tag")
        assert await heir.read_bytes("name") == b"old"
        assert stored(cluster) == [b"old"]


async def test_file_that_is_kept_twice_stays_until_both_are_dropped(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag-1")
    await fs.driver.keep("name", "tag-2")
    await fs.rm("name")
    await fs.driver.drop("name", "tag-1")
    assert stored(cluster) == [b"old"]
    await fs.driver.drop("name", "tag-2")
    assert stored(cluster) == []
    assert [entry.path async for entry in fs.driver.list()] == []


async def test_before_images_are_swept_when_nobody_holds_them(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag")
    await fs.write_bytes("name", b"new")
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    async with fs.open("name", "a"):
        [busy] = await leftovers(fs)
        assert (busy.kind, busy.live) == ("before-image", True)
        assert not await sweeps.sweep(busy)
    [leftover] = await leftovers(fs)
    assert await sweeps.sweep(leftover)
    assert stored(cluster) == [b"new"]
    assert await leftovers(fs) == []
    assert await fs.ls() == ["name"]


# An index that is lost


async def test_index_made_anew(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    for number, name in enumerate(WEIRD):
        await fs.write_bytes(name, b"%d" % number, metadata={"number": str(number), "ü": "ä"})
    await fs.write_bytes("moved", b"m")
    await fs.move("moved", "away")
    await fs.write_bytes("removed", b"r")
    await fs.rm("removed")
    without_name = await fs.create(b"no name")
    async with over(cluster, MemoryFileSystem()) as anew:
        assert await anew.rebuild_index() == len(WEIRD) + 1
        assert sorted(await anew.ls()) == sorted([*WEIRD, "away"])
        for number, name in enumerate(WEIRD):
            assert await anew.read_bytes(name) == b"%d" % number
            assert (await anew.stat(name)).metadata == {"number": str(number), "ü": "ä"}
        assert await anew.rebuild_index() == 0
        assert await leftovers(anew) == []
        assert await anew.read_bytes(without_name) == b"no name"


async def test_newest_of_two_files_with_one_name_gets_it(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    cluster.storage.instead = {12: framed(b"", 5)}
    for data in (b"one", b"two", b"three"):
        await fs.write_bytes("name", data)
    cluster.storage.instead.clear()
    async with over(cluster, MemoryFileSystem()) as anew:
        await anew.rebuild_index()
        assert await anew.read_bytes("name") == b"three"


async def test_indexes_over_one_cluster_leave_each_other_alone(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"one")
    async with over(cluster, MemoryFileSystem()) as other:
        await other.write_bytes("name", b"two")
        assert await leftovers(fs) == await leftovers(other) == []
        assert await fs.rebuild_index() == 0
    async with over(cluster, MemoryFileSystem()) as anew:
        with pytest.raises(ValueError, match="several indexes") as caught:
            await anew.rebuild_index()
        first = next(word for word in str(caught.value).split() if len(word) == 32)
        assert await anew.rebuild_index(first) == 1
        assert await anew.read_bytes("name") in {b"one", b"two"}


async def test_files_of_other_programs_are_nobodys(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    foreign = cluster.storages[0].put(b"foreign")
    cluster.storages[0].metadata[FileId.parse(foreign).name] = b"k\x02v"
    cluster.storages[0].log.append((0, "C", FileId.parse(foreign).name + "-m"))
    await fs.write_bytes("name", b"ours")
    assert await leftovers(fs) == []
    assert await fs.rebuild_index() == 0


async def test_two_systems_name_a_new_index_once(cluster: Cluster, index: MemoryFileSystem) -> None:
    async with over(cluster, index) as one, over(cluster, index) as other:
        writes = [
            system.write_bytes(f"{number}{system is one}", b"x") for number in range(5) for system in (one, other)
        ]
        await asyncio.gather(*writes)
        assert await leftovers(one) == await leftovers(other) == []
        assert len(await one.ls()) == 10


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
