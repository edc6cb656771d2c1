"""The formats of Checked and Encrypt, written again from docs/formats.md, in other words than the layers' own."""

from __future__ import annotations

import hashlib

BLOCK = 65536


def blocks_of(data: bytes, size: int) -> list[tuple[bytes, bytes, bytes]]:
    """Return each block with its number, of eight bytes, and the byte that says whether it is the last."""
    blocks = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    return [
        (block, number.to_bytes(8, "big"), b"\1" if number == len(blocks) - 1 else b"\0")
        for number, block in enumerate(blocks)
    ]


def checked_file(data: bytes, identity: bytes = bytes(24), size: int = BLOCK) -> bytes:
    """Return what Checked stores of a file."""
    header = b"\x89aiofsC\x01" + identity
    frames = (
        block + hashlib.sha256(header + number + last + block).digest() for block, number, last in blocks_of(data, size)
    )
    return header + b"".join(frames)
