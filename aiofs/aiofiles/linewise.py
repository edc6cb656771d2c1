"""Lines, taken many at a time beside the stream, which follows when anything else is asked of the handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiofs.aiofiles.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.localio.files import LocalFile

LINES = 1500
"""Lines that are given out between two looks at the clock."""
NONE: Iterator[Any] = iter(())


class Linewise(Handle):
    """A handle that is read by lines."""

    _lines: Iterator[Any]
    """Lines in memory; the stream still stands before the first of them."""
    _beside = False

    def _close_way(self) -> None:
        super()._close_way()
        if not self._beside:
            self._lines = NONE

    def _open_way(self) -> None:
        if not self._beside:
            super()._open_way()

    def _give_out(self, lines: list[Any]) -> None:
        """Take `lines` for the ones to come."""
        self._beside = True
        self._close_way()
        self._lines = iter(lines)

    def _settle(self) -> None:
        """Bring the stream to where the lines were taken to."""
        if self._beside and self._local is not None:
            self._beside = False
            left, self._lines = sum(map(len, self._lines)), NONE
            self._follow(left)

    def _follow(self, left: int) -> None:
        """Bring the stream to where `left` is left of the lines that were in memory."""
        raise NotImplementedError

    def _settle_if_free(self) -> None:
        """Be ready for what else may be done on the loop, unless a thread is on the file."""
        self._unfold()
        if self._beside and not self._busy:
            self._settle()
            self._open_way()

    def _take(self) -> None:
        super()._take()
        self._settle()

    def _retire(self) -> LocalFile | None:
        self._beside = False
        return super()._retire()
