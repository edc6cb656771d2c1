"""Lifetimes: calls under way, what belongs to an event loop, and clean-up that a cancellation cannot cut short."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from types import TracebackType


class Calls:
    """Those that have begun and not ended."""

    def __init__(self) -> None:
        self.under_way: set[Call] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def __reduce__(self) -> tuple[type[Calls], tuple[()]]:
        """Pickle as none: what is under way goes on where it is."""
        return Calls, ()

    def leave_out(self, task: asyncio.Task[object] | None) -> None:
        """Take out those of a task that closes what it is itself in the middle of."""
        self.under_way -= {call for call in self._now() if call.task is task}

    async def ended(self) -> None:
        """Return when there are none in this loop."""
        loop = asyncio.get_running_loop()
        while any(call.belongs_to(loop) for call in self._now()):
            waiting = loop.create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

    def _now(self) -> set[Call]:
        """Return those of this moment: other threads have theirs begin and end meanwhile."""
        return self.under_way.copy()

    def end(self, call: Call) -> None:
        """Take a call out, and tell those who wait for that."""
        self.under_way.discard(call)
        if self._waiting:
            for waiting in list(self._waiting):
                if call.belongs_to(waiting.get_loop()) and not waiting.done():
                    waiting.set_result(None)


class Call:
    """`with Call(calls):` is one of them."""

    __slots__ = ("_calls", "task")

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.task: asyncio.Task[object] | None = asyncio.current_task()

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is under way there."""
        return self.task is not None and self.task.get_loop() is loop

    def pause(self) -> None:
        """Be under way no more until `go_on`, while nothing is asked of the store."""
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

_homes: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_homes.clear)  # those of the parent look as if they ran on, and never do


def home() -> asyncio.AbstractEventLoop:
    """Return the running loop, which `at_home` may be asked for."""
    loop = asyncio.get_running_loop()
    _homes.add(loop)
    return loop


async def at_home(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Do `work` in its `home`, if need be in that one's thread; nothing if it has ended or is another process's."""
    if loop is asyncio.get_running_loop():
        await work()
    elif loop in _homes and loop.is_running():
        there = asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            await asyncio.wrap_future(there)
        except asyncio.CancelledError:
            if not there.cancelled():
                raise  # it was us; otherwise that loop ends, and its tasks with it


class Held(Generic[T]):
    """A thing of the running loop, which is closed once: by its owner, or at the end of the loop."""

    def __init__(self, thing: T, close: Callable[[T], Awaitable[object]]) -> None:
        self.thing: T = thing
        self._close = close
        self._closing = asyncio.Lock()
        self._closed = False
        self._end = self._at_the_end()
        _step(self._end.__anext__())

    async def aclose(self) -> None:
        """Close it. Harmless when done twice."""
        async with self._closing:
            if not self._closed:
                self._closed = True
                await self._close(self.thing)
        if not self._end.ag_running:  # type: ignore[attr-defined]  # it is a generator, not only an iterator
            _step(self._end.aclose())

    async def _at_the_end(self) -> AsyncGenerator[None]:
        """Close it too: a loop ends its asynchronous generators before it closes."""
        try:
            yield
        finally:
            await self.aclose()


class PerLoop(Generic[T]):
    """One thing for each event loop, closed with it or before."""

    def __init__(self, owner: object, make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._owner = owner
        self._make = make
        self._close = close
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, Held[T]] = WeakKeyDictionary()
        self._closed = False

    def get(self) -> T:
        """Return the one of the running loop, made if need be.

        :raises ValueError: once they are closed.
        """
        self.check_open()
        held = self._held.get(asyncio.get_running_loop())
        if held is None:
            held = self._held[home()] = Held(self._make(), self._close)
        return held.thing

    def check_open(self, cause: BaseException | None = None) -> None:
        """Raise `ValueError` once they are closed; that may be why something else failed."""
        if self._closed:
            raise ValueError(f"I/O operation on closed file system {self._owner}") from cause

    async def aclose(self) -> None:
        """Close all of them. Harmless when done twice; those that came with a fork stay, as they are the parent's."""
        self._closed = True
        references = self._held.keyrefs()  # at once, as other threads may add theirs
        for loop in [loop for reference in references if (loop := reference()) is not None and loop in _homes]:
            held = self._held.pop(loop, None)
            if held is not None:
                await at_home(loop, held.aclose)


def _step(work: Awaitable[object]) -> None:
    """Run what waits for nothing."""
    with suppress(StopIteration):
        next(work.__await__())


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when the caller is cancelled meanwhile.

    A cancellation that arrives is kept and raised once the work has ended; an error of the work then is its cause.
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
            break  # a loop that ends cancels all its tasks, those too that it was just given
    if cancelled is None:
        return task.result()
    if task.cancelled():
        raise cancelled
    raise cancelled from task.exception()
