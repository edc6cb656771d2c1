"""The connections to trackers and storages: one request and its answer at a time, and kept for the next request."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aiofs.backends.fastdfs.client.errors import (
    EXCHANGE_ERRORS,
    BrokenError,
    FastDFSStatus,
    NotConnected,
    ProtocolError,
    RefusedError,
    StalledError,
)
from aiofs.backends.fastdfs.client.wire import HEADER, LONGEST_BODY, AnswerHeader, active_test, goodbye
from aiofs.errors import AiofsError, Damaged, TimedOut, Unreachable
from aiofs.lifetimes import PerLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiofs.backends.fastdfs.client.answers import Address
    from aiofs.backends.fastdfs.client.settings import Limits
    from aiofs.backends.fastdfs.client.wire import FastDFSRequest

T = TypeVar("T")

PIECE = 1 << 18
"""Payloads are sent in pieces of this size. Each must make progress within the time limit."""
_JOINED = 1 << 13
"""A piece that is no larger is sent in one packet with the bytes before it."""
_ENOUGH = 1 << 19
"""When so many bytes are unread, the server has to wait. No body that is read as a whole is longer."""
_SUSPECT_SECONDS = 10.0
"""For so many seconds after a timeout the other servers are asked first."""


class FastDFSConnection(asyncio.Protocol):
    """A connection that knows whether it can be used again.

    It can after an answer was read to its end. It cannot if bytes come that were not asked for, or if an error, a
    timeout or a cancellation ended an exchange early.
    """

    def __init__(self) -> None:
        self.used: bool = False
        self._transport: asyncio.Transport
        self._last_used = 0.0
        self._in_step = True
        self._asking = False
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._full = False
        self._paused = False
        self._lost: BrokenError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()

    @property
    def usable(self) -> bool:
        """Whether a new request can be sent."""
        return self._in_step and self._lost is None and not self._transport.is_closing()

    @property
    def idle(self) -> float:
        """For how many seconds it has not been used."""
        return self._loop.time() - self._last_used

    async def ask(
        self, request: FastDFSRequest[Any], payload: AsyncGenerator[memoryview] | None, patience: float
    ) -> AnswerHeader:
        """Send a request, and a payload of the announced length, and return the header of the answer.

        From now on until `finish` the connection is not usable.

        :raises BrokenError: if it breaks.
        :raises StalledError: if no byte is sent or received for `patience` seconds.
        :raises ProtocolError: if the server sends something that is not an answer.
        """
        self._in_step = False
        self._asking = True
        if payload is None:
            self._send(request.frame)
            return AnswerHeader.parse(await self.read(HEADER.size, patience))
        async with aclosing(payload):
            complete = await self._send_all(request.frame, payload, patience)
        answer = AnswerHeader.parse(await self.read(HEADER.size, patience))
        if not complete and not answer.status:
            raise ProtocolError("the request was accepted before it was complete")
        return answer

    async def read(self, size: int, patience: float) -> bytes:
        """Return exactly `size` bytes of the answer. Raises as `ask`."""
        await self._until(lambda: self._held >= size, patience)
        taken = self._take(size) if size else b""
        while len(taken) < size:
            taken += self._take(size - len(taken))
        return taken

    async def read_some(self, most: int, patience: float) -> bytes:
        """Return the next bytes of the answer, at least one and no more than `most`. Raises as `ask`."""
        await self._until(lambda: self._held > 0, patience)
        return self._take(most)

    def finish(self) -> None:
        """Note that the answer was read to its end, so that the server is ready for the next request."""
        self._asking = False
        self._in_step = not self._held
        self.used = True
        self._last_used = self._loop.time()

    def abort(self) -> None:
        """Break the connection."""
        self._in_step = False
        self._transport.abort()

    async def aclose(self) -> None:
        """Close the connection, after a goodbye if the server can read one."""
        if self.usable:
            self._send(goodbye().frame)
            self._transport.close()
        else:
            self.abort()
        await asyncio.shield(self._ended)

    async def _send_all(self, head: bytes, payload: AsyncGenerator[memoryview], patience: float) -> bool:
        """Send the payload after `head`; return whether all of it was sent before an answer came."""
        async for data in payload:
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                if len(piece) <= _JOINED:
                    self._send(head + piece)
                else:
                    self._send(head)
                    self._send(piece)
                head = b""
                if self._full:
                    await self._until(lambda: self._held > 0 or not self._full, patience)
                elif start:
                    await asyncio.sleep(0)  # let the loop receive an answer that comes early
                if self._held:
                    return False
        self._send(head)
        return True

    def _send(self, data: bytes | memoryview) -> None:
        if self._lost is not None:
            raise self._lost
        if data:
            self._transport.write(data)

    def _take(self, most: int) -> bytes:
        chunk = self._chunks.popleft()
        if len(chunk) > most:
            self._chunks.appendleft(chunk[most:])
            chunk = chunk[:most]
        self._held -= len(chunk)
        if self._paused and self._held < _ENOUGH:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    async def _until(self, ready: Callable[[], bool], patience: float) -> None:
        if ready():
            return
        deadline = self._loop.time() + patience
        alarm = self._loop.call_at(deadline, self._wake)
        try:
            while not ready():
                if self._lost is not None:
                    raise self._lost
                if self._loop.time() >= deadline:
                    raise StalledError(f"no byte was sent or received for {patience:g} seconds")
                self._waiter = self._loop.create_future()
                await self._waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and let it not keep buffers that the caller may change."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        """Keep bytes that were asked for; break the connection at others."""
        if not self._asking:
            self.abort()
            return
        self._chunks.append(data)
        self._held += len(data)
        if self._held >= _ENOUGH and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the waiting call, which raises."""
        self._lost = BrokenError(f"the connection broke: {exc}" if exc else "the server closed the connection")
        self._lost.__cause__ = exc
        self._ended.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        """Let the next piece wait until the last one is sent."""
        self._full = True

    def resume_writing(self) -> None:
        """Let the next piece be sent."""
        self._full = False
        self._wake()


