"""The calls that are under way on a file system, so that closing it waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
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
