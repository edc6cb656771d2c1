"""Servers that are down: which others are asked instead, and which are not."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.fastdfs import FastDFSClient, FileId
from aiofs.errors import NoSpace, Unavailable, Unreachable
from servers.fastdfs.cluster import Fault

if TYPE_CHECKING:
    from backends.fastdfs.conftest import Connects, Starts
    from servers.fastdfs.cluster import Cluster


@pytest.fixture
async def pair(start: Starts) -> Cluster:
    """A group of two storages and two trackers."""
    return await start(groups=(2,), trackers=2)


@pytest.fixture
def paired(pair: Cluster, connect: Connects) -> FastDFSClient:
    return connect(pair)


async def test_tracker_down(pair: Cluster, paired: FastDFSClient) -> None:
    stored = await paired.upload(b"x")
    await pair.tracker.stop()
    assert await paired.read(stored) == b"x"
    assert await paired.read(await paired.upload(b"y")) == b"y"


async def test_all_trackers_down_and_back(pair: Cluster, paired: FastDFSClient) -> None:
    stored = await paired.upload(b"x")
    for listener in pair.tracker_listeners:
        await listener.stop()
    with pytest.raises(Unreachable) as caught:
        await paired.read(stored)
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.retryable
    assert caught.value.errno == errno.ECONNREFUSED
    assert all(address in str(caught.value) for address in pair.addresses)
    with pytest.raises(Unreachable):
        await paired.upload(b"y")
    await pair.tracker_listeners[1].start()
    assert await paired.read(stored) == b"x"


async def test_storage_that_is_given_as_a_tracker_is_told_so(cluster: Cluster) -> None:
    address = f"127.0.0.1:{cluster.storage.port}"
    async with FastDFSClient(address) as client:
        for question in (client.query_store, client.groups, lambda: client.upload(b"x")):
            with pytest.raises(OSError, match="it may be a storage") as caught:
                await question()
            assert caught.value.errno == errno.EINVAL
            assert address in str(caught.value)


async def test_client_stays_with_the_tracker_that_answers(pair: Cluster, paired: FastDFSClient) -> None:
    await pair.tracker.stop()
    for _ in range(3):
        await paired.groups()
    await pair.tracker.start()
    await paired.groups()
    assert pair.tracker.asked == []
    assert pair.tracker_listeners[1].connections == 1


async def test_tracker_that_knows_nothing_yet(pair: Cluster, paired: FastDFSClient) -> None:
    stored = await paired.upload(b"x")
    pair.trackers[0].storages = []
    assert await paired.read(stored) == b"x"
    pair.trackers[1].storages = []
    with pytest.raises(Unavailable, match="group1"):
        await paired.read(stored)


async def test_unknown_group_says_more_than_a_tracker_that_is_down(pair: Cluster, paired: FastDFSClient) -> None:
    await pair.tracker_listeners[1].stop()
    with pytest.raises(Unavailable, match="nogroup"):
        await paired.query_store("nogroup")


async def test_storage_down_before_the_tracker_knows_it(pair: Cluster, paired: FastDFSClient) -> None:
    stored = pair.storages[0].put(b"x")
    appender = pair.storages[0].put(b"x", appender=True)
    pair.storages[0].replicate()
    await pair.storage.stop()
    assert await paired.read(stored) == b"x"  # a normal file is the same everywhere
    for change in (paired.read(appender), paired.append(appender, b"y"), paired.delete(stored), paired.info(stored)):
        with pytest.raises(Unreachable):
            await change
    assert pair.storages[1].files[FileId.parse(appender).name].data == b"x"


async def test_upload_goes_to_another_storage_when_nothing_was_sent(pair: Cluster, paired: FastDFSClient) -> None:
    await pair.storage.stop()
    for _ in range(3):
        stored = await paired.upload(b"x")
        assert FileId.parse(stored).source == "10.0.1.2"


async def test_upload_that_nobody_answers_is_sent_to_each_storage_once(pair: Cluster, paired: FastDFSClient) -> None:
    for listener in pair.storage_listeners:
        listener.fault = Fault("cut", "answer", 0)
    with pytest.raises(Unreachable):
        await paired.upload(b"x")
    assert [len(storage.files) for storage in pair.storages] == [1, 1]


async def test_replica_without_the_file_proves_nothing(pair: Cluster, paired: FastDFSClient) -> None:
    stored = pair.storages[0].put(b"x")
    await pair.storage.stop()
    with pytest.raises(Unreachable):
        await paired.read(stored)


async def test_storage_known_to_be_down(pair: Cluster, paired: FastDFSClient) -> None:
    stored = pair.storages[0].put(b"x")
    appender = pair.storages[0].put(b"x", appender=True)
    pair.storages[0].replicate()
    await paired.append(appender, b"1")
    pair.storages[0].replicate()
    pair.storages[0].active = False
    await pair.storage.stop()
    await paired.append(appender, b"2")
    assert await paired.read(appender) == b"x12"
    assert await paired.read(stored) == b"x"
    await paired.delete(stored)
    with pytest.raises(Unavailable, match=r"10\.0\.1\.1"):
        await paired.exists(stored)
    pair.storages[1].replicate()
    await pair.start_storage(0)
    pair.storages[1].replicate()
    assert not await paired.exists(stored)


async def test_all_storages_down_and_back(pair: Cluster, paired: FastDFSClient) -> None:
    stored = pair.storages[0].put(b"x")
    for storage, listener in zip(pair.storages, pair.storage_listeners, strict=True):
        storage.active = False
        await listener.stop()
    for attempt in (paired.read(stored), paired.upload(b"y"), paired.delete(stored), paired.exists(stored)):
        with pytest.raises(Unavailable) as caught:
            await attempt
        assert not isinstance(caught.value, FileNotFoundError)
    for storage, listener in zip(pair.storages, pair.storage_listeners, strict=True):
        await listener.start()
        storage.active = True
    assert await paired.read(stored) == b"x"
    assert await paired.read(await paired.upload(b"y")) == b"y"


async def test_storage_down_and_back(cluster: Cluster, client: FastDFSClient) -> None:
    stored = await client.upload(b"x", appender=True)
    await client.info(stored)
    await cluster.storage.stop()
    with pytest.raises(Unreachable) as caught:
        await client.append(stored, b"y")
    assert caught.value.filename == stored
    with pytest.raises(Unreachable):
        await client.upload(b"y")
    await cluster.storage.start()
    await client.append(stored, b"z")
    assert await client.read(stored) == b"xz"


async def test_source_is_remembered_and_forgotten(pair: Cluster, paired: FastDFSClient) -> None:
    stored = pair.storages[0].put(b"x", appender=True)
    pair.storages[0].replicate()
    for _ in range(3):
        await paired.info(stored)
    assert pair.tracker.asked == [103]
    pair.storages[0].active = False
    await pair.storage.stop()
    await paired.info(stored)
    assert pair.tracker.asked == [103, 103]


async def test_replica_is_not_remembered_as_source(pair: Cluster, paired: FastDFSClient) -> None:
    stored = pair.storages[0].put(b"x", appender=True)
    pair.storages[0].replicate()
    pair.storages[0].active = False
    await paired.append(stored, b"1")
    pair.storages[0].active = True
    await paired.append(stored, b"2")
    assert (pair.storage.asked, pair.storage_listeners[1].asked) == ([24], [24])


async def test_file_that_its_remembered_source_lost_is_asked_for_again(pair: Cluster, paired: FastDFSClient) -> None:
    stored = pair.storages[0].put(b"x", appender=True)
    pair.storages[0].replicate()
    await paired.info(stored)
    del pair.storages[0].files[FileId.parse(stored).name]
    pair.storages[0].active = False  # its disk is being recovered
    assert (await paired.info(stored)).size == 1
    await paired.append(stored, b"y")
    assert await paired.read(stored) == b"xy"


async def test_full_cluster(cluster: Cluster, client: FastDFSClient) -> None:
    cluster.storages[0].full = True
    with pytest.raises(NoSpace):
        await client.upload(b"x")
    with pytest.raises(NoSpace):
        await client.query_store("group1")
    cluster.storages[0].full = False
    assert await client.read(await client.upload(b"x")) == b"x"


async def test_timeout_of_a_connect(cluster: Cluster) -> None:
    silent = {"10.0.1.1": "[100::1]:23000"}  # the prefix that routers discard
    async with FastDFSClient(cluster.addresses, address_map=silent, connect_timeout=0.05) as client:
        with pytest.raises(Unreachable, match=r"\[100::1\]:23000") as caught:
            await client.upload(b"x")
        assert caught.value.errno in {errno.ETIMEDOUT, errno.ENETUNREACH}
