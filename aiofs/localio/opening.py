"""Opening in a worker thread as the builtin `open` does, with this engine's files at the bottom.

Opening a FIFO waits for the other end, and a thread that waits there cannot be stopped. So a FIFO is opened without
waiting, and a task waits on the loop. Opening for reading succeeds at once: the loop reports when there is something to
read, and a thread checks now and then for a writer that has written nothing yet. Opening for writing fails until there
is a reader, and is tried again. On other systems than Linux a thread waits, as with the builtin.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import os
import select
import stat
import sys
from contextlib import suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from aiofs.localio import linux
from aiofs.localio.devices import device_of
from aiofs.localio.files import (
    READ_MODES,
    LocalFile,
    OpenArguments,
    UpdateFile,
    are_usual,
    buffers_over,
    flush_at_exit,
)
from aiofs.threads import aside, hop, hop_or_discard

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiofs.localio.reading import LoopBudget

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.1
"""Seconds between two looks for the other end of a FIFO."""
_open_unusual: Callable[..., IO[Any]] = builtins.open


def open_stream(arguments: OpenArguments, budget: LoopBudget) -> IO[Any] | Fifo:
    """Open as the builtin does, in a worker thread. A regular file gets one of this engine's files at the bottom.

    Return a FIFO whose other end is not open as a `Fifo`, for the loop to wait.
    """
    if may_wait(arguments):
        fifo = Fifo.of(arguments.file, arguments.mode) if arguments.opener is None else None
        if fifo is not None:
            return open_joined(fifo, arguments, budget) if fifo.is_joined() else fifo
        with aside():
            return _open_stream(arguments, budget)
    return _open_stream(arguments, budget)


def open_joined(fifo: Fifo, arguments: OpenArguments, budget: LoopBudget) -> IO[Any]:
    """Return the stream over a FIFO whose other end is open. The FIFO is closed if that fails."""
    return _open_stream(replace(arguments, opener=lambda _path, _flags: fifo.take()), budget)


def _open_stream(arguments: OpenArguments, budget: LoopBudget) -> IO[Any]:
    if not are_usual(arguments):
        return _open_unusual(**{name: getattr(arguments, name) for name in OpenArguments.__slots__})
    make = LocalFile if arguments.mode in READ_MODES else UpdateFile
    path = arguments.file if type(arguments.file) is int else os.fspath(arguments.file)
    raw = make(path, arguments.mode.replace("t", ""), arguments.closefd, arguments.opener)
    try:
        status = os.fstat(raw.fileno())
        regular = stat.S_ISREG(status.st_mode)
        stream = buffers_over(raw, arguments, terminal=not regular and raw.isatty())
        if regular:
            device = device_of(raw.fileno(), status.st_dev)
            raw.join_loop(device, budget, status.st_size)
            if isinstance(raw, UpdateFile):
                flush_at_exit(stream, raw)
    except BaseException:
        raw.close()
        raise
    return stream


def may_wait(arguments: OpenArguments) -> bool:
    """Whether opening may wait for something else than a disk: a FIFO, a terminal, the program's own opener."""
    if arguments.opener is not None:
        return True
    try:
        kind = os.stat(arguments.file).st_mode
    except (OSError, ValueError, TypeError):
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


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
    def of(cls, file: Any, mode: str) -> Fifo | None:
        """Open `file`, in a worker thread, if it is a FIFO and opening it may wait; else return `None`."""
        if sys.platform != "linux" or type(file) is int or "+" in mode:
            return None
        way = _WAYS.get(mode.strip("bt"))
        if way is None:
            return None
        fifo = cls(os.fspath(file), way)
        with suppress(ValueError, OSError):  # the builtin `open` raises it in its own words
            if stat.S_ISFIFO(os.stat(fifo._path).st_mode) and fifo._open():
                return fifo
        return None

    def is_joined(self) -> bool:
        """Whether the other end is open, or was since this end was opened."""
        if self._descriptor == _CLOSED:
            return False
        if self._way != os.O_RDONLY:
            return True
        looked = select.poll()
        looked.register(self._descriptor, select.POLLIN)
        return bool(looked.poll(0)) or _has_writer(self._descriptor)

    def take(self) -> int:
        """Return the descriptor, which waits like any other from now on. The caller has to close it."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        os.set_blocking(descriptor, True)
        return descriptor

    async def join(self) -> bool:
        """Wait until the other end is open; return whether this still is a FIFO. If it is cancelled, it is closed."""
        try:
            return await (self._join_writer() if self._way == os.O_RDONLY else self._join_reader())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptor, if there is one. Closing twice is harmless."""
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
        """Open it if that is possible now; return whether it is a FIFO."""
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
    """Whether a process has a FIFO open for writing, which we read and which is empty; `False` if that is unknown."""
    with suppress(OSError, AttributeError):
        reads, writes = os.pipe2(os.O_CLOEXEC)
        try:
            linux.tee(descriptor, writes)
        except BlockingIOError:  # it would wait for a writer; without one it would be at the end
            return True
        finally:
            os.close(reads)
            os.close(writes)
    return False
