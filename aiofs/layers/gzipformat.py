"""The format that Gzip writes: a gzip file with an index, so that it can be read from the middle.

Each block of the file is a gzip member of its own, which its extra field marks. After the blocks come empty members,
which gunzip ignores: the extra fields of the first ones are the index, the compressed sizes of the blocks. The last
one, the summary, has a fixed size and says how large the blocks, the file and the index are.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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
