"""FileLike: what every open file can do, and what the handles over a driver share."""

from __future__ import annotations

import asyncio
import io
import sys
import warnings
from contextlib import suppress
from functools import wraps
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self, TypeVar, cast
from weakref import WeakKeyDictionary

from aiofs.driver import check_position
from aiofs.lifetimes import known_loop, run_in
from aiofs.waiting import released

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

    from aiofs.driver import Entry, Lease, ReadStream, WriteSession
    from aiofs.partials import Checkpoint

FEW_BYTES = 8192
PIECE = 1 << 20


class FileLike:
    """A file opened in one mode, used as `async with fs.open(...) as f`.

    Leaving the block publishes what was written; leaving it by an exception, or `abort`, publishes nothing.
    A subclass with `read`, `write`, `close` and `abort` has all the rest from here, if not at full speed; what it does
    not override and cannot do raises `io.UnsupportedOperation`.
    """

    def __init__(self, name: str, mode: str = "r") -> None:
        self._name = name
        self._mode = mode
        self._closed = False

    @property
    def name(self) -> str:
        """The path it was opened by."""
        return self._name

    @property
    def mode(self) -> str:
        """The mode it was opened in, as it was spelled."""
        return self._mode

    @property
    def closed(self) -> bool:
        """Whether it was closed or aborted."""
        return self._closed

    @property
    def entry(self) -> Entry:
        """The entry of the version that is read; of a file open to write, once it is closed, of what it published.

        Asking for it makes no request. A file open with `r+` has the version that it read until it is closed.

        :raises ValueError: before a file that was opened to write is closed, and if it published nothing.
        :raises io.UnsupportedOperation: if the file is of a system of three methods.
        """
        raise io.UnsupportedOperation(
            f"file {self._name!r} is of a system of three methods, which gives no entry: stat it"
        )

    async def readable(self) -> bool:
        """Whether `read` is allowed."""
        self._guard()
        return False

    async def writable(self) -> bool:
        """Whether `write` is allowed."""
        self._guard()
        return False

    async def seekable(self) -> bool:
        """Whether `seek` is allowed."""
        self._guard()
        return False

    async def isatty(self) -> bool:
        """Return `False`: it is a file."""
        self._guard()
        return False

    async def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end; all that is left for -1 or `None`."""
        self._cannot("read", size)

    async def read1(self, size: int = -1) -> bytes:
        """Return up to `size` bytes with one request at most; b"" only at the end."""
        return await self.read(size if size >= 0 else FEW_BYTES)

    async def readall(self) -> bytes:
        """Return all that is left."""
        return await self.read(-1)

    async def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill `buffer` from the file and return how many bytes that took; fewer than it holds only at the end."""
        with memoryview(buffer).cast("B") as target:
            data = await self.read(len(target))
            target[: len(data)] = data
        return len(data)

    async def readline(self, size: int | None = -1) -> bytes:
        r"""Return the next line with its b"\n", cut at `size` bytes if that is given."""
        limit = -1 if size is None else size
        line = bytearray()
        while limit < 0 or len(line) < limit:
            byte = await self.read(1)
            line += byte
            if byte in {b"", b"\n"}:
                break
        return bytes(line)

    async def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines that are left, or whole lines until there are more bytes than `hint`."""
        lines: list[bytes] = []
        total = 0
        while line := await self.readline():
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint < total:
                break
        return lines

    def chunks(self, size: int = PIECE) -> AsyncGenerator[bytes]:
        """Yield all that is left in pieces of `size` bytes; the last one may be shorter.

        >>> async for piece in file.chunks(1 << 20):
        ...     digest.update(piece)

        :raises ValueError: for a size that is not greater than 0.
        """
        self._guard()
        check_piece(size)
        return self._chunks(size)

    async def peek(self, size: int = 0) -> bytes:
        """Return bytes ahead without moving: at least one unless at the end, perhaps more or fewer than `size`."""
        self._cannot("peek", size)

    async def write(self, data: ReadableBuffer) -> int:
        """Write `data` at the position and return how many bytes that were."""
        self._cannot("write", data)

    async def writelines(self, lines: Iterable[ReadableBuffer]) -> None:
        """Write the items one after another, adding nothing between them."""
        for line in lines:
            await self.write(line)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset` from the start (0), the position (1) or the end (2) and return the new position."""
        self._cannot("seek", offset, whence)

    async def tell(self) -> int:
        """Return the position."""
        self._cannot("tell")

    async def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long (by default up to the position), with zeros where it grows."""
        self._cannot("truncate", size)

    async def flush(self) -> None:
        """Do nothing: what is written becomes visible when the file is closed, at once and whole."""
        self._guard()

    async def checkpoint(self) -> Checkpoint:
        """Make safe all that was written, so that another process can continue after this one was killed.

        >>> async with fs.open("disk.img", "w", partial="") as file:
        ...     await file.write(data)
        ...     token = (await file.checkpoint()).token
        >>> async with fs.open("disk.img", "w", partial=token) as file:
        ...     position = await file.tell()  # at least the `length` of the last checkpoint

        The file is published when it is closed. An exception in the block keeps the last checkpoint; `abort` does not.

        :raises io.UnsupportedOperation: if the file was not opened with `partial=`.
        :raises Conflict: if the lock was lost, or another process continued the write.
        """
        self._guard()
        raise io.UnsupportedOperation(f"checkpoint: file {self._name!r} was opened without partial=: give partial=''")

    async def close(self) -> None:
        """Publish what was written, if anything was. Harmless when done twice.

        :raises OSError: if it could not be published; the old bytes then stay and the lock is free.
        """
        self._closed = True

    async def abort(self) -> None:
        """Close without publishing. Harmless when done twice."""
        self._closed = True

    async def leave(self) -> None:
        """Close without publishing, as an exception in the block does. What `checkpoint` made safe stays.

        Without a checkpoint this is the same as `abort`.
        """
        await self.abort()

    async def __aenter__(self) -> Self:
        self._guard()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<{type(self).__name__} name={self._name!r} mode={self._mode!r}{state}>"

    async def _chunks(self, size: int) -> AsyncGenerator[bytes]:
        while piece := await self.read(size):
            yield piece

    def _guard(self) -> None:
        if self._closed:
            raise ValueError(f"I/O operation on closed file {self._name!r}")

    def _cannot(self, verb: str, *_: object) -> NoReturn:
        """Say that this file, as it was opened, has no such operation."""
        self._guard()
        raise io.UnsupportedOperation(f"{verb}: file {self._name!r} is open in mode {self._mode!r}")


def whole_offset(position: int, size: int, offset: int, whence: int) -> int:
    """Return where a seek leads, given the position and the size of the file.

    :raises TypeError: for an offset that is not a whole number.
    :raises ValueError: for a position before the start, or an unknown `whence`.
    :raises OverflowError: for a position where no file has a byte.
    """
    if whence not in {io.SEEK_SET, io.SEEK_CUR, io.SEEK_END}:
        raise ValueError(f"whence is 0 (start), 1 (position) or 2 (end), not {whence!r}")
    target = index(offset) + (0, position, size)[whence]
    if target < 0:
        raise ValueError(f"seek to {target}, before the start of the file")
    check_position(target)
    return target


def whole_size(position: int, size: int | None) -> int:
    """Return what a truncation cuts at: `size`, or the position if that is `None`.

    :raises TypeError: for a size that is not a whole number.
    :raises ValueError: for one below zero.
    :raises OverflowError: for one that no file has.
    """
    target = position if size is None else index(size)
    if target < 0:
        raise ValueError(f"truncate to {target} bytes")
    check_position(target)
    return target


def check_piece(size: int) -> None:
    """Raise `ValueError` unless `size` is greater than 0, and `TypeError` if it is not a whole number."""
    if index(size) <= 0:
        raise ValueError(f"pieces of {size} bytes: give a size greater than 0")


def as_bytes(data: ReadableBuffer) -> bytes | bytearray | memoryview:
    """Return `data` as a flat run of bytes, without a copy where it is one already.

    :raises TypeError: for text, naming the way out, and for what holds no bytes.
    """
    if isinstance(data, bytes | bytearray):
        return data
    if isinstance(data, str):
        raise TypeError("this file is open for bytes, not str: encode the text, or open with mode 't' or encoding=")
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous else view.tobytes()


class TakesTurns(Protocol):
    """A handle that tasks may share."""

    turns: asyncio.Lock


Operation = TypeVar("Operation", bound="Callable[..., Coroutine[Any, Any, Any]]")
_PACKAGE = __name__.partition(".")[0]


def in_turn(operation: Operation, /) -> Operation:
    """Make the operations of a handle wait for each other, so that tasks can share it."""

    @wraps(operation)
    async def after_the_others(self: TakesTurns, /, *args: Any, **kwargs: Any) -> Any:
        async with self.turns:
            return await operation(self, *args, **kwargs)

    return cast("Operation", after_the_others)


class Handle(FileLike):
    """An open file of a driver. It owns a stream, a session, a lease, or several of them, until it is closed."""

    _stream: ReadStream | None = None
    _session: WriteSession | None = None
    _lease: Lease | None = None
    _entry: Entry | None = None
    _ended_early = False

    def __init__(self, name: str, mode: str) -> None:
        super().__init__(name, mode)
        self.turns: asyncio.Lock = asyncio.Lock()
        self.opened_at: str = caller()
        """Where the program opened it, for errors and warnings."""

    @property
    def entry(self) -> Entry:
        """The entry of the version that is read; of a file open to write, once it is closed, of what it published.

        Asking for it makes no request. A file open with `r+` has the version that it read until it is closed.

        :raises ValueError: before a file that was opened to write is closed, and if it published nothing.
        """
        if self._entry is None:
            why = "it was closed without publishing anything" if self._closed else "it is known when the file is closed"
            raise ValueError(f"file {self._name!r}, mode {self._mode!r}, has no entry: {why}")
        return self._entry

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: two would close one descriptor."""
        raise TypeError(f"open file {self._name!r} cannot be copied or pickled: send its path and its file system")

    async def end_early(self) -> None:
        """Abort, because the file system is being closed.

        Nothing is published. If the file was open for writing, a later `close` raises `ValueError`.
        """
        if self._closed:
            async with self.turns:
                return  # a close that was publishing has ended by now
        self._ended_early = self._lease is not None
        await self.leave()

    @property
    def seeks_anywhere(self) -> bool:
        """Whether no seek fails, and no write after it, wherever it leads."""
        return True

    def leave_to_parent(self) -> None:
        """In a forked child: do nothing when this is collected, as the file is the parent's."""
        self._closed = True

    def _closes(self) -> bool:
        """Close, and return whether there is something left to do for it.

        :raises ValueError: if the file system was closed before a file that was being written.
        """
        if self._ended_early:
            reason = "its file system was closed before it, so nothing was published"
            raise ValueError(f"file {self._name!r}, opened at {self.opened_at}: {reason}")
        was_open = not self._closed
        self._closed = True
        return was_open

    async def _release(self) -> None:
        """Close the stream, abort the session, release the lease: all of them, even if one fails."""
        stream, session, lease = self._stream, self._session, self._lease
        self._stream = self._session = self._lease = None
        try:
            if stream is not None:
                await stream.aclose()
        finally:
            try:
                if session is not None:
                    await session.abort()
            finally:
                if lease is not None:
                    try:
                        await lease.release()
                    finally:
                        released(lease)

    def __del__(self) -> None:
        held = [part for part in (self._stream, self._session, self._lease) if part is not None]
        if self._closed or not held:
            return
        for part in held:
            with suppress(Exception):  # no caller is left to raise it to; the store's locks run out by themselves
                part.abandon()
        outcome = "" if self._session is None and self._lease is None else "; what was written is lost"
        message = f"file {self._name!r}, opened at {self.opened_at}, was never closed{outcome}"
        warnings.warn(message, ResourceWarning, stacklevel=2, source=self)


class Dependent(Protocol):
    """What uses a file system, and must end when that is closed: an open file, a transaction."""

    async def end_early(self) -> None:
        """Abort, because the file system is being closed."""


class Dependents:
    """The dependents of a file system, each with its event loop."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[Dependent, asyncio.AbstractEventLoop] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Dependents], tuple[()]]:
        """Pickle as empty: open files do not go to another process."""
        return Dependents, ()

    def add(self, dependent: Dependent) -> None:
        """Remember a dependent for as long as it exists."""
        self._loops[dependent] = known_loop()

    async def end_early(self) -> None:
        """Abort all of them, even if one fails, and raise the first failure at the end."""
        references = self._loops.keyrefs()  # at once, as other threads may add theirs
        dependents = [dependent for reference in references if (dependent := reference()) is not None]
        ending = [run_in(self._loops[dependent], dependent.end_early) for dependent in dependents]
        for outcome in await asyncio.gather(*ending, return_exceptions=True):
            if outcome is not None:
                raise outcome


def caller() -> str:
    """Return the file and line of the nearest caller outside this package."""
    frame = sys._getframe(1)  # noqa: SLF001 -- the traceback module would read source files, on every open
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
