"""How changes come from the storage that accepted them to the others of its group: later, one after another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.fastdfs.storage import Storage


def clock() -> float:
    """The time of the running loop, which may skip some, or the system's."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


@dataclass(frozen=True)
class Change:
    """Something that one storage accepted, and another one does not know yet."""

    made: float
    target: Storage
    apply: Callable[[Storage], None]


class Outbox:
    """The changes of one storage that are on their way. A storage that is down gets them when it is back."""

    def __init__(self) -> None:
        self._changes: list[Change] = []

    def add(self, targets: list[Storage], apply: Callable[[Storage], None]) -> None:
        """Let a change go out."""
        self._changes += [Change(clock(), target, apply) for target in targets]

    def deliver(self, lag: float = 0.0) -> None:
        """Hand over what is at least `lag` seconds old."""
        now = clock()
        due = [change for change in self._changes if change.target.active and change.made + lag <= now]
        self._changes = [change for change in self._changes if change not in due]
        for change in due:
            change.apply(change.target)
