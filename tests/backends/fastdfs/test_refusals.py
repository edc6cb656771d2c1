"""What a status means, whichever exchange it answers, and that no connection is used again that should not be."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.fastdfs.client import wire
from aiofs.errors import AccessDenied, AiofsError, AlreadyExists, Damaged, NoSpace, NotFound, Unavailable, Unsupported
from backends.fastdfs.exchanges import DATA, STORAGE, TRACKER, Exchange
from servers.fastdfs.storage import framed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs import FastDFSClient
    from servers.fastdfs.cluster import Cluster

WITH_PAYLOAD = [
    each for each in STORAGE if each.name in {"upload", "upload_appender", "upload_slave", "append", "modify"}
]
MEANINGS: dict[int, tuple[type[OSError], int]] = {
    2: (NotFound, errno.ENOENT),
    5: (AiofsError, errno.EIO),
    12: (Unavailable, errno.EBUSY),
    13: (AccessDenied, errno.EACCES),
    16: (Unavailable, errno.EBUSY),
    17: (AlreadyExists, errno.EEXIST),
    21: (IsADirectoryError, errno.EISDIR),
    22: (AiofsError, errno.EINVAL),
    28: (NoSpace, errno.ENOSPC),
    99: (AiofsError, errno.EIO),
}


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1 << 16)
        await asyncio.sleep(0)


async def still_right(client: FastDFSClient, cluster: Cluster) -> None:
    """Both servers understand, and are understood."""
    witness = cluster.storages[0].put(b"the witness")
    assert await client.read(witness) == b"the witness"
    assert (await client.info(witness)).size == 11


@pytest.mark.parametrize("status", MEANINGS)
@pytest.mark.parametrize("exchange", STORAGE, ids=str)
async def test_status_of_a_storage(client: FastDFSClient, cluster: Cluster, exchange: Exchange, status: int) -> None:
    file = cluster.storages[0].put(DATA, appender=exchange.appender)
    cluster.storage.instead = {exchange.command: framed(b"", status)}
    if (exchange.name, status) == ("metadata", 2):
        assert await exchange.act(client, file) == {}
    else:
        kind, code = MEANINGS[status]
        if (exchange.name, status) == ("regenerate", 22):
            kind, code = Unsupported, errno.ENOTSUP
        with pytest.raises(kind) as caught:
            await exchange.act(client, file)
        assert caught.value.errno == code
        assert f"127.0.0.1:{cluster.storage.port}" in str(caught.value)
        assert caught.value.__cause__ is not None
        about_none = {"upload", "upload_appender", "names", "active_test"}
        assert caught.value.filename == (None if exchange.name in about_none else file)
    cluster.storage.instead.clear()
    await still_right(client, cluster)


@pytest.mark.parametrize("status", MEANINGS)
@pytest.mark.parametrize("exchange", TRACKER, ids=str)
async def test_status_of_a_tracker(client: FastDFSClient, cluster: Cluster, exchange: Exchange, status: int) -> None:
    file = cluster.storages[0].put(DATA, appender=exchange.appender)
    cluster.tracker.instead = {exchange.command: framed(b"", status)}
    kind, code = MEANINGS[status] if status != 2 else (Unavailable, errno.EBUSY)
    with pytest.raises(kind) as caught:
        await exchange.act(client, file)
    assert caught.value.errno == code
    assert cluster.addresses[0] in str(caught.value)
    cluster.tracker.instead.clear()
    await still_right(client, cluster)


@pytest.mark.parametrize("status", MEANINGS)
@pytest.mark.parametrize("exchange", WITH_PAYLOAD, ids=str)
async def test_status_before_the_payload_is_sent(
    client: FastDFSClient, cluster: Cluster, exchange: Exchange, status: int
) -> None:
    """An error answer can come while the client still sends: it is read, not waited past."""
    file = cluster.storages[0].put(DATA, appender=exchange.appender)
    cluster.storage.early = {exchange.command: framed(b"", status)}
    size = 1 << 40
    acts: dict[str, Any] = {
        "upload": lambda: client.upload(endless(), size),
        "upload_appender": lambda: client.upload(endless(), size, appender=True),
        "upload_slave": lambda: client.upload_slave(file, "_s", endless(), size),
        "append": lambda: client.append(file, endless(), size),
        "modify": lambda: client.modify(file, 0, endless(), size),
    }
    with pytest.raises(MEANINGS[status][0]) as caught:
        await acts[exchange.name]()
    assert caught.value.errno == MEANINGS[status][1]
    cluster.storage.early.clear()
    await still_right(client, cluster)


async def test_success_before_the_payload_is_sent_is_none(client: FastDFSClient, cluster: Cluster) -> None:
    cluster.storage.early = {11: framed(b"")}
    with pytest.raises(Damaged):
        await client.upload(endless(), 1 << 40)


@pytest.mark.parametrize("status", [5, 13, 22, 28])
async def test_connection_is_dropped_after_a_refusal(client: FastDFSClient, cluster: Cluster, status: int) -> None:
    file = cluster.storages[0].put(DATA)
    await client.read(file)
    cluster.storage.instead = {14: framed(b"", status)}
    with contextlib.suppress(OSError):
        await client.read(file)
    cluster.storage.instead.clear()
    await client.read(file)
    assert cluster.storage.connections == 2


async def test_connection_is_kept_after_a_missing_file(client: FastDFSClient, cluster: Cluster) -> None:
    file = cluster.storages[0].put(DATA)
    await client.delete(file)
    for _ in range(3):
        with pytest.raises(NotFound):
            await client.info(file)
        with pytest.raises(NotFound):
            await client.read(file)
    assert cluster.storage.connections == 1
    assert cluster.tracker.connections == 1


async def test_connection_is_dropped_after_a_missing_file_that_was_sent_bytes(
    client: FastDFSClient, cluster: Cluster
) -> None:
    file = cluster.storages[0].put(DATA, appender=True)
    await client.delete(file)
    with pytest.raises(NotFound):
        await client.append(file, b"x")
    await still_right(client, cluster)
    assert cluster.storage.connections == 2


@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
async def test_bytes_behind_an_answer_are_not_the_next_one(
    client: FastDFSClient, cluster: Cluster, exchange: Exchange
) -> None:
    file = cluster.storages[0].put(DATA, appender=exchange.appender)
    listener = exchange.listener(cluster)
    listener.behind = framed(b"not asked for")
    with contextlib.suppress(OSError):  # a log of names that goes on is an error
        await exchange.act(client, file)
    listener.behind = b""
    await still_right(client, cluster)


async def test_bytes_that_come_between_requests_are_no_answer(client: FastDFSClient, cluster: Cluster) -> None:
    await still_right(client, cluster)
    for listener in (cluster.tracker, cluster.storage):
        listener.hung_up.clear()
        await listener.say(framed(b"not asked for"))
        await listener.hung_up.wait()
    await still_right(client, cluster)


@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
@pytest.mark.parametrize("length", [-1, -(1 << 63), 1 << 20, (1 << 63) - 1])
async def test_hostile_lengths(client: FastDFSClient, cluster: Cluster, exchange: Exchange, length: int) -> None:
    if exchange.name == "download" and length > 0:
        length = (1 << 63) - 1
    file = cluster.storages[0].put(DATA, appender=exchange.appender)
    listener = exchange.listener(cluster)
    listener.instead = {exchange.command: length.to_bytes(8, signed=True) + b"\x64\0"}
    with pytest.raises(Damaged):
        await exchange.act(client, file)
    listener.instead.clear()
    await still_right(client, cluster)


@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
async def test_answers_of_another_protocol(client: FastDFSClient, cluster: Cluster, exchange: Exchange) -> None:
    file = cluster.storages[0].put(DATA, appender=exchange.appender)
    listener = exchange.listener(cluster)
    listener.instead = {exchange.command: b"HTTP/1.1 400 Bad Request\r\n\r\n"}
    with pytest.raises(Damaged):
        await exchange.act(client, file)
    listener.instead.clear()
    await still_right(client, cluster)


@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
@pytest.mark.parametrize("body", [b"", b"body"])
async def test_status_counts_whatever_length_is_announced(
    client: FastDFSClient, cluster: Cluster, exchange: Exchange, body: bytes
) -> None:
    file = cluster.storages[0].put(DATA, appender=exchange.appender)
    listener = exchange.listener(cluster)
    listener.instead = {exchange.command: wire.HEADER.pack(1000, 100, 2) + body}
    if exchange.name == "metadata":
        assert await exchange.act(client, file) == {}
    else:
        with pytest.raises(NotFound if exchange.hurt == "storage" else Unavailable):
            await exchange.act(client, file)
    listener.instead.clear()
    await still_right(client, cluster)
