"""Reader: position, read-ahead and lines over a stream of chunks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from aiofs.errors import Damaged, place
from aiofs.files.handle import Handle, in_turn, whole_offset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from aiofs.driver import Entry, ReadStream

SMALLEST_AHEAD = 1 << 14
FIRST_AHEAD = 1 << 16
LARGEST_AHEAD = 1 << 18
UNKNOWN = -1
FEWEST_LINES, MOST_LINES = 1 << 11, 1 << 16
"""How many bytes of lines are taken from the buffer at once; it doubles while only lines are read."""
_NOTHING = io.BytesIO()
_NO_LINES: Iterator[bytes] = iter(())


class Cursor:
    """Requests the next chunks of a stream, in windows that grow while reads continue, and finds files cut short."""

    def __init__(self, stream: ReadStream, window: int | None) -> None:
        self._stream = stream
        self._first_window = window
        self._window = window
        self._at = 0
        self._stop = window
        self._ahead = FIRST_AHEAD // 2
        self.seen: int = 0
        """How far the file is known to go."""

    @property
    def entry(self) -> Entry:
        """The version being read."""
        return self._stream.entry

    @property
    def free_to_jump(self) -> bool:
        """Whether a seek costs no request."""
        return self._first_window is None

    async def chunk(self, position: int, want: int) -> bytes:
        """Ask for at least `want` bytes from `position` on, and return what comes; b"" only at the end of the file.

        :raises Damaged: if the stream ends before the size that its entry promises.
        """
        size = self.entry.size
        if size is not None and position >= size:
            return b""
        if position != self._at:
            self._window, self._ahead = self._first_window, 0
            want = want or SMALLEST_AHEAD
            await self._ask(position, want)
        else:
            self._ahead = min(LARGEST_AHEAD, max(SMALLEST_AHEAD, self._ahead * 2))
            want = max(want, self._ahead)
            if self._at == self._stop:
                self._window = 2 * (self._window or 0)  # so that a long read soon is one request
                await self._ask(position, want)
        at, self._at = self._at, UNKNOWN  # a chunk that is cancelled may have moved the stream
        data = await self._stream.chunk(want)
        if not data and size is not None:
            raise Damaged.of(self.entry.path, f"the bytes end after {at} of {size}")
        self._at = at + len(data)
        if data:
            self.seen = max(self.seen, self._at)
        return data

    async def _ask(self, position: int, want: int) -> None:
        size = self.entry.size
        stop = None if self._window is None else position + max(want, self._window)
        if stop is not None and size is not None and stop >= size:
            stop = None
        self._at = UNKNOWN
        await self._stream.seek(position, stop)
        self._at = position
        self._stop = stop


class Reader(Handle):
    """A file open for reading."""

    def __init__(self, name: str, mode: str, stream: ReadStream, window: int | None) -> None:
        super().__init__(name, mode)
        self._stream = stream
        self._entry: Entry | None = stream.entry
        self._cursor = Cursor(stream, window)
        self._buffer = _NOTHING
        self._base = 0  # where in the file the buffer begins
        self._end = 0  # where in the file it ends
        self._lines = _NO_LINES  # whole lines, which the buffer stands behind already
        self._lines_size = FEWEST_LINES

    async def readable(self) -> bool:
        """Return `True`."""
        self._guard()
        return True

    async def seekable(self) -> bool:
        """Return `True`."""
        self._guard()
        return True

    async def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end; all that is left for -1 or `None`."""
        if self._closed:
            self._guard()
        if size is None or size < 0:
            return await self._read_rest()
        if not self.turns.locked():
            self._put_lines_back()
            data = self._buffer.read(size)
            if len(data) == size:
                return data
            self._buffer.seek(-len(data), io.SEEK_CUR)
        return await self._read(size)

    @in_turn
    async def read1(self, size: int = -1) -> bytes:
        """Return up to `size` bytes with one request at most; b"" only at the end."""
        self._guard()
        self._put_lines_back()
        data = self._buffer.read(size)
        if not data and size and await self._fill(max(size, 0)):
            data = self._buffer.read(size)
        return data

    @in_turn
    async def peek(self, size: int = 0) -> bytes:
        """Return bytes ahead without moving: at least one unless at the end."""
        self._guard()
        if self._position() == self._end:
            await self._fill(max(size, 0))
        here = self._buffer.tell()
        data = self._buffer.read()
        self._buffer.seek(here)
        return data

    async def readline(self, size: int | None = -1) -> bytes:
        r"""Return the next line with its b"\n", cut at `size` bytes if that is given."""
        if self._closed:
            self._guard()
        if not self.turns.locked():
            self._put_lines_back()
            line = self._buffer.readline(size)
            if line.endswith(b"\n") or (size is not None and 0 <= size <= len(line)):
                return line
            self._buffer.seek(-len(line), io.SEEK_CUR)
        return await self._readline(size)

    async def __anext__(self) -> bytes:
        for line in self._lines:
            return line
        if not self._closed and not self.turns.locked():
            self._take_lines()
            for line in self._lines:
                return line
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    def _take_lines(self) -> None:
        """Take some whole lines from the buffer for the next calls; none if the buffer has no whole line."""
        lines = self._buffer.readlines(self._lines_size)
        if lines and not lines[-1].endswith(b"\n"):
            self._buffer.seek(-len(lines.pop()), io.SEEK_CUR)
        self._lines = iter(lines)
        self._lines_size = min(MOST_LINES, self._lines_size * 2)

    def _put_lines_back(self) -> None:
        """Move the buffer back before the lines that were taken and not read: all but `__anext__` need it there."""
        if self._lines is not _NO_LINES:
            self._buffer.seek(-sum(map(len, self._lines)), io.SEEK_CUR)
            self._lines, self._lines_size = _NO_LINES, FEWEST_LINES

    async def write(self, data: object) -> int:
        """Raise `io.UnsupportedOperation`: the file is open for reading."""
        self._cannot("write", data)

    async def writelines(self, lines: Iterable[object]) -> None:
        """Raise `io.UnsupportedOperation`: the file is open for reading."""
        self._cannot("write", lines)

    @in_turn
    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, without a request; the next read makes it."""
        self._guard()
        size = self._cursor.entry.size
        if size is None and whence == io.SEEK_END:
            size = await self._measure()
        target = whole_offset(self._position(), size or 0, offset, whence)
        self._go_to(target)
        return target

    async def tell(self) -> int:
        """Return the position."""
        self._guard()
        return self._position()

    @in_turn
    async def close(self) -> None:
        """Close the stream. Harmless when done twice."""
        if not self._closed:
            self._closed = True
            self._buffer, self._lines = _NOTHING, _NO_LINES
            await self._release()

    async def abort(self) -> None:
        """Do as `close`: there is nothing to publish."""
        await self.close()

    @in_turn
    async def _read(self, size: int) -> bytes:
        self._guard()
        start = self._position()
        pieces = [self._buffer.read(size)]
        missing = size - len(pieces[0])
        try:
            while missing and await self._fill(missing):
                piece = self._buffer.read(missing)
                pieces.append(piece)
                missing -= len(piece)
        except BaseException:
            self._go_to(start)
            raise
        return b"".join(pieces)

    @in_turn
    async def _readline(self, size: int | None) -> bytes:
        self._guard()
        start = self._position()
        pieces = [self._buffer.readline(size)]
        left = -1 if size is None or size < 0 else size - len(pieces[0])
        try:
            while left and not pieces[-1].endswith(b"\n") and await self._fill(0):
                piece = self._buffer.readline(left)
                pieces.append(piece)
                left -= len(piece) if left > 0 else 0
        except BaseException:
            self._go_to(start)
            raise
        return b"".join(pieces)

    def _position(self) -> int:
        self._put_lines_back()
        return self._base + self._buffer.tell()

    def _go_to(self, target: int) -> None:
        if self._base <= target <= self._end:
            self._buffer.seek(target - self._base)
        else:
            self._buffer, self._base, self._end = _NOTHING, target, target

    async def _fill(self, want: int) -> bool:
        """Replace the buffer, which was read to its end, by the next chunk; return whether there was one."""
        try:
            data = await self._cursor.chunk(self._end, want)
        except OSError as error:
            place(error, self._name)
            raise
        self._base = self._end
        self._buffer = io.BytesIO(data)
        self._end = self._base + len(data)
        return bool(data)

    @in_turn
    async def _read_rest(self) -> bytes:
        self._guard()
        size, start = self._cursor.entry.size, self._position()
        pieces = [self._buffer.read()]
        position = self._end
        if self._cursor.free_to_jump and size is not None and size - position > len(pieces[0]):
            position -= len(pieces[0])  # reading a little again costs less than joining it to a lot
            pieces = []
        try:
            while piece := await self._cursor.chunk(position, LARGEST_AHEAD if size is None else size - position):
                pieces.append(piece)
                position += len(piece)
        except BaseException as error:
            self._go_to(start)
            if isinstance(error, OSError):
                place(error, self._name)
            raise
        self._buffer, self._base, self._end = _NOTHING, position, position
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _measure(self) -> int:
        """Return the size of a file whose store does not know it, by reading on to the end."""
        position = self._cursor.seen
        while piece := await self._cursor.chunk(position, LARGEST_AHEAD):
            position += len(piece)
        return position


async def whole_chunks(stream: ReadStream) -> AsyncIterator[bytes]:
    """Yield all of a stream from its start.

    :raises Damaged: if it ends before the size that its entry promises.
    """
    position, size = 0, stream.entry.size
    while position != size and (data := await stream.chunk(LARGEST_AHEAD)):
        position += len(data)
        yield data
    if size is not None and position != size:
        raise Damaged.of(stream.entry.path, f"the bytes end after {position} of {size}")


async def measure(stream: ReadStream) -> int:
    """Return the size of a file whose store does not know it without reading."""
    await stream.seek(0)
    return sum([len(data) async for data in whole_chunks(stream)])


async def drain(stream: ReadStream, start: int, stop: int | None) -> bytes:
    """Return the bytes of a stream over `start` to `stop`, fewer only where the file ends.

    :raises Damaged: if there are fewer than its entry promises.
    """
    size = stream.entry.size
    end = stop if size is None else size if stop is None else min(stop, size)
    pieces = []
    position = start
    while end is None or position < end:
        data = await stream.chunk(LARGEST_AHEAD if end is None else end - position)
        if not data:
            break
        pieces.append(data)
        position += len(data)
    if size is not None and end is not None and position < end:
        raise Damaged.of(stream.entry.path, f"the bytes end after {position} of {size}")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
