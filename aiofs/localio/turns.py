"""Fairness: a task that is served from memory never suspends, so the loop is given a turn by the clock."""

from __future__ import annotations

import asyncio
from time import monotonic
from weakref import finalize

BUDGET = 0.000_25
"""Seconds of inline work in one iteration of a loop, for all its tasks together."""
INLINE = 65_536
"""Bytes that one inline read may bring at most."""


class Turn:
    """How long one loop has worked inline since it last went round.

    `over` says that whoever has just finished an operation owes the others a turn: `await asyncio.sleep(0)`.
    """

    __slots__ = ("_until", "over", "scratch")

    def __init__(self) -> None:
        self.over: bool = False
        self.scratch: memoryview[int] = memoryview(bytearray(INLINE))
        self._until = 0.0

    def spend(self) -> None:
        """Note that inline work is done now, on the running loop."""
        now = monotonic()
        if not self._until:
            self._until = now + BUDGET
        elif now > self._until:  # the loop may have gone round by itself: a turn too many does no harm
            self.end()

    async def take(self) -> None:
        """Note that inline work is done now, and give the others their turn if they are owed one."""
        self.spend()
        if self.over:
            await asyncio.sleep(0)

    def end(self) -> None:
        """Have whoever looks give the others their turn."""
        if not self.over:
            self.over = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._until = 0.0
        self.over = False


_turns: dict[int, Turn] = {}
"""By the identity of a loop that is alive."""


def turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    """Return the one account of `loop`."""
    turn = _turns.get(id(loop))
    if turn is None:
        turn = _turns[id(loop)] = Turn()
        finalize(loop, _turns.pop, id(loop)).atexit = False
    return turn
