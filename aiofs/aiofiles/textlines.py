"""Lines of text: the text layer takes the first of a piece, and the others are split off beside it.

They are in the layer all the same, decoded. So it follows by a read of as many characters as were given out, for which
it asks for no bytes, and stands as it would if each line had been read from it.
"""

from __future__ import annotations

import asyncio
from operator import length_hint
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from aiofs.aiofiles.linewise import LINES, Linewise
from aiofs.aiofiles.plain import (
    BLURRED,
    MOST_KEPT,
    decoded,
    has_line_end,
    kept_back,
    lines_after_first,
    plain_encoding,
    split,
)
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.turns import INLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
P = ParamSpec("P")

PIECE = 8192
"""Bytes that the text layer asks for at a time."""


class TextLines(Linewise):
    """A handle of text that is read by lines."""

    _lines: Iterator[str]
    _count = _characters = 0
    """How many lines the stream stands before, and characters in them, those included that were given out."""
    _piece = PIECE
    """Bytes that are brought at once: more and more, while nothing but lines is asked for."""
    _last: bytes | None = b""
    r"""The last bytes that the text layer took and may still wait with: a b"\r" is half of an end. None if unknown."""

    def _begin(self, file: Any) -> None:
        super()._begin(file)
        self._readline: Any = getattr(file, "readline", None)
        raw: Any = getattr(getattr(file, "buffer", None), "raw", None)
        if type(raw) in {LocalFile, UpdateFile} and not raw.waits:
            self._newline = raw.newline
            self._encoding = plain_encoding(file.encoding, file.errors)
            self._blurs = file.errors == "ignore" and raw.newline in {None, "", "\r\n"}
            self._settle_in(raw)

    def _may_try(self) -> bool:
        return self._encoding is not None and super()._may_try()

    def _follow(self, left: int) -> None:
        self._under.read(self._characters - left)

    def _catch_up(self) -> None:
        """Bring the stream to where the lines were taken to, and keep the others."""
        left = length_hint(self._lines)
        for _ in range(self._count - left):
            self._characters -= len(self._readline())
        self._count = left

    def _take(self) -> None:
        super()._take()
        self._piece = PIECE
        if self._local is not None:
            self._local.ahead = b""

    async def _finish(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._last = None
        return await super()._finish(function, *args, **kwargs)

    def _sealed(self, local: LocalFile, read: Callable[[int], str], size: int = -1) -> tuple[str, bytes]:
        """Call a method of the text layer with no more bytes than were brought; return also those that it took."""
        ahead = local.ahead
        last, self._last = self._last, None
        local.sealed, local.ended = True, False
        try:
            text = read(size)
        finally:
            local.sealed = False
            left, local.ahead = local.ahead, b""
        taken = ahead[: len(ahead) - len(left)] if left else ahead
        if local.ended:
            self._last = b""
        elif last is not None or len(taken) >= MOST_KEPT:
            self._last = ((last or b"") + taken[-MOST_KEPT:])[-MOST_KEPT:]
        return text, taken

    def _has_line_end(self, piece: bytes) -> bool:
        return has_line_end(piece, self._newline) and not (self._blurs and BLURRED.search(piece))

    async def _next_line(self, size: int) -> str:
        """Return a line where none is in memory."""
        if self._local is None:
            return await self._call(self._readline, size)
        if self._turn.over:
            await asyncio.sleep(0)
        if size == -1:
            for line in self._lines:  # somebody else has brought more meanwhile
                return line
            first = self._line_now(self._local)
            if first is not None:
                return first
        await self._enter()
        try:
            if size != -1 or not self._may_try() or not await self._bring_line(self._local):
                return await self._finish(self._readline, size)
            return self._line(self._local)
        finally:
            self._exit()

    def _line_now(self, local: LocalFile) -> str | None:
        """Return a line if its end, or that of the file, is within the next piece and at hand."""
        if self._busy:
            return None
        self._settle()
        if not self._may_try():
            return None
        self._turn.spend()
        piece = local.ahead or local.load(self._piece)
        if piece is None or (piece and not self._has_line_end(piece)):
            return None
        line = self._line_of_many(local, piece) if len(piece) > PIECE else self._line(local)
        self._open_way()
        return line

    def _line_of_many(self, local: LocalFile, piece: bytes) -> str:
        """Take a line, the text layer decoding many pieces at once where that makes no difference."""
        many = len(piece) // PIECE * PIECE
        if not piece.isascii() or b"\r" in piece or piece.find(b"\n", 0, many) < 0:
            line = self._line(local)  # else it would meet what cannot be decoded, or a "\r", too early
            self._piece = PIECE
            return line
        local.ahead = piece[:many]
        self._under._CHUNK_SIZE = many  # noqa: SLF001 - there is no other way to say it
        try:
            return self._line(local)
        finally:
            self._under._CHUNK_SIZE = PIECE  # noqa: SLF001

    async def _bring_line(self, local: LocalFile) -> bool:
        """Bring the rest of a line, or of the file, from the disk if need be; False where that is long."""
        while len(local.ahead) < INLINE:
            piece = local.load(PIECE)
            if piece is None:
                piece = await self._fly(local.load, INLINE)
            if not piece or self._has_line_end(piece):
                return True
        local.ahead = b""
        return False

    def _lines_after_first(self, before: bytes, taken: bytes) -> bytes:
        if kept_back(before) > 1 or (self._blurs and BLURRED.search(before + taken)):
            return b""
        return lines_after_first(before, taken, self._newline)

    def _line(self, local: LocalFile) -> str:
        """Take a line that was brought, and beside the stream the whole lines that came with it."""
        last, ahead = self._last, local.ahead
        line, taken = self._sealed(local, self._readline)
        only_read = not isinstance(local, UpdateFile)  # else text is written where the layer has read to
        if only_read and not local.device.answers_at_once:
            local.ahead = ahead[len(taken) :]
        if last is not None and (rest := self._lines_after_first(last, taken)):
            text = decoded(rest, cast("str", self._encoding), self._under.errors, self._newline)
            lines = split(text, self._newline)
            if only_read:
                fitting = len(taken) * LINES // len(lines) // PIECE * PIECE
                self._piece = max(min(self._piece * 2, fitting, INLINE), PIECE)
            self._count, self._characters = len(lines), len(text)
            self._give_out(lines)
        return line
