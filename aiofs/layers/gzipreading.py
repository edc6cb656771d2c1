"""The two ways to read a gzip file: from anywhere, where it has an index, and from its start."""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from aiofs.errors import Damaged
from aiofs.layers.forward import ForwardedStream, Taker, with_end
from aiofs.layers.gzipformat import HEAD_SIZE, SUMMARY_SIZE, Members, Summary, decompress, is_ours
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.driver import ReadStream

TAIL = 1 << 13
"""How much is read for the summary: the index of a file of up to some 100 MiB comes with it."""
RAW = 1 << 16
MOST = 1 << 18
SMALL = 1 << 14
"""Up to so many bytes, a thread costs more than the work."""
FEW_BLOCKS = 16
_MAGIC = b"\x1f\x8b"


async def opened(base: ReadStream, window: int | None) -> ReadStream:
    """Return what decompresses `base`, of which the first `window` bytes were asked for.

    :raises Damaged: if it is no gzip file, or cut short.
    """
    size = base.entry.size
    if size is None:
        return PlainStream(base)
    base, tail = await with_end(base, window, TAIL)
    summary = Summary.read(tail)
    if summary is not None:
        return BlockStream(base, summary, size, tail)
    taker = Taker(base)
    await taker.seek(0, HEAD_SIZE)
    head = await taker.take(HEAD_SIZE)
    if is_ours(head):
        raise damaged(base, "its end, with the index, is missing or damaged")
    if not head.startswith(_MAGIC):
        raise damaged(base, "it is no gzip file")
    return PlainStream(base)


class BlockStream(ForwardedStream):
    """Reads whole blocks, found by the index, and hands out nothing that was not checked."""

    def __init__(self, base: ReadStream, summary: Summary, base_size: int, tail: bytes) -> None:
        super().__init__(base, replace(base.entry, size=summary.size))
        self._taker = Taker(base)
        self._summary = summary
        self._size = summary.size
        self._index_stop = base_size - SUMMARY_SIZE
        self._tail = tail
        self._index: list[int] = []
        self._at = 0
        self._stop = self._size
        self._moved = True

    async def chunk(self, want: int) -> bytes:
        """Return what is left of the block at the position, and the blocks behind it, about `want` bytes."""
        if self._at >= self._stop:
            return b""
        block = self._summary.block
        index = self._index or await self._load_index()
        first, behind = self._at // block, -(-self._stop // block)
        last = min(behind, max(first + 1, -(-(self._at + want) // block)), first + FEW_BLOCKS)
        moved, self._moved = self._moved, True  # until all went well
        if moved:
            await self._taker.seek(index[first], index[behind])
        members = await self._taker.take(index[last] - index[first])
        sizes = [stop - start for start, stop in pairwise(index[first : last + 1])]
        data = await self._decompress(members, sizes, first)
        start, self._at = self._at, min(last * block, self._stop)
        self._moved = False
        return data[start - first * block : self._at - first * block]

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on with that range; the request waits for the next `chunk`."""
        self._at = start
        self._stop = self._size if stop is None else min(stop, self._size)
        self._moved = True

    async def _decompress(self, members: bytes, sizes: Sequence[int], first: int) -> bytes:
        block = self._summary.block
        try:
            if len(members) <= SMALL:
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
            await self._taker.seek(self._index_stop - size, self._index_stop)
            members = await self._taker.take(size)
        try:
            self._index = self._summary.index(members)
        except ValueError as error:
            raise damaged(self.base, f"its index cannot be used: {error}") from error
        return self._index


class PlainStream(ForwardedStream):
    """Reads a file without an index: forwards, from the start."""

    def __init__(self, base: ReadStream) -> None:
        super().__init__(base, replace(base.entry, size=None))
        self._members = Members()
        self._position: int | None = None  # of what comes out next; None: not even begun
        self._at = 0
        self._stop: int | None = None

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes, after decompressing all before them."""
        if self._stop is not None:
            want = min(want, self._stop - self._at)
            if want <= 0:
                return b""
        position = await self._begin() if self._position is None or self._position > self._at else self._position
        self._position = None  # until all went well
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
        """Go on with that range; the next `chunk` decompresses its way to it."""
        self._at, self._stop = start, stop

    async def _begin(self) -> int:
        await self.base.seek(0)
        self._members = Members()
        return 0

    async def _inflate(self, raw: bytes, most: int) -> bytes:
        try:
            if most <= SMALL:
                return self._members.inflate(raw, most)
            return await hop(self._members.inflate, raw, most)
        except zlib.error as error:
            raise damaged(self.base, str(error)) from error


def damaged(base: ReadStream, reason: str) -> Damaged:
    """Return the error that names the file."""
    return Damaged.of(base.entry.path, f"gzip: {reason}")
