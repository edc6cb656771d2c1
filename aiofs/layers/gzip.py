"""Gzip: files compressed in the base, as gunzip reads them, and still read from anywhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiofs.driver import Copies, Moves, Sweeps
from aiofs.layers import gzipformat as form
from aiofs.layers.forward import Packer
from aiofs.layers.gzipreading import opened
from aiofs.layers.mapped import Mapped, MappedSession
from aiofs.powers import Removes, Snapshots
from aiofs.shield import finish
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from aiofs.driver import Capabilities, Driver, Entry, Lease, Part, ReadStream, WriteSession

PART = 16 * form.BLOCK
RUN = 4 * form.BLOCK
"""What one thread compresses while others do the next."""
SMALL = 1 << 13
"""Up to so many bytes, a thread costs more than the work."""


class Gzip(Mapped):
    """Compresses what is written, block by block, and decompresses the blocks that are read.

    Files that other programs compressed are read too, only that their size is unknown and that they must be read
    from the start.

    :raises ValueError: for a `level` that is not 0 to 9.
    """

    powers = (Copies, Moves, Sweeps, Removes, Snapshots)

    def __init__(self, level: int = 6) -> None:
        if level not in range(10):
            raise ValueError(f"level {level!r}: use 0 (none) to 9 (most)")
        self._level = level

    def bind(self, base: Driver) -> Self:
        """Return this layer over `base`."""
        bound = super().bind(base)
        bound.part_size = PART
        return bound

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that sizes take a look into the file, and that what is compressed stays."""
        return replace(capabilities, listed_sizes=False, rewrite=False)

    def entry(self, entry: Entry) -> Entry | None:
        """Leave out the size, which is the compressed one."""
        return replace(entry, size=None)

    async def stat(self, path: str) -> Entry:
        """Describe the file, with the size that it says it has."""
        stream = await self.read(path)
        await stream.aclose()
        return stream.entry

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading.

        :raises Damaged: if it is no gzip file, or cut short.
        """
        base = await self.base.read(path, 0, self.base.window, match=match)
        try:
            stream = await opened(base, self.base.window)
            await stream.seek(start, stop)
        except BaseException:
            await finish(base.aclose())
            raise
        return stream

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        session = await self.base.begin(path, lease, match=match, metadata=metadata)
        return GzipSession(self, session, path, self._level)


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
