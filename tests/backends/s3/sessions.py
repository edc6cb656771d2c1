"""Sessions below the handles, for tests of what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiofs.stores import S3FileSystem


async def fed(fs: S3FileSystem, data: bytes) -> Any:
    """Begin a write, and return its session with `data` in it."""
    lease = await fs.driver.lock("file")
    session = await fs.driver.begin("file", lease)
    await session.write(data)
    return session
