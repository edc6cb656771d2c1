"""The file systems by name: each a driver with the portable side over it. A driver's SDK is loaded when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aiofs.driver import MIB
from aiofs.filesystem import FileSystem
from aiofs.lifetimes import Call
from aiofs.names import check_folder, under
from aiofs.system import FileLikeSystem

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Iterable
    from typing import Unpack

    from redis.asyncio import Redis, RedisCluster

    from aiofs.backends.azure.client import Credential as AzureCredential
    from aiofs.backends.fastdfs import ClientOptions
    from aiofs.backends.s3.settings import S3Options
    from aiofs.driver import Driver, Part


class MemoryFileSystem(FileSystem):
    """Files in memory, one set per instance: for tests, caches and staging."""

    def __init__(self) -> None:
        from aiofs.backends.memory import MemoryDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(MemoryDriver())


class OSFileSystem(FileSystem):
    """Files below the folder `root`, which no name leaves. Made at the first write if it is not there.

    Every published file is on the disk before its handle is closed, unless `durable=False` leaves that to the system.
    Locks are the system's own, of files in the folder. Those of a network's file system hold on one machine at best, so
    that the first of them warns there: `locks="host"` says that only one machine writes, and `locks` takes another file
    system, the same on all machines, to keep them (closed with this one only if `close_locks`).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durable: bool = True,
        locks: Literal["host"] | FileLikeSystem | None = None,
        close_locks: bool = False,
    ) -> None:
        from aiofs.backends.osfiles import LeasedDriver, OSDriver  # noqa: PLC0415 -- loaded when used

        if isinstance(locks, str) and locks != "host":
            raise ValueError(f'locks={locks!r}: give "host", or a file system that keeps the locks')
        if locks is None or isinstance(locks, str):
            super().__init__(OSDriver(root, durable=durable, locks=locks))
        else:
            keeper = _keeper(locks, 'None, "host", or a file system that keeps the locks')
            super().__init__(LeasedDriver(root, keeper, durable=durable, close_keeper=close_locks))


class RedisFileSystem(FileSystem):
    """Files in Redis, Valkey or a cluster of them: `dir/file.bin` is the key `dir:file.bin`.

    Give the URL (`redis://`, `rediss://` or `unix://`) or lend a client of redis-py's, which is never closed.
    `ttl` is how many seconds every file written lives, `lease` after how many the lock of a dead writer is free,
    `timeout` how many an answer may take. A file has 512 MiB at most; with `chunked`, one of more than `chunk_size`
    bytes gets several keys, which other programs cannot read as one value. `replica`, a URL or a client too, is where
    mode r and `read_bytes` look first; it may lag, and what it has not is asked of the first.
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
        replica: str | Redis | RedisCluster | None = None,
    ) -> None:
        from aiofs.backends.redis.driver import RedisDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(
            RedisDriver(
                url,
                client,
                ttl=ttl,
                lease=lease,
                timeout=timeout,
                chunked=chunked,
                chunk_size=chunk_size,
                replica=replica,
            )
        )


class S3FileSystem(FileSystem):
    """Files in a bucket of S3, or of a store that speaks its language at `endpoint_url`, below `prefix`.

    Without keys, credentials and region come from where AWS's own tools find them. Locks are objects in the bucket,
    for stores whose conditional writes can be trusted; `locks` takes another file system to keep them, which is closed
    with this one only if `close_locks`, and `locking="commit"` has none beyond this process and finds conflicts when a
    file is published. The other settings are those of `aiofs.backends.s3.settings.Settings`.
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
        close_locks: bool = False,
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
        keeper = None if locks is None else _keeper(locks, "None, or a file system that keeps the locks")
        super().__init__(S3Driver(chosen, keeper, close_locks=close_locks))


