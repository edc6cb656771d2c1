"""Lifetimes: calls that are under way, objects that belong to one event loop, and clean-up despite cancellation."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
    from types import TracebackType


def no_loop() -> RuntimeError:
    """Return the error for a call where no event loop of asyncio runs: on Trio, or without any loop."""
    return RuntimeError(
        "aiofs needs a running event loop of asyncio, and here is none. On Trio call a blocking verb in a thread: "
        "await trio.to_thread.run_sync(fs.blocking.read_bytes, path). Code without a loop calls fs.blocking and "
        "aiofs.blocking.open directly"
    )


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop; raise the `RuntimeError` of `no_loop` if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise no_loop() from None


class Calls:
    """The calls of a file system that have begun and not ended. Closing it waits for them."""

    def __init__(self) -> None:
        self.under_way: set[Call] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def __reduce__(self) -> tuple[type[Calls], tuple[()]]:
        """Pickle as none, as a call goes on only in the process where it began."""
        return Calls, ()

    def leave_out_mine(self) -> None:
        """Do not wait for the calls of this task: it closes the file system in the middle of one of them."""
        task = Call(self).task
        self.under_way -= {call for call in self._now() if call.task is task}

    async def ended(self) -> None:
        """Wait until no call is under way in this loop."""
        loop = asyncio.get_running_loop()
        while any(call.belongs_to(loop) for call in self._now()):
            waiting = loop.create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

    def _now(self) -> set[Call]:
        """Return the calls that are under way now: those of other threads begin and end meanwhile."""
        return self.under_way.copy()

    def end(self, call: Call) -> None:
        """Take a call out, and wake those who wait for that."""
        self.under_way.discard(call)
        if self._waiting:
            for waiting in list(self._waiting):
                if call.belongs_to(waiting.get_loop()) and not waiting.done():
                    waiting.set_result(None)


class Call:
    """One call: it is under way inside of `with Call(calls):`."""

    __slots__ = ("_calls", "task")

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        try:
            self.task: asyncio.Task[object] | None = asyncio.current_task()
        except RuntimeError:
            raise no_loop() from None

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether its task runs in that loop."""
        return self.task is not None and self.task.get_loop() is loop

    def pause(self) -> None:
        """Count as ended until `go_on`: meanwhile the call asks nothing of the store."""
        self._calls.end(self)

    def go_on(self) -> None:
        """Be under way again."""
        self._calls.under_way.add(self)

    def __enter__(self) -> Self:
        self._calls.under_way.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.end(self)


T = TypeVar("T")

_known_loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_known_loops.clear)  # the parent's loops look as if they ran here, and never do


def known_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop, in which `run_in` can run work from now on."""
    loop = running_loop()
    _known_loops.add(loop)
    return loop


_held_up: set[asyncio.AbstractEventLoop] = set()


@contextmanager
def held_up() -> Iterator[None]:
    """Mark the running loop of this thread, if it has one, as waiting for a blocking call, as in a notebook's cell."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 -- the documented one raises if there is none, which takes longer
    if loop is None:
        yield
        return
    _held_up.add(loop)
    try:
        yield
    finally:
        _held_up.discard(loop)


async def run_in(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run `work` in a loop that `known_loop` returned, also from another thread. Do nothing if the loop has ended.

    A loop that waits for a blocking call, which may be this one, gets the work for later: nobody waits for it here.
    """
    if loop is asyncio.get_running_loop():
        await work()
    elif loop in _known_loops and loop.is_running():
        there = asyncio.run_coroutine_threadsafe(work(), loop)
        if loop in _held_up:
            return
        try:
            await asyncio.wrap_future(there)
        except asyncio.CancelledError:
            if not there.cancelled():
                raise  # this task was cancelled; otherwise the other loop ends, and its tasks with it


class LoopOwned(Generic[T]):
    """An object of the running loop, which is closed once: by `aclose`, or when the loop ends."""

    def __init__(self, thing: T, close: Callable[[T], Awaitable[object]]) -> None:
        self.thing: T = thing
        self._close = close
        self._closing = asyncio.Lock()
        self._closed = False
        self._generator = self._close_with_loop()
        _step(self._generator.__anext__())

    async def aclose(self) -> None:
        """Close it. Harmless when done twice."""
        async with self._closing:
            if not self._closed:
                self._closed = True
                await self._close(self.thing)
        if not self._generator.ag_running:  # type: ignore[attr-defined]  # it is a generator, not only an iterator
            _step(self._generator.aclose())

    async def _close_with_loop(self) -> AsyncGenerator[None]:
        """Close the object when the loop ends: a loop closes its asynchronous generators before itself."""
        try:
            yield
        finally:
            await self.aclose()


class PerLoop(Generic[T]):
    """One object for each event loop, which is closed with its loop or before."""

    def __init__(self, owner: object, make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._owner = owner
        self._make = make
        self._close = close
        self._owned: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopOwned[T]] = WeakKeyDictionary()
        self._closed = False

    def get(self) -> T:
        """Return the object of the running loop; it is made at the first call.

        :raises ValueError: after `aclose`.
        """
        self.check_open()
        owned = self._owned.get(asyncio.get_running_loop())
        if owned is None:
            owned = self._owned[known_loop()] = LoopOwned(self._make(), self._close)
        return owned.thing

    def check_open(self, cause: BaseException | None = None) -> None:
        """Raise `ValueError` after `aclose`; `cause` is an error that may come from the closing."""
        if self._closed:
            raise ValueError(f"I/O operation on closed file system {self._owner}") from cause

    async def aclose(self) -> None:
        """Close all objects, except those that a fork copied from its parent. Harmless when done twice."""
        self._closed = True
        references = self._owned.keyrefs()  # a copy, as other threads may add theirs
        for loop in [loop for reference in references if (loop := reference()) is not None and loop in _known_loops]:
            owned = self._owned.pop(loop, None)
            if owned is not None:
                await run_in(loop, owned.aclose)


def _step(work: Awaitable[object]) -> None:
    """Run work that never waits."""
    with suppress(StopIteration):
        next(work.__await__())


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, even if the caller is cancelled meanwhile, and return what it returns.

    A cancellation is raised when the work has ended; if the work failed too, its error is the cause.
    """
    begun = False

    async def begin() -> T:
        nonlocal begun
        begun = True
        return await work

    cancelled: asyncio.CancelledError | None = None
    while True:
        task = asyncio.ensure_future(begin())
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
        if begun:
            break  # else the loop ends, and cancelled the task before it began: run the work in a new one
    if cancelled is None:
        return task.result()
    if task.cancelled():
        raise cancelled
    raise cancelled from task.exception()
