"""A time limit for many short waits with one timer: `asyncio.timeout` would add a sixth to what a GET costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class Deadline:
    """`with deadline:` ends what a task of its loop awaits in it after `seconds`, or some more, by a `TimeoutError`.

    A cancellation that what it awaits swallowed is raised at its end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[asyncio.Task[object], tuple[float, int]] = {}
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 -- whoever awaits is a task
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)
        self._ends[task] = loop.time() + self._seconds, task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- the one that entered
        _, cancelled = self._ends.pop(task)
        if task in self._overdue:
            self._overdue.discard(task)
            if task.uncancel() <= cancelled and kind is asyncio.CancelledError:
                raise TimeoutError from error
        if kind is None and task.cancelling() > cancelled:
            raise asyncio.CancelledError

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the tasks whose time is up, and look again when that of the next one is."""
        now = loop.time()
        for task, (end, _) in self._ends.items():
            if end <= now and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        ends = [end for task, (end, _) in self._ends.items() if task not in self._overdue]
        self._timer = loop.call_at(min(ends), self._look, loop) if ends else None
