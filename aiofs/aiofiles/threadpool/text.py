"""Handles of text.

Python's text layer cannot be told that bytes are late: what it finds none of, it takes for the end. So it is called on
the loop only when the bytes that it can ask for have been brought before it (`LocalFile.ahead`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from aiofiles.threadpool.text import AsyncTextIndirectIOWrapper

from aiofs.aiofiles import theirs
from aiofs.aiofiles.handle import SMALL
from aiofs.aiofiles.textlines import PIECE, TextLines
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.turns import INLINE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["AsyncTextIOWrapper", "AsyncTextIndirectIOWrapper"]


BYTES_PER_CHARACTER = 4
MARK = 3
"""Bytes of the mark that utf-8-sig begins with."""
EMPTYING = {"flush", "seek", "tell", "truncate"}
"""Methods of the text layer that write all it holds. Others may fill the buffer below until it writes a part."""
PLAIN_COOKIE = 1 << 63
"""From here on a position says more than an offset, and going there may read."""


class AsyncTextIOWrapper(TextLines, theirs.TextIOWrapper):
    """A file of text, as `open` gives it without `b` in the mode; or any `io.TextIOBase` that is wrapped."""

    def __init__(
        self, file: Any, loop: asyncio.AbstractEventLoop | None = None, executor: Executor | None = None
    ) -> None:
        super().__init__(file, loop, executor)

    def _begin(self, file: Any) -> None:
        super()._begin(file)
        self._write: Any = getattr(file, "write", None)

    def _empties(self, function: Callable[..., object]) -> bool:
        return function.__name__ in EMPTYING

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
                        self._last = b""
                        return self._stream.read()  # type: ignore[no-any-return]
                elif self._bring(self._local, size):
                    return self._sealed(self._local, self._under.read, size)[0]
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

    async def readline(self, size: int = -1, /) -> str:
        """Return the next line with its end, or `size` characters of it; "" at the end of the file."""
        if size == -1:
            for line in self._lines:
                return line
        return await self._next_line(size)

    async def readlines(self, hint: int | None = -1, /) -> list[str]:
        """Return the lines that are left, or the next ones that make up about `hint` characters."""
        return await super().readlines(hint)

    async def __anext__(self) -> str:
        for line in self._lines:
            return line
        if line := await self._next_line(-1):
            return line
        raise StopAsyncIteration

    async def write(self, data: str, /) -> int:
        """Take `data`, all of it; return its length. What could not be written before is raised here, or by `flush`."""
        if self._writes and type(data) is str and len(data) <= SMALL:
            self._writes -= 1
            return self._write(data)  # type: ignore[no-any-return]
        return await self._write_slowly(data, len(data) if isinstance(data, str) else 0)

    async def seek(self, cookie: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to what `tell` returned, to the start (0) or to the end (0, 2); return the position."""
        self._settle_if_free()
        if (
            self._reads
            and type(cookie) is int
            and (0 <= cookie < PLAIN_COOKIE if whence == 0 else whence == os.SEEK_END)
        ):
            self._reads -= 1
            self._piece, self._last = PIECE, None
            cast("LocalFile", self._local).ahead = b""
            place: int = self._under.seek(cookie, whence)
            self._last = b""  # not where that failed, and all is as it was
            return place
        return await self._alone(self._stream.seek, cookie, whence)

    async def tell(self) -> int:
        """Return the position, as an opaque number for `seek`."""
        if self._may_tell():
            if self._beside:
                self._catch_up()
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
