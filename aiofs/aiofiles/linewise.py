"""Lines of bytes, many at a time: read beside the stream, which follows when anything else is asked of the handle."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING, Any

from aiofs.aiofiles.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.localio.files import LocalFile

FIRST, MOST = 2048, 65_536
"""Bytes that are read beside the stream: more and more, while nothing but lines is asked for."""
LINES = 1000
"""Lines that are given out between two looks at the clock."""


class Linewise(Handle):
    """A handle of bytes that is read by lines."""

    _lines: Iterator[bytes]
    """Lines in memory; the stream still stands where the first of them was taken."""
    _lines_end = 0
    """The position after the last of them."""
    _beside = False
    _piece = FIRST

    def _close_way(self) -> None:
        super()._close_way()
        if not self._beside:
            self._lines = iter(())

    def _retire(self) -> LocalFile | None:
        self._beside = False
        return super()._retire()

    def _settle(self) -> None:
        """Bring the stream to where the lines were taken to, its buffer in the state that readline() leaves."""
        if not self._beside or self._local is None:
            return
        position = self._lines_end - sum(map(len, self._lines))
        self._beside, self._piece, self._lines = False, FIRST, iter(())
        local, stream = self._local, self._stream
        filled = local.tell()
        if position > filled:
            stream.seek(filled + (position - filled) // local.buffered * local.buffered)
            stream.peek(1)
            self._starved()
        stream.seek(position)

    def _settle_if_free(self) -> None:
        """Be ready for what else may be done on the loop, unless a thread is on the file."""
        self._unfold()
        if self._beside and not self._busy:
            self._settle()
            self._open_way()

    def _take(self) -> None:
        super()._take()
        self._settle()

    def _open_way(self) -> None:
        if not self._beside:
            super()._open_way()

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
        if self._busy or not self._may_try():
            return None
        self._turn.spend()
        start = self._lines_end if self._beside else self._stream.tell()
        return self._give_out(local.look(self._piece, start), start)

    async def _fetch_beside(self) -> bytes | None:
        """Have many lines brought from the disk, and return the first; None where there is no whole line so near."""
        local: Any = self._local
        if local.device.answers_at_once:
            return None
        start = self._stream.tell()
        return self._give_out(await self._fly(local.fetch, MOST, start), start)

    def _give_out(self, piece: bytes | None, start: int) -> bytes | None:
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
        self._close_way()
        self._beside = True
        self._lines_end = start + end
        self._lines = iter(lines)
        return next(self._lines)
