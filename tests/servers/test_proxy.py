"""The proxy hurts exactly as told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from servers.process import HOST
from servers.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from servers.tls import Authority

    Before = Callable[[int], Awaitable[FaultProxy]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy(fault_proxy: Before) -> AsyncIterator[FaultProxy]:
    """A proxy before a server that answers what it was sent."""
    async with await asyncio.start_server(echo, HOST, 0) as server:
        yield await fault_proxy(server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(proxy: FaultProxy, question: bytes) -> bytes:
    """What comes back for `question` until the answer is as long, or ends."""
    async with connected(proxy) as (reader, writer):
        writer.write(question)
        try:
            return await reader.readexactly(len(question))
        except asyncio.IncompleteReadError as error:
            return error.partial


async def test_it_passes_and_counts(proxy: FaultProxy) -> None:
    question = bytes(range(256)) * 4096
    assert await ask(proxy, question) == question
    assert proxy.to_server.passed == proxy.to_client.passed == len(question)
    assert proxy.connections == 1


async def test_it_passes_the_end_on(proxy: FaultProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"all")
        writer.write_eof()
        assert await reader.read() == b"all"


@pytest.mark.parametrize("offset", [0, 1, 700, 99_999])
async def test_it_cuts_once_on_the_way_to_the_server(proxy: FaultProxy, offset: int) -> None:
    proxy.to_server.cut_at = offset
    with pytest.raises(ConnectionError):
        await ask(proxy, bytes(100_000))
    assert proxy.to_server.passed == offset
    assert await ask(proxy, b"again") == b"again"


async def test_it_cuts_on_the_way_to_the_client(proxy: FaultProxy) -> None:
    proxy.to_client.cut_at = 4
    with pytest.raises(ConnectionError):
        await ask(proxy, b"question")
    assert (proxy.to_server.passed, proxy.to_client.passed) == (8, 4)


async def test_it_cuts_each_connection(proxy: FaultProxy) -> None:
    proxy.to_server.cut_each_at = 3
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await ask(proxy, b"question")
    assert proxy.to_server.passed == 6


async def test_it_stalls_until_it_is_told(proxy: FaultProxy) -> None:
    proxy.to_client.stall_at = 4
    asking = asyncio.create_task(ask(proxy, b"question"))
    await proxy.to_client.reach(4)
    assert not asking.done()
    await proxy.to_client.resume()
    assert await asking == b"question"


async def test_it_cuts_a_stalled_connection(proxy: FaultProxy) -> None:
    proxy.to_client.stall_at = 4
    asking = asyncio.create_task(ask(proxy, b"question"))
    await proxy.to_client.reach(4)
    assert proxy.open == 1
    proxy.cut()
    with pytest.raises(ConnectionError):
        await asking


async def test_it_delays_and_throttles(proxy: FaultProxy) -> None:
    loop = asyncio.get_running_loop()
    proxy.to_server.delay = 0.05
    proxy.to_client.rate = 1000.0
    began = loop.time()
    assert await ask(proxy, bytes(100)) == bytes(100)
    assert loop.time() - began >= 0.15


async def test_a_stalled_connection_is_overtaken(proxy: FaultProxy) -> None:
    proxy.to_server.stall_at = 2
    first = asyncio.create_task(ask(proxy, b"first"))
    await proxy.to_server.reach(2)
    assert await ask(proxy, b"second") == b"second"
    assert not first.done()
    await proxy.to_server.resume()
    assert await first == b"first"


async def test_it_stalls_everything(proxy: FaultProxy) -> None:
    proxy.to_client.stalled = True
    asking = [asyncio.create_task(ask(proxy, b"question")) for _ in range(2)]
    await proxy.to_server.reach(16)
    assert proxy.to_client.passed == 0
    await proxy.to_client.resume()
    assert await asyncio.gather(*asking) == [b"question"] * 2


async def test_it_damages_one_byte(proxy: FaultProxy) -> None:
    proxy.to_client.flip_at = 2
    assert await ask(proxy, b"aaaa") == b"aa`a"
    assert await ask(proxy, b"aaaa") == b"aaaa"


async def test_it_refuses_new_connections(proxy: FaultProxy) -> None:
    proxy.refusing = True
    with pytest.raises(ConnectionError):
        await ask(proxy, b"question")
    proxy.refusing = False
    assert await ask(proxy, b"question") == b"question"
    assert proxy.connections == 2


async def test_it_answers_garbage(proxy: FaultProxy) -> None:
    proxy.garbage = b"\x00\xff?"
    assert await ask(proxy, b"question") == b"\x00\xff?"


async def test_it_resets_when_the_server_is_gone(fault_proxy: Before) -> None:
    async with await asyncio.start_server(echo, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionError):
        await ask(await fault_proxy(port), b"question")


async def test_it_speaks_tls(proxy: FaultProxy, authority: Authority) -> None:
    async with FaultProxy(proxy.port, tls=authority.server_context) as front:
        reader, writer = await asyncio.open_connection(HOST, front.port, ssl=authority.client_context)
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
        writer.close()
        await writer.wait_closed()


def test_it_lies_before_any_url() -> None:
    proxy = FaultProxy(1)
    proxy.port = 2
    assert proxy.before("redis://user:word@127.0.0.1:1/3?x=y") == "redis://user:word@127.0.0.1:2/3?x=y"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as listening:
        yield listening


def test_it_runs_in_a_thread(listener: socket.socket, threaded_fault_proxy: Callable[[int], FaultProxy]) -> None:
    proxy = threaded_fault_proxy(listener.getsockname()[1])
    with socket.create_connection((HOST, proxy.port)) as client:
        client.sendall(b"question")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(8) == b"question"
            connection.sendall(b"answer")
            assert client.recv(6) == b"answer"
