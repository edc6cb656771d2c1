"""Reads of local descriptors: on the loop where the page cache has the bytes, in a worker thread elsewhere."""

from __future__ import annotations

import os

from aiofs.threads import hop


async def pread(fd: int, size: int, offset: int) -> bytes:
    """Up to `size` bytes of `fd` from `offset`; b"" only at the end of the file."""
    return await hop(os.pread, fd, size, offset)
