"""The calls that are under way on a file system, so that closing it waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class Calls:
    """Those that have begun and not ended: `with calls.one():` is one of them."""

    def __init__(self) -> None:
        self._under_way: set[Call] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def __reduce__(self) -> tuple[type[Calls], tuple[()]]:
        """Pickle as none: what is under way goes on where it is."""
        return Calls, ()

    def one(self) -> Call:
        """Return a call, which begins with the block that it is given to."""
        return Call(self)

    def begin(self, call: Call) -> None:
        """Take note of a call."""
        self._under_way.add(call)

    def end(self, call: Call) -> None:
        """Forget a call, and tell those who wait for the end of all."""
        self._under_way.discard(call)
        for waiting in list(self._waiting):
            if waiting.get_loop() is call.loop and not waiting.done():
                waiting.set_result(None)

    async def ended(self) -> None:
        """Return when no other task of this loop is in a call."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        while any(call.loop is loop and call.task is not task for call in self._under_way):
            waiting = loop.create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)


class Call:
    """One call."""

    __slots__ = ("_calls", "loop", "task")

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def __enter__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.task: asyncio.Task[object] | None = asyncio.current_task(self.loop)
        self._calls.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.end(self)
