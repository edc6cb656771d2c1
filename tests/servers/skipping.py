"""An event loop that skips the time in which nothing happens: whoever waits for a timeout has it at once.

For tests whose other ends run in the same loop, so that nothing more can come when all sockets are quiet.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

GRACE = 0.0005  # seconds for which all must be quiet


class _Selector(selectors.DefaultSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout is None:
            return ready or super().select(None)
        if timeout > 0:
            ready = super().select(min(timeout, GRACE))
            if not ready:
                self.skipped += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._own = _Selector()
        super().__init__(self._own)

    def time(self) -> float:
        """The time, with all that was skipped."""
        return super().time() + self._own.skipped


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` in such a loop."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(work)
