"""Handles of bytes."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from aiofiles.threadpool.binary import (
    AsyncIndirectBufferedIOBase,
    AsyncIndirectBufferedReader,
    AsyncIndirectFileIO,
)

from aiofs.aiofiles import theirs
from aiofs.aiofiles.bytelines import ByteLines
from aiofs.aiofiles.handle import SMALL, Handle
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.turns import INLINE

if TYPE_CHECKING:
    from collections.abc import Callable
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


QUICK_WHENCES = (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)
"""From where a seek is counted without asking the disk."""


class AsyncBufferedIOBase(ByteLines, theirs.BufferedIOBase):
    """A file of bytes, as `open` gives it in the modes that only write; or any `io.BufferedIOBase` that is wrapped."""

    def __init__(
        self, file: Any, loop: asyncio.AbstractEventLoop | None = None, executor: Executor | None = None
    ) -> None:
        super().__init__(file, loop, executor)

    def _begin(self, file: Any) -> None:
        super()._begin(file)
        self._write: Any = getattr(file, "write", None)
        if type(getattr(file, "raw", None)) in {LocalFile, UpdateFile} and not file.raw.waits:
            self._settle_in(file.raw)

    async def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, by default all that are left; b"" at the end."""
        if not self._reads or type(size) is not int or not -1 <= size <= INLINE:
            if self._fresh is not None and size == -1:
                whole = self._fresh.read_bytes()
                if whole is not None:
                    return whole
            return await self._read_slowly(size)
        self._reads -= 1
        data: bytes = self._under.read(size)
        if self._turn.over:
            if self._starved():
                return await self._read_on(data, size)
            await asyncio.sleep(0)
        return data

    async def _read_slowly(self, size: int | None) -> bytes:
        if self._local is None:
            return await self._call(self._stream.read, size)
        await self._enter()
        try:
            data = None
            if self._may_try() and (size is None or size <= INLINE):
                data = self._stream.read(size)
                if not self._starved():
                    return data  # type: ignore[no-any-return]
            return await self._rest(self._stream.read, data, size)
        finally:
            self._exit()

    async def _read_on(self, data: bytes | None, size: int) -> bytes:
        self._take()
        try:
            return await self._rest(self._stream.read, data, size)
        finally:
            self._exit()

    async def _rest(self, read: Callable[[int | None], bytes], data: bytes | None, size: int | None) -> bytes:
        """Go on in a thread with what ran out of bytes on the loop."""
        if data and size is not None and size >= 0:
            size -= len(data)
        more = await self._finish(read, size)
        return data + more if data else more

    async def read1(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes with at most one read of the file below."""
        return await self._try(self._stream.read1, size)

    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`; return the number of bytes that there were for it."""
        if self._local is None:
            return await self._call(self._stream.readinto, buffer)
        await self._enter()
        try:
            count = 0
            if self._may_try() and _size(buffer) <= INLINE:
                count = self._stream.readinto(buffer) or 0
                if not self._starved():
                    return count
            rest = memoryview(buffer).cast("B")[count:] if count else buffer
            more: int = await self._finish(self._stream.readinto, rest)
            return count + more
        finally:
            self._exit()

    async def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line with its end, or `size` bytes of it; b"" at the end of the file."""
        if size == -1:
            for line in self._lines:
                return line
        return await self._next_line(size)

    async def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Return the lines that are left, or the next ones that make up about `hint` bytes."""
        return await super().readlines(hint)

    async def __anext__(self) -> bytes:
        for line in self._lines:
            return line
        if line := await self._next_line(-1):
            return line
        raise StopAsyncIteration

    async def _try(self, read: Callable[[int], bytes], size: int) -> bytes:
        """Call what reads at most once below: on the loop, and again in a thread where that had to wait."""
        if self._local is None:
            return await self._call(read, size)
        await self._enter()
        try:
            if self._may_try() and size <= INLINE:
                data = read(size)
                if not self._starved():
                    return data
            return await self._finish(read, size)
        finally:
            self._exit()

    async def write(self, data: ReadableBuffer, /) -> int:
        """Take `data`, all of it; return its size. What could not be written before is raised here, or by `flush`."""
        if self._writes and type(data) is bytes and len(data) <= SMALL:
            self._writes -= 1
            return self._write(data)  # type: ignore[no-any-return]
        return await self._write_slowly(data, _size(data))

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to `offset` from the start, from here (1) or from the end (2); return the position."""
        self._settle_if_free()
        if self._reads and whence in QUICK_WHENCES:
            self._reads -= 1
            return self._under.seek(offset, whence)  # type: ignore[no-any-return]
        if self._local is None:
            return await self._call(self._stream.seek, offset, whence)
        return await self._alone(self._stream.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position."""
        self._settle_if_free()
        if self._may_tell():
            return self._under.tell()  # type: ignore[no-any-return]
        return await self._alone(self._stream.tell)

    def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return self._stream.readable()  # type: ignore[no-any-return]

    def detach(self) -> Any:
        """Give away the file below, and be of no use any more."""
        return self._file.detach()

    @property
    def raw(self) -> Any:
        """The file below the buffer."""
        return self._file.raw


class AsyncBufferedReader(AsyncBufferedIOBase, theirs.BufferedReader):
    """A file of bytes that is read, perhaps also written."""

    async def peek(self, size: int = 0, /) -> bytes:
        """Return what comes next, at least a byte where there is one, and stay where we are."""
        return await self._try(self._stream.peek, size)


class AsyncFileIO(Handle, theirs.FileIO):
    """A file without a buffer: each call is one of the system's, in a thread."""

    def __init__(
        self, file: Any, loop: asyncio.AbstractEventLoop | None = None, executor: Executor | None = None
    ) -> None:
        super().__init__(file, loop, executor)

    async def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, as many as one call brings, by default all that are left; b"" at the end."""
        return await self._call(self._stream.read, size)

    async def readall(self) -> bytes:
        """Return all that are left."""
        return await self._call(self._stream.readall)

    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as one call does; return the number of bytes."""
        return await self._call(self._stream.readinto, buffer)

    async def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line with its end, or `size` bytes of it; b"" at the end of the file."""
        return await self._call(self._stream.readline, size)

    async def __anext__(self) -> bytes:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

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
        return 0  # the stream says what is wrong with it
