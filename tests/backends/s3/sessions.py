"""Sessions below the handles, for tests of what becomes of them, and the server as other programs see it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiofs.stores import S3FileSystem
    from servers.moto import S3Server


async def fed(fs: S3FileSystem, data: bytes) -> Any:
    """Begin a write, and return its session with `data` in it."""
    lease = await fs.driver.lock("file")
    session = await fs.driver.begin("file", lease)
    await session.write(data)
    return session


async def by_client(server: S3Server, operation: str, **parameters: Any) -> Any:
    """Ask the server as another program does."""

    def ask() -> Any:
        client = server.client()
        try:
            answer = getattr(client, operation)(Bucket=server.bucket, **parameters)
            if "Body" in answer:
                answer["Body"] = answer["Body"].read()
            return answer
        finally:
            client.close()

    return await asyncio.to_thread(ask)


async def put(server: S3Server, key: str, data: bytes) -> None:
    """Write an object as another program does."""
    await by_client(server, "put_object", Key=key, Body=data)


async def keys(server: S3Server, prefix: str = ".aiofs-locks/") -> list[str]:
    """Return the keys that another program sees in the bucket: by default, those of lock objects."""
    found = await by_client(server, "list_objects_v2", Prefix=prefix)
    return [each["Key"] for each in found.get("Contents", [])]


async def keep_versions(server: S3Server) -> None:
    """Switch versioning on."""
    await by_client(server, "put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
