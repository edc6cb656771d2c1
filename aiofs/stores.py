"""The file systems by name: each a driver with the portable side over it. A driver's SDK is loaded when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.driver import MIB
from aiofs.filesystem import FileSystem
from aiofs.paths import check_folder, under

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from redis.asyncio import Redis, RedisCluster

    from aiofs.backends.s3.settings import S3Options
    from aiofs.system import FileLikeSystem


class MemoryFileSystem(FileSystem):
    """Files in memory, one set per instance: for tests, caches and staging."""

    def __init__(self) -> None:
        from aiofs.backends.memory import MemoryDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(MemoryDriver())


class OSFileSystem(FileSystem):
    """Files below the folder `root`, which no name leaves. Made at the first write if it is not there.

    Every published file is on the disk before its handle is closed, unless `durable=False` leaves that to the system.
    """

    def __init__(self, root: str | os.PathLike[str], *, durable: bool = True) -> None:
        from aiofs.backends.osfiles import OSDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(OSDriver(root, durable=durable))


class RedisFileSystem(FileSystem):
    """Files in Redis, Valkey or a cluster of them: `dir/file.bin` is the key `dir:file.bin`.

    Give the URL (`redis://`, `rediss://` or `unix://`) or lend a client of redis-py's, which is never closed.
    `ttl` is how many seconds every file written lives, `lease` after how many the lock of a dead writer is free,
    `timeout` how many an answer may take. A file has 512 MiB at most; with `chunked`, one of more than `chunk_size`
    bytes gets several keys, which other programs cannot read as one value.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | RedisCluster | None = None,
        ttl: float | None = None,
        lease: float = 30,
        timeout: float = 30,
        chunked: bool = False,
        chunk_size: int = 64 * MIB,
    ) -> None:
        from aiofs.backends.redis.driver import RedisDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(
            RedisDriver(
                url, client, ttl=ttl, lease=lease, timeout=timeout, chunked=chunked, chunk_size=chunk_size
            )
        )


class S3FileSystem(FileSystem):
    """Files in a bucket of S3, or of a store that speaks its language at `endpoint_url`, below `prefix`.

    Without keys, credentials and region come from where AWS's own tools find them. Locks are objects in the bucket,
    for stores whose conditional writes can be trusted; `locks` takes another file system to keep them, and
    `locking="commit"` has none beyond this process and finds conflicts when a file is published. The other settings
    are those of `aiofs.backends.s3.settings.Settings`.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        region: str | None = None,
        locks: FileLikeSystem | None = None,
        **settings: Unpack[S3Options],
    ) -> None:
        from aiofs.backends.s3.driver import S3Driver  # noqa: PLC0415 -- loaded when used, like every driver
        from aiofs.backends.s3.settings import Settings  # noqa: PLC0415

        chosen = Settings(
            bucket=bucket,
            prefix=under(check_folder(prefix)),
            endpoint_url=endpoint_url,
            access_key=access_key,
            secret_key=secret_key,
            region=region,
            **settings,
        )
        super().__init__(S3Driver(chosen, None if locks is None else locks.over().driver))
