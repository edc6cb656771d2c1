"""A TCP proxy that hurts: set before any server, it cuts, stalls, delays, throttles, damages and refuses, at any byte.

`async with FaultProxy(port) as proxy` runs in the test's own loop, `with ProxyThread(port) as proxy` in a thread of its
own. Clients talk to `proxy.port`. Faults are attributes, set and changed at any moment, before and during a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from servers.process import HOST

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

PIECE = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what was not sent, and resets


@dataclass
class Flow:
    """One direction, to the server or to the client: what passed, and what befalls the bytes that come.

    Offsets count all bytes of this direction since the proxy began, whatever their connection: to cut after five more,
    `flow.cut_at = flow.passed + 5`.
    """

    passed: int = 0
    cut_at: int | None = None  # here the connection is cut, once; the bytes before arrive
    cut_each_at: int | None = None  # every connection is cut after so many bytes of its own
    stall_at: int | None = None  # here the connection stops, once, until `resume`; others overtake it
    stalled: bool = False  # nothing passes on any connection until `resume`
    flip_at: int | None = None  # the byte at this offset arrives with its lowest bit flipped, once
    delay: float = 0.0  # seconds that each piece is held back
    rate: float | None = None  # bytes per second
    _resumed: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    async def reach(self, count: int) -> None:
        """Wait until `count` bytes have passed in all."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.passed >= count)

    async def resume(self) -> None:
        """End every stall."""
        async with self._changed:
            self.stalled, self.stall_at = False, None
            self._resumed += 1
            self._changed.notify_all()

    async def pass_on(self, piece: bytes, sent: int, writer: asyncio.StreamWriter) -> bool:
        """Send `piece`, of a connection that has sent `sent` bytes, through the faults; False when it is to be cut."""
        if self.delay:
            await asyncio.sleep(self.delay)
        while piece:
            if self.stalled:
                await self._wait_for_resume()
            count = min(len(piece), *self._room(sent))
            if count:
                await self._send(piece[:count], writer)
                piece, sent = piece[count:], sent + count
            if self._cuts(sent):
                return False
            if self.stall_at is not None and self.passed >= self.stall_at:
                self.stall_at = None
                await self._wait_for_resume()
        return True

    def _room(self, sent: int) -> list[int]:
        """How many bytes may pass before each of the faults that wait at an offset."""
        room = [PIECE]
        room += [at - self.passed for at in (self.cut_at, self.stall_at) if at is not None]
        room += [self.cut_each_at - sent] if self.cut_each_at is not None else []
        return [max(0, bytes_left) for bytes_left in room]

    def _cuts(self, sent: int) -> bool:
        if self.cut_at is not None and self.passed >= self.cut_at:
            self.cut_at = None
            return True
        return self.cut_each_at is not None and sent >= self.cut_each_at

    async def _wait_for_resume(self) -> None:
        before = self._resumed
        async with self._changed:
            await self._changed.wait_for(lambda: self._resumed > before)

    async def _send(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        if self.rate is not None:
            await asyncio.sleep(len(piece) / self.rate)
        if self.flip_at is not None and 0 <= self.flip_at - self.passed < len(piece):
            damaged = bytearray(piece)
            damaged[self.flip_at - self.passed] ^= 1
            piece, self.flip_at = bytes(damaged), None
        writer.write(piece)
        await writer.drain()
        async with self._changed:
            self.passed += len(piece)
            self._changed.notify_all()


class FaultProxy:
    """A proxy before the server on `target` (a port of the loopback interface), in the running loop."""

    def __init__(self, target: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.to_server = Flow()
        self.to_client = Flow()
        self.refusing = False  # new connections are reset
        self.garbage: bytes | None = None  # what every new connection is answered, instead of the server
        self.connections = 0  # taken so far, refused ones included
        self.port = 0
        self.idle = asyncio.Event()  # set while no client has a connection
        self.idle.set()
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """How many connections clients have at this moment."""
        return len(self._tasks)

    def before(self, url: str) -> str:
        """`url` with this proxy's port in place of the server's."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{self.port}").geturl()

    def cut(self) -> None:
        """Reset every connection there is."""
        for writer in self._writers:
            _reset(writer)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, HOST, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.idle.clear()
        try:
            # A client may reset too, and a test ends with connections open: both are this proxy's daily life.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            await _close(writer)
            self._writers.discard(writer)
            self._tasks.discard(task)
            if not self._tasks:
                self.idle.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            _reset(writer)
        elif self.garbage is not None:
            await self._answer(self.garbage, reader, writer)
        else:
            await self._join(reader, writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(HOST, self.target)
        except OSError:
            _reset(writer)
            return
        self._writers.add(server_writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(self.to_server, reader, server_writer))
                group.create_task(self._pump(self.to_client, server_reader, writer))
        except* OSError:
            _reset(writer)
        finally:
            await _close(server_writer)
            self._writers.discard(server_writer)

    async def _pump(self, flow: Flow, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while piece := await reader.read(PIECE):
            if not await flow.pass_on(piece, sent, writer):
                raise ConnectionResetError
            sent += len(piece)
        _end(writer)

    async def _answer(self, garbage: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        await writer.drain()
        _end(writer)
        # Closing with the question unread would reset the connection, and the client might never see the answer.
        while await reader.read(PIECE):
            pass


class ProxyThread:
    """A `FaultProxy` in a thread, for tests without a loop and servers that outlive one."""

    def __init__(self, target: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(target, tls),), name="fault proxy")

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._started.wait()
        return self._proxy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _run(self, target: int, tls: ssl.SSLContext | None) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with FaultProxy(target, tls=tls) as self._proxy:
            self._started.set()
            await self._end.wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset where the system allows it."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


def _end(writer: asyncio.StreamWriter) -> None:
    """Say that no more comes, while the other direction goes on; TLS has no half-closed connections."""
    if writer.is_closing():
        return  # it was cut; uvloop would not hear of it any more
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
