"""Reads by descriptor: from the page cache on the loop, from the disk in a worker thread.

A task whose reads are all served from memory never suspends. `LoopBudget` measures this work, and says when the task
has to let the loop run other tasks.
"""

from __future__ import annotations

import asyncio
import errno
import os
from time import monotonic, time_ns
from typing import NamedTuple, Self
from weakref import finalize

from aiofs.localio.devices import Device, known_device
from aiofs.threads import hop

NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
BUDGET = 0.000_25
"""Seconds of inline work in one iteration of a loop, for all its tasks together."""
INLINE = 65_536
"""Bytes that one inline read may bring at most."""
SETTLED = 20_000_000
"""Nanoseconds after which a file's times would show another change."""


class LoopBudget:
    """Limits how long the tasks of one loop work inline before the loop runs other tasks.

    Each inline operation calls `spend`. If `over` is true then, the task that has just finished the operation must run
    `await asyncio.sleep(0)`.
    """

    __slots__ = ("_until", "over", "scratch")

    def __init__(self) -> None:
        self.over: bool = False
        self.scratch: memoryview[int] = memoryview(bytearray(INLINE))
        self._until = 0.0

    def spend(self) -> None:
        """Note that the running loop works inline now."""
        now = monotonic()
        if not self._until:
            self._until = now + BUDGET
        elif now > self._until:  # perhaps in a later iteration; one pause too many does no harm
            self.end()

    async def spend_and_pause(self) -> None:
        """Note that the running loop works inline now, and let it run other tasks if the budget is used up."""
        self.spend()
        if self.over:
            await asyncio.sleep(0)

    def end(self) -> None:
        """Use up the budget of this iteration."""
        if not self.over:
            self.over = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._until = 0.0
        self.over = False


_budgets: dict[int, LoopBudget] = {}
"""By the identity of a loop that is alive."""


def budget_of(loop: asyncio.AbstractEventLoop) -> LoopBudget:
    """Return the one budget of `loop`."""
    budget = _budgets.get(id(loop))
    if budget is None:
        budget = _budgets[id(loop)] = LoopBudget()
        finalize(loop, _budgets.pop, id(loop)).atexit = False
    return budget


class FilePrefix(NamedTuple):
    """The beginning of a file, read by the same thread that opened it.

    It is served on the loop as long as the file stays as it was when this was read.
    """

    data: bytes
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, descriptor: int, status: os.stat_result) -> Self | None:
        """Read the beginning of a file, in a thread.

        None if the file has just changed: its times might not show the next change.
        """
        modified, changed = status.st_mtime_ns, status.st_ctime_ns
        if time_ns() - max(modified, changed) < SETTLED:
            return None
        return cls(os.pread(descriptor, INLINE, 0), status.st_size, modified, changed)

    @property
    def whole(self) -> bool:
        """Whether this is all of the file."""
        return len(self.data) < INLINE

    def holds(self, descriptor: int) -> bool:
        """Whether the file is still as it was."""
        now = os.fstat(descriptor)
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (self.size, self.modified, self.changed)


async def pread(fd: int, size: int, offset: int) -> bytes:
    """Return up to `size` bytes of `fd` from `offset`; b"" only at the end of the file.

    If it is cancelled, it raises when no thread reads any more, so that the descriptor may be closed then.
    """
    if NOWAIT and 0 < size <= INLINE:
        budget = budget_of(asyncio.get_running_loop())
        data = pread_now(fd, size, offset, budget.scratch)
        if data is not None:
            await budget.spend_and_pause()
            return data
    return await hop(os.pread, fd, size, offset)


def pread_now(fd: int, size: int, offset: int, scratch: memoryview) -> bytes | None:
    """Return up to `size` bytes without waiting; b"" only at the end of the file; None if a thread has to read them."""
    try:
        count = os.preadv(fd, [scratch[:size]], offset, NOWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP and _in_memory(fd):
            return os.pread(fd, size, offset)
        return None  # the thread meets the same error, and reports it
    return bytes(scratch[:count])


def rest_now(fd: int, device: Device, scratch: memoryview) -> bytes | None:
    """Return all bytes from the position on if they are few and in the page cache; else None, and nothing has moved."""
    if not device.nowait:
        return None
    count = 0
    try:
        while count < len(scratch):
            more = os.preadv(fd, [scratch[count:] if count else scratch], -1, NOWAIT)
            if not more:  # only this is the end: a short read may have met a page that is not at hand
                return bytes(scratch[:count])
            count += more
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            device.nowait = False
    os.lseek(fd, -count, os.SEEK_CUR)
    return None


def _in_memory(fd: int) -> bool:
    device = known_device(os.fstat(fd).st_dev)
    return device is not None and device.memory
