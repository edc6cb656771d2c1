"""Gzip: files compressed in the base, as gunzip reads them, and still read from anywhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiofs.layers import gzipformat as form
from aiofs.layers.codecs import Codec
from aiofs.layers.forward import Packer
from aiofs.layers.gzipreading import opened
from aiofs.layers.mapped import MappedSession
from aiofs.threads import hop

if TYPE_CHECKING:
    from aiofs.driver import Entry, Part, ReadStream, WriteSession

RUN = 4 * form.BLOCK
"""What one thread compresses while others do the next."""
SMALL = 1 << 13
"""Up to so many bytes, a thread costs more than the work."""


class Gzip(Codec):
    """Compresses what is written, block by block, and decompresses the blocks that are read.

    Files that other programs compressed are read too, only that their size is unknown and that they must be read
    from the start.

    :raises ValueError: for a `level` that is not 0 to 9.
    """

    encoded_at_once = 16 * form.BLOCK

    def __init__(self, level: int = 6) -> None:
        if level not in range(10):
            raise ValueError(f"level {level!r}: use 0 (none) to 9 (most)")
        self._level = level

    async def decoded(self, base: ReadStream) -> ReadStream:
        """Return what decompresses."""
        return await opened(base, self.base.window)

    def encoded(self, base: WriteSession, path: str) -> WriteSession:
        """Return what compresses."""
        return GzipSession(self, base, path, self._level)


class GzipSession(MappedSession):
    """Compresses part after part; the index comes at the end."""

    def __init__(self, layer: Gzip, base: WriteSession, path: str, level: int) -> None:
        super().__init__(layer, base, path)
        self._packer = Packer(base, layer.base.part_size)
        self._level = level
        self._sizes: list[int] = []
        self._size = 0
        self._ended = False

    async def write(self, part: Part) -> None:
        """Take the next part."""
        if len(part) <= SMALL:
            members = form.compress(part, self._level)
        else:
            runs = (memoryview(part)[start : start + RUN] for start in range(0, len(part), RUN))
            together = await asyncio.gather(*(hop(form.compress, run, self._level) for run in runs))
            members = [member for run in together for member in run]
        self._size += len(part)
        self._sizes += map(len, members)
        await self._packer.put(b"".join(members))

    async def prepare(self) -> dict[str, Any]:
        """Make the bytes durable."""
        await self._end()
        return await super().prepare()

    async def commit(self) -> Entry:
        """Publish."""
        await self._end()
        return replace(await super().commit(), size=self._size)

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            await self._packer.put(form.ending(self._sizes, self._size))
            await self._packer.end()
