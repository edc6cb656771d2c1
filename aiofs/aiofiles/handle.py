"""A handle over one of the engine's files: served on the loop where that cannot wait, in a thread otherwise.

Work on the loop needs no queue: nothing else can happen meanwhile. Work in a thread is done by one task at a time, in
order. The next task waits until the thread has ended, even if the task that started it was cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakMethod

from aiofs.aiofiles.base import AsyncBase
from aiofs.lifetimes import finish
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.reading import INLINE
from aiofs.threads import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import Self

    from aiofs.localio.unbuffered import UnbufferedFile

Line = TypeVar("Line", str, bytes)
Result = TypeVar("Result")
P = ParamSpec("P")

ALLOWANCE = 256
"""Operations on the loop between two looks at the clock."""
GATHERING_TIME = 0.05
"""Seconds for which small writes gather at most, if the loop is free by then."""
SMALL = 1024
"""Bytes or characters up to which a write needs no look at the clock."""
LINES = 1500
"""Lines that are given out between two looks at the clock."""
NO_LINES: Iterator[Any] = iter(())


class LocalHandle(AsyncBase[Line]):
    """The superclass of the handles of bytes and of text.

    It begins with a file that has no buffers yet (`over`), or with any synchronous file. If one of the engine's files
    is at the bottom, it works on the loop; else it works in threads, as `AsyncBase` does.

    It reads many lines at a time, and keeps in `_lines` those that it has not returned yet. Meanwhile the stream stays
    where the first of them began. Before another operation, `_sync_stream` moves it after the lines that were returned.
    """

    _unbuffered: UnbufferedFile | None
    """The file as it was opened, as long as nothing was asked that needs buffers."""
    _known_stream: Any
    """The stream, for code that runs only after it was made. Other code reads `_stream`, which makes it first."""
    _known_local: LocalFile | None
    """The engine's file, for the same."""
    # The next ones are set for each handle, not for the class: an attribute that both have is slow from Python 3.12 on
    _reads: int
    """Reads that may be done on the loop before the next look at the clock: none while anything is in the way."""
    _writes: int
    """The same for writes. It is 0 after a flush, so the next write calls `_write_slowly`, which sets `_dirty`."""
    _lines: Iterator[Line]
    """Lines in memory that were not given out yet."""
    _dirty: bool
    """Whether something was written that may not have reached the file."""
    _amid_reads = False
    """Whether written bytes may share a buffer with bytes that were read. Flushing it seeks, so a thread does it."""
    _lines_ahead = False
    """Whether lines were read ahead, and the stream was not yet moved after those that were returned."""
    _busy = False
    """Whether a task has the file."""
    _in_flight = False
    """Whether a thread works on the file."""
    _release_due = False
    """Whether the end of the thread has to release the file, because no task waits for the thread."""
    _reading = False
    _gathering = False
    _queue: deque[asyncio.Future[None]] | None = None

    def __init__(self, file: Any, loop: asyncio.AbstractEventLoop | None, executor: Executor | None) -> None:
        self._begin(file)
        super().__init__(file, loop, executor)

    @classmethod
    def over(cls, file: UnbufferedFile, loop: asyncio.AbstractEventLoop) -> Self:
        """Return a handle over a file that has no buffers yet."""
        handle = cls.__new__(cls)
        handle._start(file, loop)  # noqa: SLF001 - this is its constructor, too
        return handle

    def _start(self, file: UnbufferedFile, loop: asyncio.AbstractEventLoop) -> None:
        self._unbuffered = file
        self._ref_loop = loop
        self._executor = None
        self._stop_inline()

    def _begin(self, file: Any) -> None:
        """Work with `file`: on the loop if one of the engine's files is at the bottom, else in threads."""
        self._unbuffered = None
        self._known_stream = file
        self._known_local = None
        self._dirty = False
        self._stop_inline()
        raw: Any = getattr(getattr(file, "buffer", file), "raw", None)
        if type(raw) in {LocalFile, UpdateFile} and not raw.waits:
            self._attach(raw)

    def _make_buffers(self) -> None:
        if self._unbuffered is not None:
            self._begin(self._unbuffered.with_buffers())

    @property
    def _stream(self) -> Any:
        self._make_buffers()
        return self._known_stream

    @_stream.setter
    def _stream(self, stream: Any) -> None:
        self._known_stream = stream

    @property
    def _local(self) -> LocalFile | None:
        """The engine's file at the bottom of the stream; None if every call takes place in a thread."""
        if self._unbuffered is not None:
            self._make_buffers()
        return self._known_local

    def _attach(self, local: LocalFile) -> None:
        """Work on the loop from now on, with `local` at the bottom of the stream."""
        self._known_local = local
        self._budget = local.budget
        self._write: Any = self._known_stream.write
        self._reading = local.readable()
        self._appends = "a" in local.mode
        if isinstance(local, UpdateFile):
            self._gathering = not getattr(self._known_stream, "line_buffering", False)
            local.on_gathering = WeakMethod(self._drain_soon)
        self._allow_inline()

    def _detach(self) -> LocalFile | None:
        """Work in threads from now on. Return the engine's file, if there was one."""
        self._lines_ahead = False
        local, self._known_local = self._local, None
        self._stop_inline()
        return local

    @property
    def _file(self) -> Any:
        """The synchronous file. From now on every call takes place in a thread, and the file behaves like any other."""
        self._sync_stream()
        local = self._detach()
        if local is not None:
            local.leave_loop()
        return self._stream

    @_file.setter
    def _file(self, file: Any) -> None:
        self._detach()
        self._stream = file

    # Lines

    def _keep_lines(self, lines: list[Any]) -> None:
        """Take `lines` to be given out by the next calls."""
        self._lines_ahead = True
        self._stop_inline()
        self._lines = iter(lines)

    def _sync_stream(self) -> None:
        """Move the stream after the lines that were given out."""
        if self._lines_ahead and self._local is not None:
            self._lines_ahead = False
            left, self._lines = sum(map(len, self._lines)), NO_LINES
            self._move_stream(left)

    def _move_stream(self, left: int) -> None:
        """Move the stream after the lines that were taken, but for the last `left` bytes or characters of them."""
        raise NotImplementedError

    def _sync_if_free(self) -> None:
        """Prepare for another operation on the loop, unless a thread works on the file."""
        self._make_buffers()
        if self._lines_ahead and not self._busy:
            self._sync_stream()
            self._allow_inline()

    # Which task may work on the file

    def _allow_inline(self) -> None:
        """Let reads and writes be done on the loop, as far as the state of the file allows."""
        if not self._lines_ahead and (local := self._local) is not None:
            gathering = self._dirty and self._gathering and not (self._amid_reads or local.full)
            self._writes = ALLOWANCE if gathering else 0
            self._reads = ALLOWANCE if self._reading and not self._dirty else 0

    def _stop_inline(self) -> None:
        self._reads = self._writes = 0
        if not self._lines_ahead:
            self._lines = NO_LINES

    def _may_read_now(self) -> bool:
        """Whether the task that has the file may read on the loop."""
        return self._local is not None and self._reading and not self._dirty

    def _may_tell_now(self) -> bool:
        """Whether the position is known on the loop: nothing is written, or all of it gathers at a known place."""
        if self._local is None or self._busy:
            return False
        return not self._dirty or (self._writes > 0 and not self._appends)

    def _starved(self) -> bool:
        """Whether the last operation on the loop ran out of bytes in memory."""
        local = self._local
        if local is None or not local.starved:
            return False
        local.starved = False
        return True

    async def _acquire(self) -> None:
        """Wait until the file is free, and take it. If the loop has to run other tasks first, it does."""
        if self._local is not None and self._budget.over:
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
                    self._pass_on()
                raise
        self._take()

    def _take(self) -> None:
        """Take the file, which is free."""
        self._busy = True
        self._stop_inline()
        self._sync_stream()

    def _release(self) -> None:
        """Give the file to the next task; if a thread works on it, when that has ended."""
        if self._in_flight:
            self._release_due = True
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)  # the file stays busy, so that no other task takes it first
                return
        self._busy = False
        self._allow_inline()

    # Threads

    async def _in_thread(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call `function` in a thread, where the file may wait. The caller has acquired the file."""
        local = self._local
        if local is None:
            return await self._call(function, *args, **kwargs)
        flight = self._launch(local, partial(function, *args, **kwargs))
        return await (flight if self._executor is None else asyncio.shield(flight))

    def _launch(self, local: LocalFile, work: Callable[[], Result]) -> asyncio.Future[Result]:
        local.waits = self._in_flight = True
        if self._executor is None:
            return launch(work, ended=self._landed).future
        flight = self._loop.run_in_executor(self._executor, work)
        flight.add_done_callback(self._landed)
        return flight

    def _landed(self, _flight: object = None) -> None:
        """Note on the loop that the thread has ended."""
        self._in_flight = False
        if self._local is not None:
            self._local.waits = False
        if self._release_due:
            self._release_due = False
            if self._local is not None:
                self._local.ahead = b""
                if self._local.closed:
                    self._detach()
            self._pass_on()

    async def _drained(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call `function` in a thread, after writing what was gathered: reads, seeks and cuts have to find it."""
        local = self._local
        if not self._dirty or not isinstance(local, UpdateFile):
            return await self._in_thread(function, *args, **kwargs)
        written, self._amid_reads = local.writes, self._reading
        result = await self._in_thread(partial(_drain_and_call, local, function, *args, **kwargs))
        if local.writes != written and self._empties(function):
            self._dirty = self._amid_reads = False
        return result

    def _empties(self, function: Callable[..., object]) -> bool:
        """Whether a method of the stream that wrote to the file left nothing in the buffers."""
        return True

    async def _alone(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Acquire the file, and call a method of the stream in a thread."""
        if self._local is None:
            return await self._call(function, *args, **kwargs)
        await self._acquire()
        try:
            return await self._drained(function, *args, **kwargs)
        finally:
            self._release()

    def _drain_soon(self) -> None:
        """Have the gathered bytes written in the background after `GATHERING_TIME` seconds."""
        self._loop.call_later(GATHERING_TIME, _call_if_alive, WeakMethod(self._drain_in_background))

    def _drain_in_background(self) -> None:
        """Write what was gathered to the file while the program does something else."""
        local = self._local
        if isinstance(local, UpdateFile) and local.pending:
            if self._busy:
                self._drain_soon()
                return
            self._take()
            self._release_due = True
            self._launch(local, local.drain).add_done_callback(_ignore_error)

    # Verbs that bytes and text have in common

    async def _write_slowly(self, data: Any, size: int) -> int:
        """Write what is not small, what is written first, or what cannot be gathered."""
        if self._local is None:
            return await self._call(self._stream.write, data)
        await self._acquire()
        try:
            local = self._local
            if not isinstance(local, UpdateFile):
                return await self._in_thread(self._stream.write, data)
            if local.full:
                await self._in_thread(local.drain)
            self._dirty = True
            if size >= INLINE or self._amid_reads:
                return await self._in_thread(self._stream.write, data)
            local.budget.spend()
            written: int = self._stream.write(data)
            if not self._gathering and local.pending:
                await self._in_thread(local.drain)
            return written
        finally:
            self._release()

    async def writelines(self, lines: Iterable[Any], /) -> None:
        """Write each of `lines`, with nothing between them."""
        if self._local is None:
            return await self._call(self._stream.writelines, lines)
        await self._acquire()
        try:
            self._dirty = True
            await self._in_thread(self._stream.writelines, lines)
        finally:
            self._release()

    async def flush(self) -> None:
        """Bring what was written to the file: when this returns, all who read the file see it."""
        if self._local is None:
            return await self._call(self._stream.flush)
        if not (self._dirty or self._busy):
            self._sync_stream()
            return self._stream.flush()  # type: ignore[no-any-return]
        await self._acquire()
        try:
            await self._drained(self._stream.flush)
            self._dirty = self._amid_reads = False
        finally:
            self._release()

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut the file, or fill it with zeros, to `size` bytes, by default to the position; return the new size."""
        return await self._alone(self._stream.truncate, size)

    async def readlines(self, hint: int | None = -1, /) -> list[Line]:
        """Return the lines that are left, or the next lines of together about `hint` bytes or characters."""
        return await self._alone(self._stream.readlines, hint)

    async def close(self) -> None:
        """Write what is left, and close. Closing twice is harmless."""
        if self._close_now():
            return
        if self._local is None:
            await self._call(self._stream.close)
        elif self._busy or self._budget.over:  # a cancellation while it waits must not leave the file open
            await finish(self._close())
        else:
            await self._close()

    async def _close(self) -> None:
        await self._acquire()
        try:
            await self._in_thread(self._stream.close)
        finally:
            if not self._in_flight:  # else the thread is still closing it, and a second `close` waits for that
                self._detach()
            self._release()

    async def _exit_context(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._local is None:
            await super()._exit_context(kind, error, traceback)
        else:
            await self.close()

    def _close_now(self) -> bool:
        if self._unbuffered is not None and self._unbuffered.close_quickly():
            return True
        local = self._local
        if local is None or self._busy or not local.closes_quickly():
            return False
        if not local.closefd:
            self._sync_stream()
        self._detach()
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
        """Return the descriptor. Its position is where the stream's buffer ends."""
        if not self._busy:
            self._sync_stream()
        return self._stream.fileno()  # type: ignore[no-any-return]


def _call_if_alive(method: WeakMethod[Callable[[], None]]) -> None:
    """Call a method of a handle, unless the handle is gone."""
    alive = method()
    if alive is not None:
        alive()


def _ignore_error(drain: asyncio.Future[None]) -> None:
    """Retrieve the error, so that asyncio does not log it: the next write or `close` meets it again and raises it."""
    if not drain.cancelled():
        drain.exception()


def _drain_and_call(local: UpdateFile, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    local.drain()
    return function(*args, **kwargs)
