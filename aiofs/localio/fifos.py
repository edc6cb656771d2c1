"""Opening a FIFO: the system lets that wait for the other end, in a thread that nobody can call back.

So it is opened without waiting, and the loop waits. For reading, that succeeds at once; the loop tells when there is
something to read, and whether there is a writer who has written nothing yet is asked now and then. For writing, it
fails until there is a reader, and is tried again. Elsewhere than on Linux a thread waits, as the builtin does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.threads import hop, hop_or_discard

if TYPE_CHECKING:
    from aiofs.localio.opening import Request

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.1
"""Seconds after which the other end is looked for again."""
_WAYS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "a": os.O_WRONLY | os.O_APPEND}
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_CLOSED = -1


class Fifo:
    """A FIFO whose other end may not be open yet."""

    def __init__(self, path: str | bytes, way: int) -> None:
        self._path = path
        self._way = way
        self._descriptor = _CLOSED

    @classmethod
    def of(cls, request: Request) -> Fifo | None:
        """Open what is asked for, in a worker, if it is a FIFO and opening it may wait; else return `None`."""
        if sys.platform != "linux" or request.opener is not None or type(request.file) is int or "+" in request.mode:
            return None
        way = _WAYS.get(request.mode.strip("bt"))
        if way is None:
            return None
        fifo = cls(os.fspath(request.file), way)
        with suppress(ValueError, OSError):  # which the builtin words in its own way
            if stat.S_ISFIFO(os.stat(fifo._path).st_mode) and fifo._open():
                return fifo
        return None

    def is_joined(self) -> bool:
        """Whether the other end is open, or was since we came."""
        if self._descriptor == _CLOSED:
            return False
        if self._way != os.O_RDONLY:
            return True
        looked = select.poll()
        looked.register(self._descriptor, select.POLLIN)
        return bool(looked.poll(0)) or _has_writer(self._descriptor)

    def take(self) -> int:
        """Return the descriptor, which waits like any other from here on, and is the caller's to close."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        os.set_blocking(descriptor, True)
        return descriptor

    async def join(self) -> bool:
        """Wait until the other end is open; return whether this still is a FIFO. Cancelled, it is closed."""
        try:
            return await (self._join_writer() if self._way == os.O_RDONLY else self._join_reader())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what is open. Harmless when done twice."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)

    async def _join_writer(self) -> bool:
        loop = asyncio.get_running_loop()
        written = asyncio.Event()
        loop.add_reader(self._descriptor, written.set)
        try:
            pause = FIRST_PAUSE
            while not (written.is_set() or await hop(self.is_joined)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await written.wait()
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            loop.remove_reader(self._descriptor)
        return True

    async def _join_reader(self) -> bool:
        pause = FIRST_PAUSE
        while self._descriptor == _CLOSED:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if not await hop_or_discard(lambda _: self.close(), self._open):
                return False
        return True

    def _open(self) -> bool:
        """Open it if that can be done now; return whether it is a FIFO."""
        try:
            descriptor = os.open(self._path, self._way | _FLAGS)
        except OSError as error:
            if error.errno == errno.ENXIO and self._way != os.O_RDONLY:
                return True  # no reader yet
            raise
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True


def _has_writer(descriptor: int) -> bool:
    """Whether somebody has a FIFO open for writing that we read and that is empty; `False` if nobody can tell."""
    with suppress(ImportError, OSError, AttributeError):
        from aiofs.localio.linux import tee  # noqa: PLC0415 -- not everywhere is there what it imports

        reads, writes = os.pipe2(os.O_CLOEXEC)
        try:
            tee(descriptor, writes)
        except BlockingIOError:  # it would wait for a writer to write; without one it would be at the end
            return True
        finally:
            os.close(reads)
            os.close(writes)
    return False
