"""Gzip: files compressed in the base, as gunzip reads them, and still read from anywhere."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from aiofs.errors import Damaged
from aiofs.layers.codecs import Codec, ExactReader, PartWriter, with_end
from aiofs.layers.forward import ForwardedStream
from aiofs.layers.gzipformat import (
    BLOCK,
    HEAD_SIZE,
    SUMMARY_SIZE,
    GzipMembers,
    Summary,
    compress,
    decompress,
    ending,
    is_ours,
)
from aiofs.layers.mapped import MappedSession
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.driver import Entry, Part, ReadStream, WriteSession

TAIL = 1 << 13
"""How many bytes at the end are read to find the summary. The index of a file of up to about 100 MiB is in them too."""
RAW = 1 << 16
"""How many compressed bytes are read at a time where there is no index."""
MOST = 1 << 18
"""How many bytes are decompressed at a time where there is no index."""
SMALL_TO_DECOMPRESS = 1 << 14
"""Up to this size, a hop to a thread costs more than decompressing."""
FEW_BLOCKS = 16
"""How many blocks one `chunk` decompresses at most."""
_MAGIC = b"\x1f\x8b"
RUN = 4 * BLOCK
"""How many bytes one thread compresses, while other threads compress the next ones."""
SMALL_TO_COMPRESS = 1 << 13
"""Up to this size, a hop to a thread costs more than compressing."""


class Gzip(Codec):
    """Compresses what is written, block by block, and decompresses only the blocks that are read.

    Files that other programs compressed can be read too, but their size is unknown, and seeking in them decompresses
    from the start.

    :raises ValueError: for a `level` that is not 0 to 9.
    """

    encoded_at_once = 16 * BLOCK

    def __init__(self, level: int = 6) -> None:
        if level not in range(10):
            raise ValueError(f"level {level!r}: use 0 (none) to 9 (most)")
        self._level = level

    async def decoded(self, base: ReadStream) -> ReadStream:
        return await opened(base, self.base.window)

    def encoded(self, base: WriteSession, path: str) -> WriteSession:
        return GzipSession(self, base, path, self._level)


class GzipSession(MappedSession):
    """Compresses each part, and writes the index after the last one."""

    def __init__(self, layer: Gzip, base: WriteSession, path: str, level: int) -> None:
        super().__init__(layer, base, path)
        self._parts = PartWriter(base, layer.base.part_size)
        self._level = level
        self._sizes: list[int] = []
        self._size = 0
        self._ended = False

    async def write(self, part: Part) -> None:
        if len(part) <= SMALL_TO_COMPRESS:
            members = compress(part, self._level)
        else:
            runs = (memoryview(part)[start : start + RUN] for start in range(0, len(part), RUN))
            together = await asyncio.gather(*(hop(compress, run, self._level) for run in runs))
            members = [member for run in together for member in run]
        self._size += len(part)
        self._sizes += map(len, members)
        await self._parts.write(b"".join(members))

    async def prepare(self) -> dict[str, Any]:
        await self._end()
        return await super().prepare()

    async def commit(self) -> Entry:
        await self._end()
        return replace(await super().commit(), size=self._size)

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            await self._parts.write(ending(self._sizes, self._size))
            await self._parts.flush()


async def opened(base: ReadStream, window: int | None) -> ReadStream:
    """Return the stream that decompresses `base`. The first request asked for `window` bytes of it.

    :raises Damaged: if it is not a gzip file, or was cut short.
    """
    size = base.entry.size
    if size is None:
        return PlainStream(base)
    base, tail = await with_end(base, window, TAIL)
    summary = Summary.read(tail)
    if summary is not None:
        return BlockStream(base, summary, size, tail)
    reader = ExactReader(base)
    await reader.seek(0, HEAD_SIZE)
    head = await reader.read(HEAD_SIZE)
    if is_ours(head):
        raise damaged(base, "its end, with the index, is missing or damaged")
    if not head.startswith(_MAGIC):
        raise damaged(base, "it is not a gzip file")
    return PlainStream(base)


class BlockStream(ForwardedStream):
    """Reads a file with an index: finds the blocks by it, and checks each block before it returns its bytes."""

    def __init__(self, base: ReadStream, summary: Summary, base_size: int, tail: bytes) -> None:
        super().__init__(base, replace(base.entry, size=summary.size))
        self._reader = ExactReader(base)
        self._summary = summary
        self._size = summary.size
        self._index_stop = base_size - SUMMARY_SIZE
        self._tail = tail
        self._index: list[int] = []
        self._at = 0
        self._stop = self._size
        self._seek_first = True

    async def chunk(self, want: int) -> bytes:
        """Return the rest of the block at the position and the following blocks, about `want` bytes."""
        if self._at >= self._stop:
            return b""
        block = self._summary.block
        index = self._index or await self._load_index()
        first, behind = self._at // block, -(-self._stop // block)
        last = min(behind, max(first + 1, -(-(self._at + want) // block)), first + FEW_BLOCKS)
        seek_first, self._seek_first = self._seek_first, True  # stays so if this fails
        if seek_first:
            await self._reader.seek(index[first], index[behind])
        members = await self._reader.read(index[last] - index[first])
        sizes = [stop - start for start, stop in pairwise(index[first : last + 1])]
        data = await self._decompress(members, sizes, first)
        start, self._at = self._at, min(last * block, self._stop)
        self._seek_first = False
        return data[start - first * block : self._at - first * block]

    async def seek(self, start: int, stop: int | None = None) -> None:
        self._at = start
        self._stop = self._size if stop is None else min(stop, self._size)
        self._seek_first = True

    async def _decompress(self, members: bytes, sizes: Sequence[int], first: int) -> bytes:
        block = self._summary.block
        try:
            if len(members) <= SMALL_TO_DECOMPRESS:
                data = decompress(members, sizes, block)
            else:
                data = await hop(decompress, members, sizes, block)
        except zlib.error as error:
            raise damaged(self.base, str(error)) from error
        if len(data) != min((first + len(sizes)) * block, self._size) - first * block:
            raise damaged(self.base, "a block is longer or shorter than the others")
        return data

    async def _load_index(self) -> list[int]:
        size = self._summary.index_size
        members = self._tail[-SUMMARY_SIZE - size : -SUMMARY_SIZE]
        if len(members) < size:
            await self._reader.seek(self._index_stop - size, self._index_stop)
            members = await self._reader.read(size)
        try:
            self._index = self._summary.index(members)
        except ValueError as error:
            raise damaged(self.base, f"its index cannot be used: {error}") from error
        return self._index


class PlainStream(ForwardedStream):
    """Reads a file without an index, from its start. Seeking back begins at the start again."""

    def __init__(self, base: ReadStream) -> None:
        super().__init__(base, replace(base.entry, size=None))
        self._members = GzipMembers()
        self._position: int | None = None  # of the next decompressed byte; None: begin at the start
        self._at = 0
        self._stop: int | None = None

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes; all bytes before them are decompressed first."""
        if self._stop is not None:
            want = min(want, self._stop - self._at)
            if want <= 0:
                return b""
        position = await self._begin() if self._position is None or self._position > self._at else self._position
        self._position = None  # stays so if this fails
        while True:
            skip = self._at - position
            raw = await self.base.chunk(RAW) if self._members.hungry else b""
            ended = self._members.hungry and not raw
            data = await self._inflate(raw, min(MOST, skip + max(want, 1)))
            position += len(data)
            if ended and not data and self._members.midway:
                raise damaged(self.base, "it is cut short")
            if len(data) > skip or (ended and not data):
                self._position, self._at = position, max(position, self._at)
                return data[skip:]

    async def seek(self, start: int, stop: int | None = None) -> None:
        self._at, self._stop = start, stop

    async def _begin(self) -> int:
        await self.base.seek(0)
        self._members = GzipMembers()
        return 0

    async def _inflate(self, raw: bytes, most: int) -> bytes:
        try:
            if most <= SMALL_TO_DECOMPRESS:
                return self._members.inflate(raw, most)
            return await hop(self._members.inflate, raw, most)
        except zlib.error as error:
            raise damaged(self.base, str(error)) from error


def damaged(base: ReadStream, reason: str) -> Damaged:
    """Return the error for the file of `base`."""
    return Damaged.of(base.entry.path, f"gzip: {reason}")