class Server:
    """One tracker or storage, and the connections to it."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self.address = address
        self.limits = limits
        self._free = asyncio.Semaphore(limits.connections)
        self._all: set[FastDFSConnection] = set()
        self._idle: list[FastDFSConnection] = []
        self._closed = False
        self._suspect_until = 0.0

    @property
    def is_suspect(self) -> bool:
        """Whether it timed out a moment ago, so that others are asked first."""
        return asyncio.get_running_loop().time() < self._suspect_until

    async def call(
        self,
        request: FastDFSRequest[T],
        payload: AsyncGenerator[memoryview] | None = None,
        *,
        patience: float | None = None,
    ) -> T:
        """Send a request and return what its answer says.

        :raises RefusedError: if the answer has a status.
        :raises NotConnected: if no connection can be made; nothing was sent.
        :raises Unreachable: if the connection breaks.
        :raises TimedOut: if no byte is sent or received for `patience` seconds, by default `network_timeout`.
        :raises Damaged: if the server sends something that is not an answer.
        """
        if patience is None:
            patience = self.limits.network_timeout
        connection, answer = await self.begin(request, payload, patience)
        try:
            if answer.length > LONGEST_BODY:
                raise ProtocolError(f"an answer of {answer.length} bytes to command {int(request.command)}")
            body = await connection.read(answer.length, patience)
            decoded = request.decode(body)
            connection.finish()
        except EXCHANGE_ERRORS as error:
            raise self.failure_of(error) from error
        finally:
            self.release(connection)
        return decoded

    async def begin(
        self, request: FastDFSRequest[Any], payload: AsyncGenerator[memoryview] | None, patience: float
    ) -> tuple[FastDFSConnection, AnswerHeader]:
        """Send a request and return the connection on which the body of its answer follows. Raises as `call`.

        The caller must `release` it. A kept connection that turns out to be dead is replaced if the request may be
        sent twice.
        """
        while True:
            connection = await self._take()
            answer = None
            try:
                answer = await self._ask(connection, request, payload, patience)
            except BrokenError as error:
                if not connection.used or not request.repeatable:
                    raise self.failure_of(error) from error
                self._forget_idle()  # the cause has probably broken them too
            except EXCHANGE_ERRORS as error:
                raise self.failure_of(error) from error
            else:
                return connection, answer
            finally:
                if answer is None:
                    self.release(connection)

    def release(self, connection: FastDFSConnection) -> None:
        """Keep a connection for the next request, or close it if it is not usable."""
        if connection.usable:
            self._idle.append(connection)
        else:
            self._drop(connection)
        self._free.release()

    def failure_of(self, error: Exception) -> AiofsError:
        """Return the error of aiofs for an exchange with this server that failed with `error`."""
        if isinstance(error, StalledError):
            self._suspect()
            return TimedOut.of(None, f"{self.address}: {error}")
        if isinstance(error, BrokenError):
            return Unreachable(_errno_of(error.__cause__, errno.ECONNRESET), f"{self.address}: {error}")
        return Damaged.of(None, f"{self.address} does not keep to the protocol: {error}")

    async def aclose(self) -> None:
        """Close all connections, and let no new ones be made; requests under way fail."""
        self._closed = True
        self._idle.clear()
        while self._all:
            await self._all.pop().aclose()

    async def _ask(
        self,
        connection: FastDFSConnection,
        request: FastDFSRequest[Any],
        payload: AsyncGenerator[memoryview] | None,
        patience: float,
    ) -> AnswerHeader:
        answer = await connection.ask(request, payload, patience)
        if answer.status:
            if answer.status == FastDFSStatus.NOT_FOUND and payload is None and not answer.length:
                connection.finish()  # after another refusal a server may wait for more, or close the connection
            raise RefusedError(answer.status, request.command, str(self.address))
        return answer

    async def _take(self) -> FastDFSConnection:
        if self._free.locked():
            await self._wait_for_a_free_one()
        else:
            await self._free.acquire()
        try:
            return await self._kept() or await self._connect()
        except BaseException:
            self._free.release()
            raise

    async def _wait_for_a_free_one(self) -> None:
        try:
            async with asyncio.timeout(self.limits.pool_timeout):
                await self._free.acquire()
        except TimeoutError as error:
            raise TimedOut.of(None, f"all {self.limits.connections} connections to {self.address} are busy") from error

    async def _kept(self) -> FastDFSConnection | None:
        """Return a connection that was kept and is still usable."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and (connection.idle < self.limits.idle_check or await self._test(connection)):
                return connection
            self._drop(connection)
        return None

    async def _test(self, connection: FastDFSConnection) -> bool:
        """Return whether the server still answers on a connection that was idle for long."""
        try:
            await self._ask(connection, active_test(), None, self.limits.connect_timeout)
            connection.finish()
        except (*EXCHANGE_ERRORS, RefusedError):
            return False
        except BaseException:
            self._drop(connection)
            raise
        return True

    async def _connect(self) -> FastDFSConnection:
        self._check_open()
        host, port = self.address
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                _, connection = await asyncio.get_running_loop().create_connection(FastDFSConnection, host, port)
        except TimeoutError as error:
            self._suspect()
            words = f"{self.address} cannot be reached: no answer in {self.limits.connect_timeout:g} seconds"
            raise NotConnected(errno.ETIMEDOUT, words) from error
        except OSError as error:
            words = f"{self.address} cannot be reached: {error}"
            raise NotConnected(_errno_of(error, NotConnected.code), words) from error
        if self._closed:  # meanwhile
            await connection.aclose()
            self._check_open()
        self._all.add(connection)
        return connection

    def _suspect(self) -> None:
        self._suspect_until = asyncio.get_running_loop().time() + _SUSPECT_SECONDS

    def _check_open(self) -> None:
        if self._closed:
            raise NotConnected.of(None, f"{self.address}: the connections were closed meanwhile")

    def _drop(self, connection: FastDFSConnection) -> None:
        connection.abort()
        self._all.discard(connection)

    def _forget_idle(self) -> None:
        while self._idle:
            self._drop(self._idle.pop())


class Network:
    """All servers that a client speaks to. Each event loop has its own connections."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._servers: PerLoop[dict[Address, Server]] = PerLoop("FastDFS", dict, _close)

    def __reduce__(self) -> tuple[type[Network], tuple[Limits]]:
        """Pickle without the connections: the copy makes its own."""
        return Network, (self._limits,)

    def at(self, address: Address) -> Server:
        """Return the server at an address.

        :raises ValueError: if the client is closed.
        """
        servers = self._servers.get()
        server = servers.get(address)
        if server is None:
            server = servers[address] = Server(address, self._limits)
        return server

    async def aclose(self) -> None:
        """Close the connections of every loop that has not ended, and let no new ones be made."""
        await self._servers.aclose()


def _errno_of(error: BaseException | None, otherwise: int) -> int:
    return (error.errno if isinstance(error, OSError) else None) or otherwise


async def _close(servers: dict[Address, Server]) -> None:
    for server in servers.values():
        await server.aclose()
