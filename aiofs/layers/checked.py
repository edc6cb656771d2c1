"""Checked: files stored in blocks with a digest each, so that bytes that were changed or mixed up are not returned.

The digest of a block is also about the header, which is another one in each version of a file, about the number of the
block, and about whether it is the last. So blocks of another version or file, or at another place, are found too.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from aiofs import clock
from aiofs.layers.blocks import Blocks, Seal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiofs.driver import Part

_ID_SIZE = 24


class Checked(Blocks):
    """Stores a digest with every 64 KiB of a file, and checks the bytes that are read before it returns them.

    Bytes that were changed, cut off or mixed up with those of another version raise `Damaged`. A range costs no more
    than its blocks. It finds accidents, not forgers, who can compute digests as well.
    """

    magic = b"\x89aiofsC"
    header_size = 32
    overhead = 32

    async def new_seal(self) -> Seal:
        return Digests(self.magic + b"\1" + bytes.fromhex(clock.token(_ID_SIZE)))

    async def seal_of(self, path: str, header: bytes) -> Seal:
        return Digests(header)


class Digests(Seal):
    """Puts a SHA-256 behind each block: of the header, the block's number, whether it is the last, and its bytes."""

    def __init__(self, header: bytes) -> None:
        self.header: bytes = header
        self._begun = hashlib.sha256(header)

    def seal(self, number: int, block: Part, *, last: bool) -> Iterable[Part]:
        return block, self._digest(number, block, last=last)

    def unseal(self, number: int, frame: memoryview, *, last: bool) -> Part:
        block = frame[: -Checked.overhead]
        if not hmac.compare_digest(frame[-Checked.overhead :], self._digest(number, block, last=last)):
            raise ValueError("its digest is wrong")
        return block

    def _digest(self, number: int, block: Part, *, last: bool) -> bytes:
        digest = self._begun.copy()
        digest.update(number.to_bytes(8) + bytes([last]))
        digest.update(block)
        return digest.digest()