class AzureFileSystem(FileSystem):
    """Files in a container of Azure's blob storage, which is there already.

    Give the `connection_string` of the account, or its `account_url` and a `credential` as the SDK takes it: the key, a
    SAS token, a credential of azure-identity, which stays yours to close, or a function that makes one, which is called
    for each event loop; none reads what is public. `from_environment` finds them there. `lease` is after how many
    seconds, 15 to 60, the lock of a dead writer is free, `timeout` how many an answer may take.
    """

    def __init__(
        self,
        container: str,
        *,
        connection_string: str | None = None,
        account_url: str | None = None,
        credential: AzureCredential | None = None,
        lease: int = 30,
        timeout: float = 60,
    ) -> None:
        from aiofs.backends.azure.driver import AzureDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(
            AzureDriver(
                container,
                connection_string=connection_string,
                account_url=account_url,
                credential=credential,
                lease=lease,
                timeout=timeout,
            )
        )

    @classmethod
    def from_environment(
        cls,
        container: str,
        *,
        account_url: str | None = None,
        anonymous: bool = False,
        identity: bool = False,
        lease: int = 30,
        timeout: float = 60,
    ) -> AzureFileSystem:
        """Return the files of a container of the account, and with the credentials, that the environment names.

        The account: `account_url`, else `AZURE_STORAGE_CONNECTION_STRING`, `AZURE_STORAGE_ACCOUNT_URL` or
        `AZURE_STORAGE_ACCOUNT`. The credential: `AZURE_STORAGE_KEY`, `AZURE_STORAGE_SAS_TOKEN`, or what azure-identity
        finds where the environment tells of an identity (`AZURE_CLIENT_ID` and its like), or none, which reads what is
        public. With `identity`, azure-identity is always asked; with `anonymous`, no credential is shown.

        :raises ValueError: if the environment names no account, or for both.
        :raises ImportError: if azure-identity is needed and not installed.
        """
        from aiofs.backends.azure.client import settings  # noqa: PLC0415 -- loaded when used, like every driver

        return cls(
            container, **settings(account_url, anonymous=anonymous, identity=identity), lease=lease, timeout=timeout
        )


class FastDFSFileSystem(FileSystem):
    """Files in a FastDFS cluster. `trackers` are addresses, `host:port`.

    The storages choose how files are called, so the names are kept in `index`, any other file system, which also
    gives the locks; it should hold nothing else, and is closed with this one only if `close_index`. Ids of files,
    `group1/M00/...`, can be read, described and removed like names, and those of appenders changed in place with the
    modes a and r+: that is all there is with `index=None`.

    New files go to `group`, by default to whichever the trackers choose. The other settings are those of
    `aiofs.backends.fastdfs.FastDFSClient`.
    """

    def __init__(
        self,
        trackers: str | Iterable[str],
        *,
        index: FileLikeSystem | None,
        group: str | None = None,
        close_index: bool = False,
        **settings: Unpack[ClientOptions],
    ) -> None:
        from aiofs.backends.fastdfs import FastDFSClient  # noqa: PLC0415 -- loaded when used, like every driver
        from aiofs.backends.fastdfs.driver import FastDFSDriver  # noqa: PLC0415

        self._fastdfs = FastDFSDriver(
            FastDFSClient(trackers, **settings),
            None if index is None else index.over().driver,
            group=group,
            close_index=close_index,
        )
        super().__init__(self._fastdfs)

    async def create(
        self, data: Part | AsyncIterable[Part], size: int | None = None, *, suffix: str = "", appender: bool = False
    ) -> str:
        """Store a file without a name and return its id, which can be opened like one.

        `size` must be given where `data` is an iterable. An `appender` can be changed later.

        :raises ValueError: if the storages cannot keep `suffix`, up to 6 letters and digits behind a dot.
        """
        self._check_open()
        client, extension = self._fastdfs.client, suffix.removeprefix(".")
        with Call(self._calls):
            return await client.upload(data, size, extension=extension, group=self._fastdfs.group, appender=appender)

    async def rebuild_index(self, identity: str | None = None) -> int:
        """Give the names that were lost with the index back to the files that bear them; return how many.

        This asks every storage for all its files, and looks at each. Where several indexes have files in the cluster,
        `identity` says which of them was lost.

        :raises ValueError: if that is needed, naming them.
        """
        self._check_open()
        with Call(self._calls):
            return await self._fastdfs.recovery.rebuild(identity)


def _keeper(locks: object, taken: str) -> Driver:
    """Return the driver of the file system that keeps the locks.

    :raises TypeError: if it is none, saying what is taken.
    """
    if not isinstance(locks, FileLikeSystem):
        raise TypeError(f"locks= takes {taken}, not an object of type {type(locks).__name__!r}")
    return locks.over().driver
