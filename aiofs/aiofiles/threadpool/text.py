"""Handles of text.

Python's text layer cannot be told that bytes are late: what it finds none of, it takes for the end. So it is called on
the loop only when the bytes that it can ask for have been brought before it (`LocalFile.ahead`).
"""

from __future__ import annotations

import asyncio
import os
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, cast

from aiofiles.threadpool.text import AsyncTextIndirectIOWrapper

from aiofs.aiofiles import theirs
from aiofs.aiofiles.handle import NONE_READY, SMALL, Handle
from aiofs.aiofiles.plain import has_line_end, is_plain, line_ends
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.turns import INLINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["AsyncTextIOWrapper", "AsyncTextIndirectIOWrapper"]


PIECE = 8192
"""Bytes that the text layer asks for at a time."""
LINES = 1000
"""Lines in memory that are given out between two looks at the clock."""
BYTES_PER_CHARACTER = 4
MARK = 3
"""Bytes of the mark that utf-8-sig begins with."""
EMPTYING = {"flush", "seek", "tell", "truncate"}
"""Methods of the text layer that write all it holds. Others may fill the buffer below until it writes a part."""
PLAIN_COOKIE = 1 << 63
"""From here on a position says more than an offset, and going there may read."""


class AsyncTextIOWrapper(Handle, theirs.TextIOWrapper):
    """A file of text, as `open` gives it without `b` in the mode; or any `io.TextIOBase` that is wrapped."""

    def __init__(
        self, file: Any, loop: asyncio.AbstractEventLoop | None = None, executor: Executor | None = None
    ) -> None:
        super().__init__(file, loop, executor)

    def _begin(self, file: Any) -> None:
        super()._begin(file)
        self._readline: Any = getattr(file, "readline", None)
        self._write: Any = getattr(file, "write", None)
        raw: Any = getattr(getattr(file, "buffer", None), "raw", None)
        if type(raw) in {LocalFile, UpdateFile} and not raw.waits:
            self._newline = raw.newline
            self._plain = is_plain(file.encoding, file.errors)
            self._settle_in(raw)

    def _empties(self, function: Callable[..., object]) -> bool:
        return function.__name__ in EMPTYING

    def _may_try(self) -> bool:
        return self._plain and super()._may_try()

    async def read(self, size: int | None = -1, /) -> str:
        """Return up to `size` characters, by default all that are left; "" at the end."""
        if self._fresh is not None and size == -1:
            text = self._fresh.read_text()
            if text is not None:
                return text
        if self._local is None:
            return await self._call(self._stream.read, size)
        if self._busy or self._turn.over:
            await self._enter()
        else:
            self._take()
        try:
            if self._may_try():
                if size is None or size < 0:
                    if self._take_rest(self._local):
                        return self._stream.read()  # type: ignore[no-any-return]
                elif self._bring(self._local, size):
                    return self._sealed(self._stream.read, size)
            return await self._finish(self._stream.read, size)
        finally:
            self._exit()

    def _take_rest(self, local: LocalFile) -> bool:
        """Take what is left, for the text layer to ask for; False where that is much or not at hand.

        Only where nothing is written: else the buffer moves the file before it asks.
        """
        if not isinstance(local, UpdateFile):
            local.rest = local.take_rest()
        return local.rest is not None

    def _bring(self, local: LocalFile, size: int) -> bool:
        """Bring what reading `size` characters can ask for; False where that is much or not at hand."""
        wanted = size * BYTES_PER_CHARACTER + MARK
        if wanted > INLINE or self._stream.errors == "ignore":
            return False
        local.ahead = b""
        while len(local.ahead) < wanted:
            piece = local.load(max(wanted - len(local.ahead), PIECE))
            if not piece:
                return piece is not None
        return True

    def _sealed(self, read: Callable[[Any], str], size: int | None) -> str:
        """Call a method of the text layer with no more bytes than were brought, and forget those that it left."""
        local = cast("LocalFile", self._local)
        local.sealed = True
        try:
            return read(size)
        finally:
            local.sealed = False
            local.ahead = b""

    async def readline(self, size: int = -1, /) -> str:
        """Return the next line with its end, or `size` characters of it; "" at the end of the file."""
        if size == -1:
            for line in self._ready:
                return line
        return await self._next_line(size)

    async def readlines(self, hint: int | None = -1, /) -> list[str]:
        """Return the lines that are left, or the next ones that make up about `hint` characters."""
        return await super().readlines(hint)

    async def __anext__(self) -> str:
        for line in self._ready:
            return line
        if line := await self._next_line(-1):
            return line
        raise StopAsyncIteration

    _piece = PIECE
    """Bytes that are brought at once: more and more, while nothing but lines is asked for."""

    def _take(self) -> None:
        super()._take()
        self._piece = PIECE
        if self._local is not None:
            self._local.ahead = b""

    async def _next_line(self, size: int) -> str:
        """Return a line where none is in memory for certain, or not within the allowance."""
        if self._local is None:
            return await self._call(self._readline, size)
        if self._turn.over:
            await asyncio.sleep(0)
        if size == -1 and not self._busy and self._may_try():
            self._turn.spend()
            line = self._line_now(self._local)
            if line is not None:
                return line
        await self._enter()
        try:
            if size != -1 or not self._may_try() or not await self._bring_line(self._local):
                return await self._finish(self._readline, size)
            line = self._line(self._local)
        finally:
            self._exit()
        self._allow()
        return line

    def _line_now(self, local: LocalFile) -> str | None:
        """Return a line if its end, or that of the file, is within the next piece and at hand."""
        if self._stock:
            self._allow()
            for line in self._ready:
                return line
        piece = local.ahead or local.load(self._piece)
        if piece is None or (piece and not has_line_end(piece, self._newline)):
            return None
        line = self._line(local) if len(piece) <= PIECE else self._line_of_many(local, piece)
        self._piece = min(self._piece * 2, INLINE)
        self._allow()
        return line

    def _line_of_many(self, local: LocalFile, piece: bytes) -> str:
        """Take a line, the text layer decoding many pieces at once where that makes no difference."""
        if not piece.isascii() or b"\r" in piece:  # else it would meet what cannot be decoded, or a "\r", too early
            local.ahead = piece[:PIECE]
            return self._line(local)
        local.ahead = piece[: len(piece) // PIECE * PIECE]
        self._stream._CHUNK_SIZE = len(local.ahead)  # noqa: SLF001 - there is no other way to say it
        try:
            return self._line(local)
        finally:
            self._stream._CHUNK_SIZE = PIECE  # noqa: SLF001

    async def _bring_line(self, local: LocalFile) -> bool:
        """Bring the rest of a line, or of the file, from the disk if need be; False where that is long."""
        while len(local.ahead) < INLINE:
            piece = local.load(PIECE)
            if piece is None:
                piece = await self._fly(local.load, INLINE)
            if not piece or has_line_end(piece, self._newline):
                return True
        local.ahead = b""
        return False

    def _line(self, local: LocalFile) -> str:
        """Take a line that was brought; note how many more came with it."""
        ahead = local.ahead
        self._stock = 0
        local.sealed = True
        try:
            line: str = self._readline()
            taken = ahead[: len(ahead) - len(local.ahead)] if local.ahead else ahead
            self._stock = max(line_ends(taken, self._newline) - 1, 0)
        finally:
            local.sealed = False
            if local.device.answers_at_once or isinstance(local, UpdateFile):
                local.ahead = b""
        return line

    def _allow(self) -> None:
        """Let the next lines be taken without a look at the clock."""
        if self._reads:
            count = min(self._stock, LINES)
            self._ready = starmap(self._readline, repeat((), count))
            self._stock -= count

    async def write(self, data: str, /) -> int:
        """Take `data`, all of it; return its length. What could not be written before is raised here, or by `flush`."""
        if self._writes and type(data) is str and len(data) <= SMALL:
            self._writes -= 1
            self._dirty = True
            self._reads = self._stock = 0
            self._ready = NONE_READY
            return self._write(data)  # type: ignore[no-any-return]
        return await self._write_slowly(data, len(data) if isinstance(data, str) else 0)

    async def seek(self, cookie: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to what `tell` returned, to the start (0) or to the end (0, 2); return the position."""
        self._unfold()
        if (
            self._reads
            and type(cookie) is int
            and (0 <= cookie < PLAIN_COOKIE if whence == 0 else whence == os.SEEK_END)
        ):
            self._ready, self._stock = NONE_READY, 0
            self._reads -= 1
            self._piece = PIECE
            cast("LocalFile", self._local).ahead = b""
            return self._under.seek(cookie, whence)  # type: ignore[no-any-return]
        return await self._alone(self._stream.seek, cookie, whence)

    async def tell(self) -> int:
        """Return the position, as an opaque number for `seek`."""
        self._unfold()
        if self._reads or (self._writes and not self._appends):
            return self._under.tell()  # type: ignore[no-any-return]
        return await self._alone(self._stream.tell)

    async def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return await self._ask(self._stream.readable)

    def detach(self) -> Any:
        """Give away the buffer below, and be of no use any more."""
        return self._file.detach()

    @property
    def buffer(self) -> Any:
        """The buffer below the text."""
        return self._file.buffer

    @property
    def encoding(self) -> str:
        """The name of the encoding."""
        return self._stream.encoding  # type: ignore[no-any-return]

    @property
    def errors(self) -> str | None:
        """What is done about what cannot be encoded or decoded."""
        return self._stream.errors  # type: ignore[no-any-return]

    @property
    def line_buffering(self) -> bool:
        """Whether each line is brought to the file when it is complete."""
        return self._stream.line_buffering  # type: ignore[no-any-return]

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The ends of line met so far."""
        return self._stream.newlines  # type: ignore[no-any-return]
