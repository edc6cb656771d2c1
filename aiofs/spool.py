"""Bytes that spill to a temporary file past a few MiB."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

from aiofs.threads import hop

if TYPE_CHECKING:
    from aiofs.driver import Part

MEMORY_LIMIT = 8 << 20


class Spool:
    """A store of bytes that only grows at its end; beyond `limit` bytes it lives in an unnamed temporary file."""

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self._limit = limit
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size: int = 0

    async def append(self, data: Part) -> None:
        """Put `data` at the end.

        :raises OSError: if the disk that holds temporary files is full.
        """
        if self._file is None and self.size + len(data) <= self._limit:
            self._memory += data
        else:
            await hop(self._spill, data)
        self.size += len(data)

    async def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`, fewer only at the end."""
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + size])
        return await hop(self._fetch, start, size)

    def close(self) -> None:
        """Give the memory and the disk space back. Harmless when done twice."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()  # of a handle that was never closed, which says so itself

    def _spill(self, data: Part) -> None:
        if self._file is None:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 -- it lives as long as the spool
            file.write(self._memory)
            self._file, self._memory = file, bytearray()
        self._file.seek(self.size)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _fetch(self, start: int, size: int) -> bytes:
        assert self._file is not None  # noqa: S101 -- only called once it spilled
        self._file.seek(start)
        pieces = []
        while size and (piece := self._file.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)
