"""Lines of bytes: read beside the stream, many at a time."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING, Any

from aiofs.aiofiles.linewise import LINES, Linewise

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, MOST = 2048, 65_536
"""Bytes that are read beside the stream: more and more, while nothing but lines is asked for."""


class ByteLines(Linewise):
    """A handle of bytes that is read by lines."""

    _lines: Iterator[bytes]
    _lines_end = 0
    """The position after the last of the lines in memory."""
    _piece = FIRST

    def _follow(self, left: int) -> None:
        """Bring the stream after the lines that were taken, its buffer in the state that readline() leaves."""
        local: Any = self._local
        stream = self._stream
        position = self._lines_end - left
        self._piece = FIRST
        filled = local.tell()
        beyond = max(position - filled, 0)
        if beyond % local.buffered:
            stream.seek(filled + beyond // local.buffered * local.buffered)
            stream.peek(1)
            self._starved()
        stream.seek(position)

    async def _next_line(self, size: int | None) -> bytes:
        """Return a line where none is in memory."""
        if self._local is None:
            return await self._call(self._stream.readline, size)
        if size == -1:
            if self._turn.over:
                await asyncio.sleep(0)
                for line in self._lines:  # somebody else has brought more meanwhile
                    return line
            first = self._read_beside()
            if first is not None:
                return first
        await self._enter()
        try:
            return await self._bring_line(size)
        finally:
            self._exit()

    async def _bring_line(self, size: int | None) -> bytes:
        """Return a line for whoever has entered."""
        begun: bytes = b""
        if self._may_try() and size is not None:
            if size == -1 and (first := await self._fetch_beside()) is not None:
                return first
            begun = self._stream.readline(size)
            if not self._starved():
                return begun
            if size >= 0:
                size -= len(begun)
        more: bytes = await self._finish(self._stream.readline, size)
        return begun + more

    def _read_beside(self) -> bytes | None:
        """Read some lines beside the stream, and return the first; None where no whole line is at hand."""
        local: Any = self._local
        if self._busy or self._appends or not self._may_try():
            return None
        self._turn.spend()
        start = self._lines_end if self._beside else self._stream.tell()
        return self._whole_lines(local.look(self._piece, start), start)

    async def _fetch_beside(self) -> bytes | None:
        """Have many lines brought from the disk, and return the first; None where there is no whole line so near."""
        local: Any = self._local
        if local.device.answers_at_once or self._appends:
            return None
        start = self._stream.tell()
        return self._whole_lines(await self._fly(local.fetch, MOST, start), start)

    def _whole_lines(self, piece: bytes | None, start: int) -> bytes | None:
        """Take the whole lines of `piece`, which begins at `start`, for the ones to come; return the first."""
        end = piece.rfind(b"\n") + 1 if piece else 0
        if not piece or not end:
            return None
        lines = BytesIO(piece).readlines(end)
        self._piece = min(self._piece * 2, MOST)
        if len(lines) > LINES:  # short lines: fewer at a time
            self._piece = max(end * LINES // len(lines), FIRST)
            del lines[LINES:]
            end = sum(map(len, lines))
        self._lines_end = start + end
        self._give_out(lines)
        return next(self._lines)
