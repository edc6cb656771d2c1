"""One connection to a tracker or a storage: strictly a request, then its answer, each step in its time."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from aiofs.backends.fastdfs.answers import ProtocolError
from aiofs.backends.fastdfs.wire import HEADER, Answer, goodbye

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiofs.backends.fastdfs.wire import Request

PIECE = 1 << 18
"""Payloads go out in pieces of this size, each in its time."""
_JOINED = 1 << 13
"""A piece that is no larger is sent in one packet with what goes before it."""
_ENOUGH = 1 << 19
"""So much unread, and the server has to wait. It is more than the longest body that is read whole."""


class BrokenError(Exception):
    """The connection is gone."""


class StalledError(Exception):
    """Nothing moved for too long."""


class Connection(asyncio.Protocol):
    """A connection that knows whether it may be used again.

    It may when the last answer was read to its end. Whatever comes unasked, and whatever ends an exchange early, be it
    an error, a timeout or a cancellation, leaves it out of step for good.
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
        """Whether a new request may go out."""
        return self._in_step and self._lost is None and not self._transport.is_closing()

    @property
    def idle(self) -> float:
        """For how many seconds it was not used."""
        return self._loop.time() - self._last_used

    async def ask(self, request: Request[Any], payload: AsyncGenerator[memoryview] | None, patience: float) -> Answer:
        """Send a request, and a payload of the announced length, and return the header of the answer.

        From here on until `finish` the connection is out of step.

        :raises BrokenError: if it breaks.
        :raises StalledError: if nothing moves for `patience` seconds.
        :raises ProtocolError: if this is no answer.
        """
        self._in_step = False
        self._asking = True
        if payload is None:
            self._send(request.frame)
            return Answer.parse(await self.read(HEADER.size, patience))
        async with aclosing(payload):
            complete = await self._send_all(request.frame, payload, patience)
        answer = Answer.parse(await self.read(HEADER.size, patience))
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
        """Say that the answer was read to its end and leaves the server ready for the next request."""
        self._asking = False
        self._in_step = not self._held
        self.used = True
        self._last_used = self._loop.time()

    def abort(self) -> None:
        """Break the connection off."""
        self._in_step = False
        self._transport.abort()

    async def aclose(self) -> None:
        """Take leave where there is anybody to take leave of."""
        if self.usable:
            self._send(goodbye().frame)
            self._transport.close()
        else:
            self.abort()
        await asyncio.shield(self._ended)

    async def _send_all(self, head: bytes, payload: AsyncGenerator[memoryview], patience: float) -> bool:
        """Send the payload behind `head`; return whether all of it was sent before an answer came."""
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
                    await asyncio.sleep(0)  # the loop must look for an answer that comes early
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
                    raise StalledError(f"nothing moved for {patience:g} seconds")
                self._waiter = self._loop.create_future()
                await self._waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and let it hold on to nothing that the caller may change."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        """Keep what was asked for."""
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
        """Wake whoever waits."""
        self._lost = BrokenError(f"the connection broke: {exc}" if exc else "the server closed the connection")
        self._lost.__cause__ = exc
        self._ended.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        """Wait with the next piece: the last one is not all out."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on with the next piece."""
        self._full = False
        self._wake()
