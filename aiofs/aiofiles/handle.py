"""A handle over one of the engine's files: served on the loop where that waits for nobody, in a thread elsewhere.

What is done on the loop stands in no queue: nothing else can happen meanwhile. What needs a thread is done by one
task at a time, in order, and the next waits until the thread has ended, also where the task that asked was cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakMethod

from aiofs.aiofiles.unfolding import Unfolding
from aiofs.lifetimes import finish
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.turns import INLINE
from aiofs.threads import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType


T = TypeVar("T")
P = ParamSpec("P")

ALLOWANCE = 256
"""Operations on the loop between two looks at the clock."""
LINGER = 0.05
"""Seconds that small writes gather at most, where the loop comes round."""
SMALL = 1024
"""Bytes or characters that one write may have and need no look at the clock."""


class Handle(Unfolding):
    """What binary and text handles share. Without an engine's file at the bottom it is a plain `AsyncBase`."""

    # The next are set for each handle, not for the class: reading what both have is slow from Python 3.12 on
    _reads: int
    """Reads that may be done on the loop before the next look at the clock: none while anything is in the way."""
    _writes: int
    """The same for writes, after a first one that has seen to all that follows from it."""
    _dirty: bool
    """Whether something was written that may not have reached the file."""
    _amid = False
    """Whether it may lie in a buffer amid what was read: to bring that out goes to and fro in the file, in a thread."""
    _busy = False
    _flying = False
    _left = False
    _reading = False
    _gathering = False

    _queue: deque[asyncio.Future[None]] | None = None

    def _begin(self, file: Any) -> None:
        """Work with `file`: in threads, until `_settle_in` finds that it can do better."""
        super()._begin(file)
        self._dirty = False
        self._close_way()

    def _settle_in(self, local: LocalFile) -> None:
        """Work on the loop from here on, with `local` at the bottom of the stream."""
        self._local = local
        self._turn = local.turn
        self._reading = local.readable()
        self._appends = "a" in local.mode
        if isinstance(local, UpdateFile):
            self._gathering = not getattr(self._stream, "line_buffering", False)
            local.gathers = WeakMethod(self._linger)
        self._open_way()

    def _retire(self) -> LocalFile | None:
        """Leave everything to threads, and to whoever asks."""
        local, self._local = self._local, None
        self._close_way()
        return local

    @property
    def _file(self) -> Any:
        """The synchronous file. From here on every call takes place in a thread, and the file is as any other."""
        self._settle()
        local = self._retire()
        if local is not None:
            local.settle_out()
        return self._stream

    @_file.setter
    def _file(self, file: Any) -> None:
        self._retire()
        self._stream = file

    def _settle(self) -> None:
        """Bring the stream to where this handle stands."""

    # Who may work on the file now

    def _open_way(self) -> None:
        if self._local is not None:
            gathering = self._dirty and self._gathering and not (self._amid or self._local.full)
            self._writes = ALLOWANCE if gathering else 0
            self._reads = ALLOWANCE if self._reading and not self._dirty else 0

    def _close_way(self) -> None:
        self._reads = self._writes = 0

    def _may_try(self) -> bool:
        """Whether whoever has entered may read on the loop."""
        return self._local is not None and self._reading and not self._dirty

    def _may_tell(self) -> bool:
        """Whether the position is known on the loop: nothing is written, or all of it gathers at a known place."""
        if self._local is None or self._busy:
            return False
        return not self._dirty or (self._writes > 0 and not self._appends)

    def _starved(self) -> bool:
        """Whether what was just tried on the loop ran out of bytes in memory."""
        local = self._local
        if local is None or not local.starved:
            return False
        local.starved = False
        return True

    async def _enter(self) -> None:
        """Wait until the file is free, and take it. The loop gets its turn first where one is due."""
        if self._local is not None and self._turn.over:
            await asyncio.sleep(0)
        if self._busy:
            place: asyncio.Future[None] = self._loop.create_future()
            if self._queue is None:
                self._queue = deque()
            self._queue.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._next()
                raise
        self._take()

    def _take(self) -> None:
        """Take the file, which is free."""
        self._busy = True
        self._close_way()

    def _exit(self) -> None:
        """Give the file to the next; where a thread is still on it, when that ends."""
        if self._flying:
            self._left = True
        else:
            self._next()

    def _next(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)  # stays busy: nobody gets in between
                return
        self._busy = False
        self._open_way()

    # Threads

    async def _fly(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread, where the file may wait. The caller has entered."""
        local = self._local
        if local is None:
            return await self._call(function, *args, **kwargs)
        flight = self._depart(local, partial(function, *args, **kwargs))
        return await (flight if self._executor is None else asyncio.shield(flight))

    def _depart(self, local: LocalFile, work: Callable[[], T]) -> asyncio.Future[T]:
        local.waits = self._flying = True
        if self._executor is None:
            return launch(work, landed=self._land).future
        flight = self._loop.run_in_executor(self._executor, work)
        flight.add_done_callback(self._land)
        return flight

    def _land(self, _flight: object = None) -> None:
        self._flying = False
        if self._local is not None:
            self._local.waits = False
        if self._left:
            self._left = False
            if self._local is not None:
                self._local.ahead = b""
                if self._local.closed:
                    self._retire()
            self._next()

    async def _finish(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`_fly`, with what was gathered written before: whoever reads, seeks or cuts has to find it."""
        local = self._local
        if not self._dirty or not isinstance(local, UpdateFile):
            return await self._fly(function, *args, **kwargs)
        written, self._amid = local.writes, self._reading
        result = await self._fly(partial(_after_drain, local, function, *args, **kwargs))
        if local.writes != written and self._empties(function):
            self._dirty = self._amid = False
        return result

    def _empties(self, function: Callable[..., object]) -> bool:
        """Whether a method of the stream that wrote to the file left nothing in the buffers."""
        return True

    async def _alone(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the stream in a thread, while nobody else works on it."""
        if self._local is None:
            return await self._call(function, *args, **kwargs)
        await self._enter()
        try:
            return await self._finish(function, *args, **kwargs)
        finally:
            self._exit()

    def _linger(self) -> None:
        """Small writes begin to gather: see to it that they do not wait for long."""
        self._loop.call_later(LINGER, _call_alive, WeakMethod(self._drain_meanwhile))

    def _drain_meanwhile(self) -> None:
        """Bring what is gathered to the file while the program does something else."""
        local = self._local
        if isinstance(local, UpdateFile) and local.pending:
            if self._busy:
                self._linger()
                return
            self._take()
            self._left = True
            self._depart(local, local.drain).add_done_callback(_forgive)

    # What both kinds do alike

    async def _write_slowly(self, data: Any, size: int) -> int:
        """Write where there is more to see to than to take a little data into memory."""
        if self._local is None:
            return await self._call(self._stream.write, data)
        await self._enter()
        try:
            local = self._local
            if not isinstance(local, UpdateFile):
                return await self._fly(self._stream.write, data)
            if local.full:
                await self._fly(local.drain)
            self._dirty = True
            if size >= INLINE or self._amid:
                return await self._fly(self._stream.write, data)
            local.turn.spend()
            written: int = self._stream.write(data)
            if not self._gathering and local.pending:
                await self._fly(local.drain)
            return written
        finally:
            self._exit()

    async def writelines(self, lines: Iterable[Any], /) -> None:
        """Write each of `lines`, with nothing between them."""
        if self._local is None:
            return await self._call(self._stream.writelines, lines)
        await self._enter()
        try:
            self._dirty = True
            await self._fly(self._stream.writelines, lines)
        finally:
            self._exit()

    async def flush(self) -> None:
        """Bring what was written to the file: whoever else reads it sees it when this returns."""
        if self._local is None:
            return await self._call(self._stream.flush)
        if not (self._dirty or self._busy):
            self._settle()
            return self._stream.flush()  # type: ignore[no-any-return]
        await self._enter()
        try:
            await self._finish(self._stream.flush)
            self._dirty = self._amid = False
        finally:
            self._exit()

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut the file, or fill it with zeros, to `size` bytes, by default to the position; return the new size."""
        return await self._alone(self._stream.truncate, size)

    async def readlines(self, hint: int | None = -1, /) -> list[Any]:
        """Return the lines that are left, or the next ones that make up about `hint`."""
        return await self._alone(self._stream.readlines, hint)

    async def close(self) -> None:
        """Write what is left, and close. Closing twice is harmless."""
        if self._close_now():
            return
        if self._local is None:
            await self._call(self._stream.close)
        elif self._busy or self._turn.over:  # cancelled while it waits, it closes all the same
            await finish(self._close())
        else:
            await self._close()

    async def _close(self) -> None:
        await self._enter()
        try:
            await self._fly(self._stream.close)
        finally:
            if not self._flying:  # else it is still being closed, and whoever closes it again waits for that
                self._retire()
            self._exit()

    async def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._local is None:
            await super()._leave(kind, error, traceback)
        else:
            await self.close()

    def _close_now(self) -> bool:
        """Close on the loop, if that waits for nobody."""
        if self._fresh is not None and self._fresh.close_quickly():
            return True
        local = self._local
        if local is None or self._busy or not local.closes_quickly():
            return False
        if not local.closefd:
            self._settle()
        self._retire()
        self._stream.close()
        return True

    async def isatty(self) -> bool:
        """Whether the file is a terminal."""
        return await self._ask(self._stream.isatty)

    async def seekable(self) -> bool:
        """Whether the position can be chosen."""
        return await self._ask(self._stream.seekable)

    async def writable(self) -> bool:
        """Whether the file was opened for writing."""
        return await self._ask(self._stream.writable)

    async def _ask(self, question: Callable[[], bool]) -> bool:
        return await self._call(question) if self._local is None else question()

    def fileno(self) -> int:
        """Return the descriptor, at whose position the file is then as far as its buffer."""
        if not self._busy:
            self._settle()
        return self._stream.fileno()  # type: ignore[no-any-return]


def _call_alive(method: WeakMethod[Callable[[], None]]) -> None:
    """Call a method of a handle, if the program has not let go of that."""
    alive = method()
    if alive is not None:
        alive()


def _forgive(drain: asyncio.Future[None]) -> None:
    """Look at the error: the next write, or the end, meets it again and raises it."""
    if not drain.cancelled():
        drain.exception()


def _after_drain(local: UpdateFile, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    local.drain()
    return function(*args, **kwargs)
