"""Storages of a group copy files with a delay: which one is believed, and which one is asked instead of another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiofs import MemoryFileSystem, Unfinished, fsck, recover, transaction
from aiofs.backends.fastdfs import FastDFSClient, FileId
from aiofs.driver import Layer
from aiofs.errors import NotFound, TimedOut, Unavailable, Unreachable
from aiofs.filesystem import FileSystem
from aiofs.testing import Chaos
from backends.fastdfs.systems import over
from servers.fastdfs.cluster import Cluster, Fault
from servers.fastdfs.storage import framed
from servers.fastdfs.versions import MIDDLE, WIDE
from servers.skipping import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiofs.driver import ReadStream
    from backends.fastdfs.conftest import Connects, Starts
    from servers.fastdfs.versions import Version

LARGE = 1 << 17


@pytest.fixture
async def trio(start: Starts) -> Cluster:
    """A group of three storages and two trackers."""
    return await start(groups=(3,), trackers=2)


@pytest.fixture
def client(trio: Cluster, connect: Connects) -> FastDFSClient:
    return connect(trio)


def of(cluster: Cluster, file: str) -> int:
    """The number of the storage that made a file."""
    return [storage.ip for storage in cluster.storages].index(str(FileId.parse(file).source))


# Who can give a file


@pytest.mark.parametrize("version", [None, WIDE, MIDDLE])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
async def test_all_storages_that_can_give_a_file(
    start: Starts, connect: Connects, count: int, version: Version | None
) -> None:
    cluster = await start(groups=(count,), **({} if version is None else {"version": version}))
    stored = cluster.storages[0].put(b"x")
    named = await connect(cluster).query_fetch_all(stored)
    assert [str(place.address) for place in named] == [f"10.0.1.{number}:23000" for number in range(1, count + 1)]


async def test_read_goes_on_where_the_first_replica_has_not_got_the_file_yet(
    trio: Cluster, client: FastDFSClient
) -> None:
    stored = trio.storages[0].put(b"data")
    for tracker in trio.trackers:
        tracker.prefers = trio.storages[2]
    assert await client.read(stored) == b"data"
    assert (await client.info(stored)).size == 4


async def test_read_goes_on_where_the_first_replica_is_unreachable(trio: Cluster, client: FastDFSClient) -> None:
    stored = trio.storages[0].put(b"data")
    trio.storages[0].replicate()
    await trio.stop_storage(0, known=False)
    await trio.stop_storage(1, known=False)
    assert await client.read(stored) == b"data"


async def test_read_goes_on_where_the_first_replica_cannot_read_its_disk(trio: Cluster, client: FastDFSClient) -> None:
    stored = trio.storages[0].put(b"data")
    trio.storages[0].replicate()
    trio.storage.instead = {14: framed(b"", 5)}
    assert await client.read(stored) == b"data"


def test_server_that_hangs_is_passed_over_and_left_alone_for_a_while() -> None:
    async def work() -> None:
        async with Cluster(groups=(2,), trackers=2) as cluster, client_of(cluster) as client:
            files = [cluster.storages[0].put(b"%d" % number) for number in range(3)]
            cluster.storages[0].replicate()
            cluster.storage.hangs = cluster.tracker.hangs = True
            for number, stored in enumerate(files):
                assert await client.read(stored) == b"%d" % number
            assert (cluster.storage.asked, cluster.tracker.asked) == ([14], [102])
            for _ in range(3):
                assert of(cluster, await client.upload(b"new")) == 1
            assert cluster.storage.asked == [14]
            cluster.storage.hangs = cluster.tracker.hangs = False
            await skip(60)
            await client.read(files[0])
            assert cluster.storage.asked == [14, 14]

    run(work())


def test_only_server_is_asked_again_at_once_after_it_timed_out() -> None:
    async def work() -> None:
        async with Cluster() as cluster, client_of(cluster) as client:
            stored = cluster.storages[0].put(b"data")
            cluster.storage.fault = Fault("stall", "answer", 0)
            with pytest.raises(TimedOut):
                await client.read(stored)
            assert await client.read(stored) == b"data"

    run(work())


# Going on in the middle


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_read_is_resumed_where_it_broke_off(kind: str) -> None:
    async def work() -> None:
        data = bytes(range(256)) * (LARGE // 64)
        async with Cluster(groups=(3,)) as cluster, client_of(cluster) as client:
            stored = cluster.storages[0].put(data)
            cluster.storages[0].replicate()
            for listener in cluster.storage_listeners[:2]:
                listener.fault = Fault(kind, "answer", LARGE)  # type: ignore[arg-type]
            assert await client.read(stored) == data
            assert [listener.asked for listener in cluster.storage_listeners] == [[14], [14], [14]]
            cluster.storage.fault = Fault("cut", "answer", LARGE)
            assert await client.read(stored, 100, LARGE * 2) == data[100 : LARGE * 2]
            async with over(cluster, MemoryFileSystem()) as fs:
                cluster.storage.fault = Fault("cut", "answer", LARGE)
                assert await fs.read_bytes(stored) == data

    run(work())


async def test_read_that_nobody_can_go_on_with_says_what_happened_first(trio: Cluster, client: FastDFSClient) -> None:
    stored = trio.storages[0].put(bytes(LARGE))
    trio.storage.fault = Fault("cut", "answer", 1000)
    with pytest.raises(Unreachable, match=str(trio.storage.port)) as caught:
        await client.read(stored)
    assert caught.value.filename == stored


async def test_appender_is_not_read_on_elsewhere(trio: Cluster, client: FastDFSClient) -> None:
    stored = trio.storages[0].put(bytes(LARGE), appender=True)
    trio.storages[0].replicate()
    trio.storage.fault = Fault("cut", "answer", 1000)
    with pytest.raises(Unreachable):
        await client.read(stored)


@pytest.mark.parametrize("where", ["request", "answer"])
async def test_upload_goes_to_another_storage_while_its_bytes_can_be_sent_again(
    trio: Cluster, client: FastDFSClient, where: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(LARGE)
        yield bytes(LARGE)

    for listener in trio.storage_listeners[:2]:
        listener.fault = Fault("cut", where, 5)  # type: ignore[arg-type]
    assert of(trio, await client.upload(pieces, 2 * LARGE)) == 2
    trio.storage.fault = Fault("cut", where, 5)  # type: ignore[arg-type]
    with pytest.raises(Unreachable):
        for _ in range(3):  # one of them goes to the first
            await client.upload(pieces(), 2 * LARGE)


@pytest.mark.parametrize("status", [5, 13, 28])
async def test_upload_goes_to_another_storage_where_one_refuses_it(
    trio: Cluster, client: FastDFSClient, status: int
) -> None:
    trio.storage.instead = {11: framed(b"", status)}
    for _ in range(3):
        assert of(trio, await client.upload(b"x")) > 0


async def test_upload_goes_to_another_group_where_one_is_down(start: Starts, connect: Connects) -> None:
    cluster = await start(groups=(1, 1))
    client = connect(cluster)
    await cluster.stop_storage(0, known=False)
    for _ in range(2):
        assert (await client.upload(b"x")).startswith("group2/")
    with pytest.raises(Unreachable):
        await client.upload(b"x", group="group1")


async def test_upload_whose_source_fails_is_not_sent_elsewhere(client: FastDFSClient) -> None:
    calls = []

    async def broken() -> AsyncIterator[bytes]:
        calls.append(1)
        yield b"x"
        raise Unreachable.of("other", "the other store is away")

    with pytest.raises(Unreachable, match="the other store is away"):
        await client.upload(broken, 2)
    assert calls == [1]


# Who may say that there is no file


@pytest.mark.parametrize("numbers", [False, True])
async def test_only_the_source_says_that_there_is_no_file(start: Starts, connect: Connects, numbers: bool) -> None:
    cluster = await start(groups=(3,), numbers=numbers)
    client = connect(cluster)
    stored, gone = cluster.storages[0].put(b"x"), cluster.storages[0].put(b"y")
    await client.delete(gone)
    for question in (client.read, client.info, client.metadata, client.delete):
        with pytest.raises(NotFound):
            await question(gone)
    await cluster.stop_storage(0)
    for question in (client.read, client.info, client.exists, client.metadata, client.delete):
        with pytest.raises(Unavailable, match=r"10\.0\.1\.1|100101") as caught:
            await question(stored)
        assert caught.value.filename == stored
        assert caught.value.retryable
    await cluster.start_storage(0)
    assert await client.read(stored) == b"x"


async def test_a_replica_that_has_the_file_answers_for_one_that_has_not(trio: Cluster, client: FastDFSClient) -> None:
    stored = trio.storages[0].put(b"x", appender=True)
    trio.storages[0].replicate()
    trio.storages[1].files.clear()
    await trio.stop_storage(0)
    assert (await client.info(stored)).size == 1
    await client.delete(stored)


@pytest.mark.parametrize("numbers", [False, True])
async def test_others_speak_for_a_storage_that_is_retired(start: Starts, connect: Connects, numbers: bool) -> None:
    cluster = await start(groups=(3,), numbers=numbers)
    stored, lost = cluster.storages[0].put(b"x"), None
    cluster.storages[0].replicate()
    lost = cluster.storages[0].put(b"y")
    await cluster.stop_storage(0)
    client = connect(cluster, retired=["100101" if numbers else "10.0.1.1"])
    assert not await client.exists(lost)
    with pytest.raises(NotFound):
        await client.read(lost)
    assert await client.read(stored) == b"x"
    await cluster.stop_storage(1)
    with pytest.raises(Unavailable, match=r"10\.0\.1\.2"):
        await client.exists(lost)


async def test_odd_status_is_a_missing_file_like_any_other(trio: Cluster, client: FastDFSClient) -> None:
    stored = trio.storages[0].put(b"x")
    trio.storages[0].removed_while_read.add(FileId.parse(stored).name)
    with pytest.raises(NotFound):
        await client.read(stored)
    assert not await client.exists(stored)


async def test_odd_status_of_a_replica_proves_nothing(trio: Cluster, client: FastDFSClient) -> None:
    stored = trio.storages[0].put(b"x")
    trio.storages[0].replicate()
    for tracker in trio.trackers:
        tracker.prefers = trio.storages[1]
    trio.storages[1].removed_while_read.add(FileId.parse(stored).name)
    assert await client.read(stored) == b"x"


class ReplacedAfterwards(Layer):
    """An index in which somebody else puts another file behind a name when it was first looked up."""

    replace: Callable[[], Awaitable[object]] | None = None

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        stream = await super().read(path, start, stop, match=match)
        if path == "name" and self.replace is not None:
            replace, self.replace = self.replace, None
            await replace()
        return stream


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("down", [False, True])
async def test_reader_beside_a_writer_gets_the_new_bytes(trio: Cluster, odd: bool, down: bool) -> None:
    index = MemoryFileSystem()
    async with over(trio, index) as writer:
        await writer.write_bytes("name", b"old")
        old = str((await writer.stat("name")).version)
        source = of(trio, old)

        async def replace() -> None:
            if odd:
                trio.storages[source].files["kept"] = trio.storages[source].files[FileId.parse(old).name]
            await writer.write_bytes("name", b"new")
            if odd:
                trio.storages[source].files[FileId.parse(old).name] = trio.storages[source].files.pop("kept")
                trio.storages[source].removed_while_read.add(FileId.parse(old).name)
            if down:
                await trio.stop_storage(source)

        layered = ReplacedAfterwards().bind(index.driver)
        layered.replace = replace
        async with over(trio, FileSystem(layered)) as reader:
            assert await reader.read_bytes("name") == b"new"


# Recovery


async def test_recovery_waits_for_the_storage_that_has_the_only_copy(trio: Cluster) -> None:
    async with over(trio, MemoryFileSystem()) as fs, MemoryFileSystem() as journal:
        away = Chaos()
        away.fail("commit", Unreachable.of(None, "the store is away"), nth=2)
        reached = Chaos()
        reached.fail("begin", Unreachable.of(None, "the journal is away"), nth=3)
        with pytest.raises(Unfinished):
            async with transaction({"data": fs.over(away)}, journal=journal.over(reached)) as tx:
                for name in ("a", "b"):
                    await tx["data"].write_bytes(name, name.encode() * LARGE)
        [published] = await fs.ls()
        made = [number for number in range(3) if trio.storages[number].files]
        [waiting] = [number for number in made if str((await fs.stat(published)).version) != trio_id(trio, number)]
        await trio.stop_storage(waiting)
        with pytest.raises(Unavailable, match=trio.storages[waiting].ip) as caught:
            await recover({"data": fs}, journal=journal)
        assert caught.value.filename == ("b" if published == "a" else "a")
        await fsck({"data": fs}, journal=journal, fix=True)
        assert len(trio.storages[waiting].files) == 1
        await trio.start_storage(waiting)
        report = await recover({"data": fs}, journal=journal)
        assert (len(report.finished), report.undone, report.failed) == (1, [], [])
        assert {name: await fs.read_bytes(name) for name in await fs.ls()} == {"a": b"a" * LARGE, "b": b"b" * LARGE}


async def test_index_that_leads_to_a_file_of_a_storage_that_is_down(trio: Cluster) -> None:
    async with over(trio, MemoryFileSystem()) as fs:
        await fs.write_bytes("name", b"data")
        source = of(trio, str((await fs.stat("name")).version))
        await trio.stop_storage(source)
        with pytest.raises(Unavailable) as caught:
            await fs.read_bytes("name")
        assert caught.value.filename == "name"
        await trio.start_storage(source)
        assert await fs.read_bytes("name") == b"data"


def trio_id(cluster: Cluster, number: int) -> str:
    """The only file of a storage."""
    [name] = cluster.storages[number].files
    return f"group1/{name}"


def client_of(cluster: Cluster) -> FastDFSClient:
    return FastDFSClient(cluster.addresses, address_map=cluster.address_map, network_timeout=5)


async def skip(seconds: float) -> None:
    """Let time pass in a loop that skips it."""
    await asyncio.sleep(seconds)
