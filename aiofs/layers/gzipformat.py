"""A gzip file that can be read from the middle: members of one block each, then an index that gunzip takes for nothing.

Every block is a member of its own, marked in its extra field. Behind the blocks come empty members: some whose extra
fields hold the compressed sizes of the blocks, and a last one of known size that says how much there is of everything.
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
"""How many bytes a member holds, the last one excepted."""

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
    """Whether a file that begins so was written in blocks, so that a summary must be at its end."""
    return head.startswith(_BLOCK_START)


def compress(data: bytes | bytearray | memoryview, level: int) -> list[bytes]:
    """Return the members of `data`, one for each block."""
    members = []
    for start in range(0, len(data), BLOCK):
        block = data[start : start + BLOCK]
        body = zlib.compress(block, level, -zlib.MAX_WBITS)
        members.append(_BLOCK_START + body + _CHECKS.pack(zlib.crc32(block), len(block)))
    return members


def decompress(members: bytes, sizes: Sequence[int], most: int) -> bytes:
    """Return the blocks, of `most` bytes each, of consecutive members of these compressed sizes.

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
    """What the last member says: the size of a block, of all bytes, and of the index, with the index's checksum."""

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
        """How many blocks there are."""
        return -(-self.size // self.block)

    def index(self, members: bytes) -> list[int]:
        """Return where each block begins in the file and, at the end, where the last one ends.

        :raises ValueError: if `members` is not the index.
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
            raise ValueError("it is not of as many blocks as there are")
        return list(accumulate((size for (size,) in _NUMBER.iter_unpack(payload)), initial=0))


def ending(sizes: Sequence[int], size: int) -> bytes:
    """Return the members behind the blocks: the index of their compressed `sizes`, and the summary."""
    index = b"".join(
        _start(_INDEX, struct.pack(f"<{len(some)}I", *some)) + _EMPTY
        for some in (sizes[start : start + _PER_MEMBER] for start in range(0, len(sizes), _PER_MEMBER))
    )
    totals = _TOTALS.pack(BLOCK, size, len(index), zlib.crc32(index))
    return index + _SUMMARY_START + totals + _checksum(totals) + _EMPTY


def _checksum(data: bytes) -> bytes:
    return _NUMBER.pack(zlib.crc32(data))


class Members:
    """Decompresses the members of any gzip file, bytes in and bytes out."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._some = False
        self._rest = b""

    @property
    def midway(self) -> bool:
        """Whether the file cannot end here."""
        return self._member is not None or not self._some

    @property
    def hungry(self) -> bool:
        """Whether nothing more comes out without more going in."""
        return not self._rest

    def inflate(self, data: bytes, most: int) -> bytes:
        """Take the next compressed bytes and return what comes out of all that was taken, `most` bytes of it.

        :raises zlib.error: if they are damaged, or no gzip at all.
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
