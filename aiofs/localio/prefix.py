"""The beginning of a file, read in the same visit to a thread that opened it."""

from __future__ import annotations

import os
from time import time_ns
from typing import NamedTuple, Self

from aiofs.localio.turns import INLINE

SETTLED = 20_000_000
"""Nanoseconds after which a file's times would show another change."""


class Prefix(NamedTuple):
    """Bytes that are served on the loop as long as the file stays as it was when they were read."""

    data: bytes
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, descriptor: int, status: os.stat_result) -> Self | None:
        """Read the beginning of the file, in a thread; None where it changed so lately that it might again, unseen."""
        modified, changed = status.st_mtime_ns, status.st_ctime_ns
        if time_ns() - max(modified, changed) < SETTLED:
            return None
        return cls(os.pread(descriptor, INLINE, 0), status.st_size, modified, changed)

    @property
    def whole(self) -> bool:
        """Whether there is nothing after it."""
        return len(self.data) < INLINE

    def holds(self, descriptor: int) -> bool:
        """Whether the file is still as it was."""
        now = os.fstat(descriptor)
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (self.size, self.modified, self.changed)
