"""Connections: opened when needed, a few at most, used again only in step, and never left behind."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.fastdfs import FastDFSClient
from aiofs.errors import TimedOut, Unreachable
from servers.fastdfs.cluster import Cluster, Fault
from servers.skipping import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.fastdfs.conftest import Connects
    from servers.fastdfs.cluster import Listener

MEGABYTE = bytes(1 << 20)


async def closed(listener: Listener) -> None:
    """Wait until the server has no connection any more."""
    while listener.open:
        listener.hung_up.clear()
        await listener.hung_up.wait()


async def test_nothing_is_opened_before_it_is_needed(client: FastDFSClient, cluster: Cluster) -> None:
    await client.groups()
    assert (cluster.tracker.connections, cluster.storage.connections) == (1, 0)


@pytest.mark.both_loops
async def test_one_connection_serves_many_requests(client: FastDFSClient, cluster: Cluster) -> None:
    for _ in range(20):
        stored = await client.upload(b"x")
        await client.read(stored)
        await client.delete(stored)
    assert (cluster.tracker.connections, cluster.storage.connections) == (1, 1)


async def test_each_loop_has_connections_of_its_own(client: FastDFSClient) -> None:
    """One loop after another, and several at once; closing is for good in all of them."""
    stored = await client.upload(b"bytes")

    async def work() -> bytes:
        return await client.read(stored)

    for _ in range(2):
        assert await asyncio.to_thread(asyncio.run, work()) == b"bytes"
        assert await client.read(stored) == b"bytes"
    several = [asyncio.to_thread(asyncio.run, work()) for _ in range(4)]
    assert await asyncio.gather(*several) == [b"bytes"] * 4
    await client.aclose()
    with pytest.raises(ValueError, match="closed"):
        await asyncio.to_thread(asyncio.run, work())
    gc.collect()  # while what was left open may warn


async def test_connections_are_closed_with_their_loop(client: FastDFSClient, cluster: Cluster) -> None:
    for _ in range(2):
        await asyncio.to_thread(asyncio.run, client.upload(b"bytes"))
        await closed(cluster.tracker)
        await closed(cluster.storage)


@pytest.mark.both_loops
async def test_no_more_connections_than_allowed(cluster: Cluster, connect: Connects) -> None:
    client = connect(cluster, connections=3)
    stored = await asyncio.gather(*(client.upload(str(number).encode()) for number in range(50)))
    assert await asyncio.gather(*map(client.read, stored)) == [str(number).encode() for number in range(50)]
    assert cluster.storage.connections <= 3
    assert cluster.tracker.connections <= 3


async def test_busy_connections_are_waited_for_only_so_long(cluster: Cluster, connect: Connects) -> None:
    client = connect(cluster, connections=1, pool_timeout=0.01)
    stored = await client.upload(MEGABYTE)
    async with await client.download(stored):
        with pytest.raises(TimedOut, match="busy"):
            await client.info(stored)
    assert (await client.info(stored)).size == len(MEGABYTE)


@pytest.mark.both_loops
async def test_closing_ends_what_is_under_way(cluster: Cluster, connect: Connects) -> None:
    """A request that waits for a connection, and one that could be repeated, do not continue with a new one."""
    client = connect(cluster, connections=1)
    stored = await client.upload(b"x", appender=True)
    cluster.storage.fault = Fault("stall", "answer", 0)
    tasks = [asyncio.create_task(client.info(stored)) for _ in range(3)]
    await cluster.storage.was_hurt.wait()
    await client.aclose()
    for task in tasks:
        with pytest.raises((Unreachable, ValueError), match="closed"):
            await task
    assert (cluster.tracker.connections, cluster.storage.connections) == (1, 1)


@pytest.mark.both_loops
async def test_connection_that_opens_while_its_client_closes_is_closed(client: FastDFSClient, cluster: Cluster) -> None:
    task = asyncio.create_task(client.groups())
    await asyncio.sleep(0)  # it begins to connect
    await client.aclose()
    with pytest.raises((Unreachable, ValueError), match="closed"):
        await task
    await closed(cluster.tracker)


async def test_dead_connection_is_replaced_where_that_does_no_harm(client: FastDFSClient, cluster: Cluster) -> None:
    stored = await client.upload(b"x", appender=True)
    for repeatable in (client.read, client.info, client.metadata, client.query_fetch):
        await client.info(stored)
        for listener in (cluster.tracker, cluster.storage):
            listener.fault = Fault("cut", "request", 0)
            listener.cut()
            listener.fault = None
        await repeatable(stored)


async def test_server_that_always_hangs_up_is_asked_twice(client: FastDFSClient, cluster: Cluster) -> None:
    stored = await client.upload(b"x", appender=True)
    cluster.storage.instead = {22: None}
    with pytest.raises(Unreachable):
        await client.info(stored)
    assert cluster.storage.asked == [23, 22, 22]


@pytest.mark.parametrize("change", ["append", "modify", "truncate", "delete", "set_metadata", "regenerate"])
async def test_change_is_never_sent_twice(client: FastDFSClient, cluster: Cluster, change: str) -> None:
    stored = cluster.storages[0].put(b"data", appender=True)
    await client.info(stored)
    changes = {
        "append": lambda: client.append(stored, b"x"),
        "modify": lambda: client.modify(stored, 0, b"x"),
        "truncate": lambda: client.truncate(stored, 1),
        "delete": lambda: client.delete(stored),
        "set_metadata": lambda: client.set_metadata(stored, {"a": "b"}),
        "regenerate": lambda: client.regenerate(stored),
    }
    before = len(cluster.storage.asked)
    cluster.storage.fault = Fault("cut", "answer", 0)
    with pytest.raises(Unreachable) as caught:
        await changes[change]()
    assert caught.value.filename == stored
    assert len(cluster.storage.asked) == before + 1


async def test_connection_that_the_server_closed_is_noticed(client: FastDFSClient, cluster: Cluster) -> None:
    stored = await client.upload(b"x", appender=True)
    await client.info(stored)
    cluster.storage.cut()
    await closed(cluster.storage)
    await client.append(stored, b"y")  # may not be repeated, and need not be
    assert await client.read(stored) == b"xy"


def test_connection_that_was_idle_is_tested_first() -> None:
    async def work() -> None:
        async with Cluster() as cluster, FastDFSClient(cluster.addresses, address_map=cluster.address_map) as client:
            stored = await client.upload(b"x", appender=True)
            await asyncio.sleep(3600)
            await client.append(stored, b"y")
            assert cluster.storage.asked[-2:] == [111, 24]
            await asyncio.sleep(3600)
            cluster.storage.fault = Fault("stall", "answer", 0)
            await client.append(stored, b"z")
            assert cluster.storages[0].files[stored.partition("/")[2]].data == b"xyz"
            await client.append(stored, b"!")
            assert cluster.storage.asked[-3:] == [111, 24, 24]

    run(work())


def test_test_of_an_idle_connection_can_be_cancelled() -> None:
    async def work() -> None:
        async with Cluster() as cluster, FastDFSClient(cluster.addresses, address_map=cluster.address_map) as client:
            stored = await client.upload(b"x", appender=True)
            await asyncio.sleep(3600)
            cluster.storage.fault = Fault("stall", "answer", 0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.append(stored, b"y")
            await client.append(stored, b"z")
            assert await client.read(stored) == b"xz"

    run(work())


@pytest.mark.both_loops
@pytest.mark.parametrize("hurt", ["tracker", "storage"])
async def test_cancelled_while_a_server_stalls(client: FastDFSClient, cluster: Cluster, hurt: str) -> None:
    witness = cluster.storages[0].put(b"the witness")
    listener: Listener = getattr(cluster, hurt)
    listener.fault = Fault("stall", "answer", 3)
    task = asyncio.create_task(client.upload(b"x"))
    await listener.was_hurt.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.read(witness) == b"the witness"


@pytest.mark.both_loops
async def test_cancelled_within_a_payload(client: FastDFSClient, cluster: Cluster) -> None:
    reached = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield bytes(10)
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(client.upload(stuck(), 20))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cluster.storages[0].files == {}
    assert await client.read(await client.upload(b"next")) == b"next"


async def test_cancelled_anywhere_leaves_the_client_in_step(client: FastDFSClient, cluster: Cluster) -> None:
    """Cancel a read after every number of turns of the loop that it takes."""
    stored = cluster.storages[0].put(b"0123456789")
    witness = cluster.storages[0].put(b"the witness")
    for turns in range(200):
        task = asyncio.create_task(client.read(stored))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            assert task.result() == b"0123456789"
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.read(witness) == b"the witness"
    else:
        pytest.fail("the read never ended")
    await client.aclose()
    await closed(cluster.tracker)
    await closed(cluster.storage)


async def test_cancelled_waiting_for_a_connection(cluster: Cluster, connect: Connects) -> None:
    client = connect(cluster, connections=1)
    stored = await client.upload(MEGABYTE)
    async with await client.download(stored):
        waiting = asyncio.create_task(client.info(stored))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert (await client.info(stored)).size == len(MEGABYTE)


async def test_closing_breaks_what_goes_on(cluster: Cluster) -> None:
    client = FastDFSClient(cluster.addresses, address_map=cluster.address_map)
    stored = await client.upload(bytes(1 << 24))
    download = await client.download(stored)
    await client.aclose()
    with pytest.raises(Unreachable) as caught:
        async for _ in download:
            pass
    assert caught.value.filename == stored
    await closed(cluster.storage)


async def test_reader_that_stops_reading_holds_back_the_server(client: FastDFSClient, cluster: Cluster) -> None:
    stored = cluster.storages[0].put(bytes(1 << 25))
    async with await client.download(stored) as download:
        await download.chunk(1)
        other = cluster.storages[0].put(b"other")
        assert await client.read(other) == b"other"
        total = 1
        while data := await download.chunk():
            assert len(data) <= 1 << 18
            total += len(data)
        assert total == 1 << 25


async def test_file_that_shrinks_while_it_is_read_is_an_error(client: FastDFSClient, cluster: Cluster) -> None:
    stored = cluster.storages[0].put(bytes(5000), appender=True)
    cluster.storage.fault = Fault("cut", "answer", 2000)
    with pytest.raises(Unreachable) as caught:
        await client.read(stored)
    assert caught.value.filename == stored


async def test_appender_that_shrank_between_two_requests(client: FastDFSClient, cluster: Cluster) -> None:
    stored = cluster.storages[0].put(b"01234", appender=True)
    async with await client.download(stored, 1, 100, size=10) as download:
        assert download.size == 4
        assert await download.read() == b"1234"
