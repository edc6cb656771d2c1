"""Gzip: files compressed in the base, as gunzip reads them, and still read from anywhere.

The layer writes a gzip file with an index. Each block of the file is a gzip member of its own, which its extra field
marks. After the blocks come empty members, which gunzip ignores: the extra fields of the first ones are the index, the
compressed sizes of the blocks. The last one, the summary, has a fixed size and says how large the blocks, the file and
the index are.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from aiofs.errors import Damaged
from aiofs.layers.codecs import Codec, DecodedStream, ExactReader, PartWriter, with_end
from aiofs.layers.forward import ForwardedStream
from aiofs.layers.mapped import MappedSession
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.driver import Entry, Part, ReadStream, WriteSession

BLOCK = 1 << 16
"""How many bytes a member holds; the last one holds the rest."""

# Magic, deflate, extra field; no time and no operating system, so that the same bytes always compress to the same.
_HEADER = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
_FIELD = struct.Struct("<2sH")
_SIZE = struct.Struct("<H")
_CHECKS = struct.Struct("<II")
_MARK, _INDEX, _SUMMARY = b"aB", b"aI", b"aS"
_EMPTY = b"\x03\0" + _CHECKS.pack(0, 0)
_TOTALS = struct.Struct("<IQQI")
_NUMBER = struct.Struct("<I")
_PER_MEMBER = 16_000
_LARGEST_BLOCK = 1 << 24
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


def _start(mark: bytes, payload: bytes = b"") -> bytes:
    extra = _FIELD.pack(mark, len(payload)) + payload
    return _HEADER + _SIZE.pack(len(extra)) + extra


_BLOCK_START = _start(_MARK)
_SUMMARY_START = _start(_SUMMARY, bytes(_TOTALS.size + _NUMBER.size))[: -(_TOTALS.size + _NUMBER.size)]
SUMMARY_SIZE = len(_SUMMARY_START) + _TOTALS.size + _NUMBER.size + len(_EMPTY)
HEAD_SIZE = len(_BLOCK_START)


def is_ours(head: bytes) -> bool:
    """Return whether a file that begins with `head` was written in blocks, so that it must end with a summary."""
    return head.startswith(_BLOCK_START)


def compress(data: bytes | bytearray | memoryview, level: int) -> list[bytes]:
    """Return the compressed members of `data`, one for each block."""
    members = []
    for start in range(0, len(data), BLOCK):
        block = data[start : start + BLOCK]
        body = zlib.compress(block, level, -zlib.MAX_WBITS)
        members.append(_BLOCK_START + body + _CHECKS.pack(zlib.crc32(block), len(block)))
    return members


def decompress(members: bytes, sizes: Sequence[int], most: int) -> bytes:
    """Return the decompressed bytes of members that lie one after another, with these compressed sizes.

    Each of them holds `most` bytes or fewer.

    :raises zlib.error: if one of them is damaged.
    """
    blocks = []
    start = 0
    for size in sizes:
        block = zlib.decompressobj(zlib.MAX_WBITS | 16)
        blocks.append(block.decompress(memoryview(members)[start : start + size], most + 1))
        if not block.eof or block.unused_data:
            raise zlib.error("a block does not end where the index says")
        start += size
    return b"".join(blocks)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the last member says: the sizes of a block, of the file and of the index, and the checksum of the index."""

    block: int
    size: int
    index_size: int
    index_checksum: int

    @classmethod
    def read(cls, tail: bytes) -> Summary | None:
        """Return the summary at the end of `tail`, if there is one."""
        member = tail[-SUMMARY_SIZE:]
        totals = member[len(_SUMMARY_START) : len(_SUMMARY_START) + _TOTALS.size]
        if len(member) < SUMMARY_SIZE or member != _SUMMARY_START + totals + _checksum(totals) + _EMPTY:
            return None
        summary = cls(*_TOTALS.unpack(totals))
        return summary if 0 < summary.block <= _LARGEST_BLOCK else None

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.size // self.block)

    def index(self, members: bytes) -> list[int]:
        """Return where each block begins in the compressed file, and at last where the last block ends.

        :raises ValueError: if `members`, the bytes of the index, are damaged.
        """
        if zlib.crc32(members) != self.index_checksum:
            raise ValueError("its checksum is wrong")
        payload = bytearray()
        start = len(_HEADER) + _SIZE.size
        while start < len(members):
            extra = _SIZE.unpack_from(members, start - _SIZE.size)[0]
            payload += members[start + _FIELD.size : start + extra]
            start += extra + len(_EMPTY) + len(_HEADER) + _SIZE.size
        if len(payload) != self.blocks * _NUMBER.size:
            raise ValueError("it has another number of blocks than the file")
        return list(accumulate((size for (size,) in _NUMBER.iter_unpack(payload)), initial=0))


def ending(sizes: Sequence[int], size: int) -> bytes:
    """Return the members after the blocks: the index, of their compressed `sizes`, and the summary."""
    index = b"".join(
        _start(_INDEX, struct.pack(f"<{len(some)}I", *some)) + _EMPTY
        for some in (sizes[start : start + _PER_MEMBER] for start in range(0, len(sizes), _PER_MEMBER))
    )
    totals = _TOTALS.pack(BLOCK, size, len(index), zlib.crc32(index))
    return index + _SUMMARY_START + totals + _checksum(totals) + _EMPTY


def _checksum(data: bytes) -> bytes:
    return _NUMBER.pack(zlib.crc32(data))


class GzipMembers:
    """Decompresses any gzip file, piece by piece, from its start."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._some = False
        self._rest = b""

    @property
    def midway(self) -> bool:
        """Whether a file that ends here was cut short."""
        return self._member is not None or not self._some

    @property
    def hungry(self) -> bool:
        """Whether `inflate` needs more compressed bytes to return anything."""
        return not self._rest

    def inflate(self, data: bytes, most: int) -> bytes:
        """Add the next compressed bytes, and return up to `most` decompressed bytes.

        :raises zlib.error: if the bytes are damaged, or not gzip.
        """
        rest = self._rest + data
        pieces: list[bytes] = []
        while most > 0:
            if self._member is None:
                rest = rest.lstrip(b"\0") if self._some else rest
                if not rest:
                    break
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                self._some = True
            piece = self._member.decompress(rest, most)
            pieces.append(piece)
            most -= len(piece)
            if self._member.eof:
                rest = self._member.unused_data
                self._member = None
            else:
                rest = self._member.unconsumed_tail
                if not rest:
                    break
        self._rest = rest
        return b"".join(pieces)


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

    async def decoded(self, base: ReadStream, asked: int | None) -> ReadStream:
        return await opened(base, asked)

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


class BlockStream(DecodedStream):
    """Reads a file with an index: finds the blocks by it, and checks each block before it returns its bytes."""

    def __init__(self, base: ReadStream, summary: Summary, base_size: int, tail: bytes) -> None:
        super().__init__(base, summary.size)
        self._summary = summary
        self._index_stop = base_size - SUMMARY_SIZE
        self._tail = tail
        self._index: list[int] = []

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
