"""Reads by descriptor: from the page cache on the loop, from the disk in a worker thread."""

from __future__ import annotations

import asyncio
import errno
import os

from aiofs.localio.devices import Device, known_device
from aiofs.localio.turns import INLINE, turn_of
from aiofs.threads import hop

NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


async def pread(fd: int, size: int, offset: int) -> bytes:
    """Return up to `size` bytes of `fd` from `offset`; b"" only at the end of the file.

    Cancelled, it raises when nothing is in flight any more: the descriptor may be closed then.
    """
    if NOWAIT and 0 < size <= INLINE:
        turn = turn_of(asyncio.get_running_loop())
        data = pread_now(fd, size, offset, turn.scratch)
        if data is not None:
            await turn.take()
            return data
    return await hop(os.pread, fd, size, offset)


def pread_now(fd: int, size: int, offset: int, scratch: memoryview) -> bytes | None:
    """Return up to `size` bytes without waiting; b"" only at the end of the file; None where only a thread can tell."""
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
    """Return all that is left from the position on, if it is little and in the page cache; else None, nothing moved."""
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
