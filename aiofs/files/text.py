"""TextFile: str over a FileLike. Decodes whole chunks and hands out lines and characters of them without awaiting."""

from __future__ import annotations

import asyncio
import io
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Self

from aiofs.errors import AiofsError
from aiofs.files.decoding import Ahead, Cookie, TextFormat
from aiofs.files.handle import PIECE, check_piece, in_turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
    from types import TracebackType

    from aiofs.driver import Entry
    from aiofs.files.handle import FileLike

CHUNK = 1 << 16
_NO_LINES: Iterator[str] = iter(())


class TextFile:
    """A file of characters over a file of bytes, `buffer`, with encoding, errors and newline as builtins have them.

    Leaving the `async with` block publishes what was written; leaving it by an exception, or `abort`, nothing.
    In mode `r+` reading and writing may alternate freely: both happen at the position that `tell` reports.
    """

    line_buffering: ClassVar[bool] = False

    def __init__(
        self, buffer: FileLike, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> None:
        self._form = TextFormat.of(encoding, errors, newline)
        self._buffer = buffer
        self.turns: asyncio.Lock = asyncio.Lock()
        self._ahead: Ahead | None = None
        self._lines = _NO_LINES
        self._newlines: str | tuple[str, ...] | None = None
        self._writing = False
        self._encode: Callable[[str], bytes] = str.encode
        self._pending: list[bytes] = []
        self._gathered = 0

    @property
    def buffer(self) -> FileLike:
        """The file of bytes underneath."""
        return self._buffer

    @property
    def encoding(self) -> str:
        """How characters are bytes."""
        return self._form.encoding

    @property
    def errors(self) -> str:
        """What happens to characters, or bytes, that do not exist in the encoding."""
        return self._form.errors

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The line ends read so far, where they are translated or recognised."""
        return self._newlines if self._ahead is None else self._ahead.newlines

    @property
    def name(self) -> str:
        """The path it was opened by."""
        return self._buffer.name

    @property
    def mode(self) -> str:
        """The mode it was opened in, as it was spelled."""
        return self._buffer.mode

    @property
    def closed(self) -> bool:
        """Whether it was closed or aborted."""
        return self._buffer.closed

    @property
    def entry(self) -> Entry:
        """The entry of the version that is read, or that closing published: see `FileLike.entry`."""
        return self._buffer.entry

    def chunks(self, size: int = PIECE) -> AsyncGenerator[str]:
        """Yield all that is left in pieces of `size` characters; the last one may be shorter.

        :raises ValueError: for a size that is not greater than 0.
        """
        check_piece(size)
        return self._chunks(size)

    async def _chunks(self, size: int) -> AsyncGenerator[str]:
        while piece := await self.read(size):
            yield piece

    async def readable(self) -> bool:
        """Whether `read` is allowed."""
        return await self._buffer.readable()

    async def writable(self) -> bool:
        """Whether `write` is allowed."""
        return await self._buffer.writable()

    async def seekable(self) -> bool:
        """Whether `seek` is allowed."""
        return await self._buffer.seekable()

    async def isatty(self) -> bool:
        """Whether it is a terminal."""
        return await self._buffer.isatty()

    async def read(self, size: int | None = -1) -> str:
        """Return the next `size` characters, fewer only at the end; all that are left for -1 or `None`.

        :raises UnicodeError: if the bytes are not what the encoding says.
        """
        async with self.turns:
            return await self._read(size)

    async def readline(self, size: int | None = -1) -> str:
        """Return the next line with its end, cut at `size` characters if that is given; "" at the end of the file."""
        async with self.turns:
            if size is None or size < 0:
                return await self._next_line()
            piece = await self._read(size)
            line = self._form.first_line(piece)
            if self._ahead is not None:
                self._ahead.give_back(len(piece) - len(line))
            return line

    async def readlines(self, hint: int | None = -1) -> list[str]:
        """Return the lines that are left, or whole lines until there are more characters than `hint`."""
        if hint is None or hint <= 0:
            return self._form.lines(await self.read())
        lines: list[str] = []
        total = 0
        while total <= hint and (line := await self.readline()):
            lines.append(line)
            total += len(line)
        return lines

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if not self.turns.locked():
            for line in self._lines:
                return line
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    async def write(self, text: str) -> int:
        """Write `text` at the position (in mode `a`, at the end) and return how many characters that were.

        :raises UnicodeError: if the encoding has no bytes for them; then nothing of `text` is written.
        """
        if not self._writing or self.turns.locked() or self._gathered >= CHUNK:
            async with self.turns:
                if not self._writing:
                    await self._turn_to_writing()
                elif self._gathered >= CHUNK:
                    await self._hand_over()
                return self._gather(text)
        return self._gather(text)

    async def writelines(self, lines: Iterable[str]) -> None:
        """Write the items one after another, adding nothing between them."""
        for line in lines:
            await self.write(line)

    @in_turn
    async def seek(self, cookie: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place that `tell` returned, or to the start (0, 0), the position (0, 1) or the end (0, 2).

        :raises io.UnsupportedOperation: for a distance from the position or the end: characters differ in size.
        """
        if whence not in {io.SEEK_SET, io.SEEK_CUR, io.SEEK_END}:
            raise ValueError(f"whence is 0 (start), 1 (position) or 2 (end), not {whence!r}")
        if whence != io.SEEK_SET and cookie != 0:
            raise io.UnsupportedOperation(
                f"seek by {cookie} with whence {whence}: text only seeks to what tell() returned"
            )
        if cookie < 0:
            raise ValueError(f"seek to {cookie}, before the start of the file")
        if whence == io.SEEK_CUR:
            cookie = await self._tell()
        await self._hand_over()
        if whence == io.SEEK_END:
            cookie = await self._buffer.seek(0, io.SEEK_END)
            self._turn_idle()
            return cookie
        place = Cookie.unpack(cookie)
        await self._buffer.seek(place.position)
        self._turn_idle()
        if place.flags or place.skip:
            await self._restore(place)
        return cookie

    async def tell(self) -> int:
        """Return an opaque number that `seek` takes: the offset in bytes where the encoding allows that."""
        async with self.turns:
            return await self._tell()

    async def _tell(self) -> int:
        await self._hand_over()
        position = await self._buffer.tell()
        if self._ahead is None:
            return position
        place, _ = self._ahead.place()
        return place.pack() if place.position or place.skip else 0

    @in_turn
    async def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long, by default up to the position."""
        if not self._writing:
            await self._turn_to_writing()
        await self._hand_over()
        return await self._buffer.truncate(size)

    @in_turn
    async def flush(self) -> None:
        """Hand what was written to the file of bytes; it becomes visible when that is closed."""
        await self._hand_over()
        await self._buffer.flush()

    async def close(self) -> None:
        """Publish what was written. Harmless when done twice.

        :raises OSError: if it could not be published; the old bytes then stay and the lock is free.
        """
        async with self.turns:
            try:
                if not self.closed:
                    await self._hand_over()
            except BaseException:
                await self._abort()
                raise
            self._turn_idle()
            await self._buffer.close()

    async def abort(self) -> None:
        """Close without publishing. Harmless when done twice."""
        async with self.turns:
            await self._abort()

    async def _abort(self) -> None:
        self._pending.clear()
        self._gathered = 0
        self._turn_idle()
        await self._buffer.abort()

    async def __aenter__(self) -> Self:
        await self._buffer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.abort()

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<{type(self).__name__} name={self.name!r} mode={self.mode!r} encoding={self.encoding!r}{state}>"

    def _gather(self, text: str) -> int:
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"this file is open for text, not {kind}: decode the bytes, or open it with mode 'b'")
        data = self._encode(text)
        self._pending.append(data)
        self._gathered += len(data)
        return len(text)

    async def _read(self, size: int | None) -> str:
        ahead = self._ahead or await self._turn_to_reading()
        if size is None or size < 0:
            await self._decode_more(ahead, -1)
            return ahead.take()
        while (missing := size - ahead.left) > 0:
            if not await self._decode_more(ahead, max(missing, CHUNK)):
                break
        return ahead.take(size)

    async def _next_line(self) -> str:
        for line in self._lines:
            return line
        ahead = self._ahead or await self._turn_to_reading()
        more = True
        while True:
            self._lines = ahead.lines(final=not more)
            for line in self._lines:
                return line
            if not more:
                return ""
            more = await self._decode_more(ahead, max(ahead.left, CHUNK))

    async def _decode_more(self, ahead: Ahead, size: int) -> bool:
        """Read and decode about `size` more bytes (all for -1), and return whether the file may have still more."""
        data = await self._buffer.read(size)
        try:
            ahead.feed(data, final=size < 0 or not data)
        except UnicodeError:
            with suppress(io.UnsupportedOperation):
                await self._buffer.seek(ahead.position)  # reading on then fails the same way, instead of leaving a gap
            raise
        return bool(data) and size >= 0

    async def _restore(self, place: Cookie) -> None:
        """Go on reading at a place amid bytes that only decode together."""
        self._ahead = ahead = Ahead(self._form, place.position, place.flags)
        if place.feed or place.final:
            ahead.feed(await self._buffer.read(place.feed), final=place.final)
        if ahead.left < place.skip:
            raise AiofsError.of(self.name, "seek to a place that this file does not have")
        ahead.take(place.skip)

    async def _turn_to_reading(self) -> Ahead:
        await self._hand_over()
        await self._buffer.read(0)  # raises if reading is not allowed
        self._writing = False
        self._ahead = ahead = Ahead(self._form, await self._position())
        return ahead

    async def _turn_to_writing(self) -> None:
        """Bring the file of bytes to where reading was, and choose an encoder for that place."""
        await self._buffer.write(b"")  # raises if writing is not allowed
        if self._ahead is not None:
            await self._buffer.seek(self._ahead.place()[1])
        self._turn_idle()
        self._encode = self._form.encoder(at_start=await self._position() == 0)
        self._writing = True

    async def _position(self) -> int:
        try:
            return await self._buffer.tell()
        except io.UnsupportedOperation:  # a stream, which begins where it is opened
            return 0

    def _turn_idle(self) -> None:
        """Forget what was read ahead, and choose anew what to decode or encode with."""
        self._newlines = self.newlines
        self._ahead = None
        self._lines = _NO_LINES
        self._writing = False

    async def _hand_over(self) -> None:
        """Give what was written to the file of bytes."""
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._gathered = 0
            await self._buffer.write(data)
