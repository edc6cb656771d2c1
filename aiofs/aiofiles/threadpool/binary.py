"""Handles of bytes. Their lines are read beside the stream, many at a time."""

from __future__ import annotations

import asyncio
import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from aiofiles.threadpool.binary import AsyncIndirectBufferedIOBase, AsyncIndirectBufferedReader, AsyncIndirectFileIO

from aiofs.aiofiles.base import AiofilesBufferedIOBase, AiofilesBufferedReader, AiofilesFileIO
from aiofs.aiofiles.handle import LINES, SMALL, LocalHandle
from aiofs.localio.reading import INLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "AsyncBufferedIOBase",
    "AsyncBufferedReader",
    "AsyncFileIO",
    "AsyncIndirectBufferedIOBase",
    "AsyncIndirectBufferedReader",
    "AsyncIndirectFileIO",
]

FIRST_PIECE, LARGEST_PIECE = 2048, 65_536
"""Bytes that are read at once for lines, without moving the stream. They double while only lines are read."""
QUICK_WHENCES = (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)
"""From where a seek is counted without asking the disk."""


class AsyncBufferedIOBase(LocalHandle[bytes], AiofilesBufferedIOBase):
    """A file of bytes: what `open` gives in modes that only write, or what `wrap` makes of any `io.BufferedIOBase`."""

    _lines: Iterator[bytes]
    _lines_end = 0
    """The position after the last of the lines in memory."""
    _piece = FIRST_PIECE

    def __init__(
        self, file: Any, loop: asyncio.AbstractEventLoop | None = None, executor: Executor | None = None
    ) -> None:
        super().__init__(file, loop, executor)

    async def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, by default all that are left; b"" at the end."""
        if not self._reads or type(size) is not int or not -1 <= size <= INLINE:
            if self._unbuffered is not None and size == -1:
                whole = self._unbuffered.read_bytes()
                if whole is not None:
                    return whole
            return await self._read_slowly(size)
        self._reads -= 1
        data: bytes = self._known_stream.read(size)
        if self._budget.over:
            if self._starved():
                return await self._read_on(data, size)
            await asyncio.sleep(0)
        return data

    async def _read_slowly(self, size: int | None) -> bytes:
        if self._local is None:
            return await self._call(self._stream.read, size)
        await self._acquire()
        try:
            data = None
            if self._may_read_now() and (size is None or size <= INLINE):
                data = self._stream.read(size)
                if not self._starved():
                    return data  # type: ignore[no-any-return]
            return await self._rest(self._stream.read, data, size)
        finally:
            self._release()

    async def _read_on(self, data: bytes | None, size: int) -> bytes:
        self._take()
        try:
            return await self._rest(self._stream.read, data, size)
        finally:
            self._release()

    async def _rest(self, read: Callable[[int | None], bytes], data: bytes | None, size: int | None) -> bytes:
        """Return `data`, which the loop had at hand, and the rest of `size` bytes, which a thread reads."""
        if data and size is not None and size >= 0:
            size -= len(data)
        more = await self._drained(read, size)
        return data + more if data else more

    async def read1(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes with at most one read of the file below."""
        return await self._read_once(self._stream.read1, size)

    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`; return how many bytes there were for it."""
        if self._local is None:
            return await self._call(self._stream.readinto, buffer)
        await self._acquire()
        try:
            count = 0
            if self._may_read_now() and _size(buffer) <= INLINE:
                count = self._stream.readinto(buffer) or 0
                if not self._starved():
                    return count
            rest = memoryview(buffer).cast("B")[count:] if count else buffer
            more: int = await self._drained(self._stream.readinto, rest)
            return count + more
        finally:
            self._release()

    async def _read_once(self, read: Callable[[int], bytes], size: int) -> bytes:
        """Call a method that reads at most once below: on the loop, and again in a thread if that had to wait."""
        if self._local is None:
            return await self._call(read, size)
        await self._acquire()
        try:
            if self._may_read_now() and size <= INLINE:
                data = read(size)
                if not self._starved():
                    return data
            return await self._drained(read, size)
        finally:
            self._release()

    # Lines

    async def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line with its end, or `size` bytes of it; b"" at the end of the file."""
        if size == -1:
            for line in self._lines:
                return line
        return await self._next_line(size)

    async def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Return the lines that are left, or the next lines of together about `hint` bytes."""
        return await super().readlines(hint)

    async def __anext__(self) -> bytes:
        for line in self._lines:
            return line
        if line := await self._next_line(-1):
            return line
        raise StopAsyncIteration

    async def _next_line(self, size: int | None) -> bytes:
        """Return a line where none is in memory."""
        if self._local is None:
            return await self._call(self._stream.readline, size)
        if size == -1:
            if self._budget.over:
                await asyncio.sleep(0)
                for line in self._lines:  # another task has brought more meanwhile
                    return line
            first = self._read_beside()
            if first is not None:
                return first
        await self._acquire()
        try:
            return await self._bring_line(size)
        finally:
            self._release()

    async def _bring_line(self, size: int | None) -> bytes:
        """Return a line. The caller has acquired the file."""
        begun: bytes = b""
        if self._may_read_now() and size is not None:
            if size == -1 and (first := await self._fetch_beside()) is not None:
                return first
            begun = self._stream.readline(size)
            if not self._starved():
                return begun
            if size >= 0:
                size -= len(begun)
        more: bytes = await self._drained(self._stream.readline, size)
        return begun + more

    def _read_beside(self) -> bytes | None:
        """Read some lines beside the stream, and return the first; None where no whole line is at hand."""
        local: Any = self._local
        if self._busy or self._appends or not self._may_read_now():
            return None
        self._budget.spend()
        start = self._lines_end if self._lines_ahead else self._stream.tell()
        return self._whole_lines(local.look(self._piece, start), start)

    async def _fetch_beside(self) -> bytes | None:
        """Read many lines in a thread, and return the first; None where no line ends within what was read."""
        local: Any = self._local
        if local.device.answers_at_once or self._appends:
            return None
        start = self._stream.tell()
        return self._whole_lines(await self._in_thread(local.fetch, LARGEST_PIECE, start), start)

    def _whole_lines(self, piece: bytes | None, start: int) -> bytes | None:
        """Keep the whole lines of `piece`, which begins at `start`, for the next calls; return the first."""
        end = piece.rfind(b"\n") + 1 if piece else 0
        if not piece or not end:
            return None
        lines = BytesIO(piece).readlines(end)
        self._piece = min(self._piece * 2, LARGEST_PIECE)
        if len(lines) > LINES:  # short lines: fewer at a time
            self._piece = max(end * LINES // len(lines), FIRST_PIECE)
            del lines[LINES:]
            end = sum(map(len, lines))
        self._lines_end = start + end
        self._keep_lines(lines)
        return next(self._lines)

    def _move_stream(self, left: int) -> None:
        """Move the stream after the lines that were given out, its buffer in the state that readline() leaves."""
        local: Any = self._local
        stream = self._stream
        position = self._lines_end - left
        self._piece = FIRST_PIECE
        filled = local.tell()
        beyond = max(position - filled, 0)
        if beyond % local.buffered:
            stream.seek(filled + beyond // local.buffered * local.buffered)
            stream.peek(1)
            self._starved()
        stream.seek(position)

    # Writing and positions

    async def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`; return its size. An error may come later: from the next write, `flush` or `close`."""
        if self._writes and type(data) is bytes and len(data) <= SMALL:
            self._writes -= 1
            return self._write(data)  # type: ignore[no-any-return]
        return await self._write_slowly(data, _size(data))

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to `offset` from the start, from here (1) or from the end (2); return the position."""
        self._sync_if_free()
        if self._reads and whence in QUICK_WHENCES:
            self._reads -= 1
            return self._known_stream.seek(offset, whence)  # type: ignore[no-any-return]
        if self._local is None:
            return await self._call(self._stream.seek, offset, whence)
        return await self._alone(self._stream.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position."""
        self._sync_if_free()
        if self._may_tell_now():
            return self._known_stream.tell()  # type: ignore[no-any-return]
        return await self._alone(self._stream.tell)

    def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return self._stream.readable()  # type: ignore[no-any-return]

    def detach(self) -> Any:
        """Return the file below the buffer. The handle cannot be used any more."""
        return self._file.detach()

    @property
    def raw(self) -> Any:
        """The file below the buffer."""
        return self._file.raw


class AsyncBufferedReader(AsyncBufferedIOBase, AiofilesBufferedReader):
    """A file of bytes that is read, and perhaps written, too."""

    async def peek(self, size: int = 0, /) -> bytes:
        """Return the next bytes, at least one if there is one, without moving the position."""
        return await self._read_once(self._stream.peek, size)


class AsyncFileIO(LocalHandle[bytes], AiofilesFileIO):
    """A file without a buffer: each call is one of the operating system's, in a thread."""

    def __init__(
        self, file: Any, loop: asyncio.AbstractEventLoop | None = None, executor: Executor | None = None
    ) -> None:
        super().__init__(file, loop, executor)

    async def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, as many as one call brings, by default all that are left; b"" at the end."""
        return await self._call(self._stream.read, size)

    async def readall(self) -> bytes:
        """Return all bytes that are left."""
        return await self._call(self._stream.readall)

    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as one call does; return the number of bytes."""
        return await self._call(self._stream.readinto, buffer)

    async def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line with its end, or `size` bytes of it; b"" at the end of the file."""
        return await self._call(self._stream.readline, size)

    async def write(self, data: ReadableBuffer, /) -> int:
        """Write `data` as far as one call does; return the number of bytes."""
        return await self._call(self._stream.write, data)

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to `offset` from the start, from here (1) or from the end (2); return the position."""
        return await self._call(self._stream.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position."""
        return await self._call(self._stream.tell)

    def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return self._stream.readable()  # type: ignore[no-any-return]


def _size(data: Any) -> int:
    try:
        return memoryview(data).nbytes
    except TypeError:
        return 0  # the stream raises the error that fits
