"""The file systems by name: each puts `FileSystem` over a driver, and loads the driver's SDK when it is made.

Where stores have the same setting, it has the same name: `prefix`, `timeout`, `lease`, `part_size`, `locks`, `client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aiofs.driver import MIB
from aiofs.filesystem import FileSystem
from aiofs.layers.names import Prefix
from aiofs.lifetimes import Call
from aiofs.names import check_folder, under
from aiofs.partials import DAYS
from aiofs.system import FileLikeSystem

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping

    from azure.storage.blob.aio import ContainerClient
    from redis.asyncio import Redis, RedisCluster

    from aiofs.backends.azure.client import Credential as AzureCredential
    from aiofs.backends.s3.settings import Addressing, Checksum, Encryption, Locking, S3Keys
    from aiofs.driver import Driver, Part


class MemoryFileSystem(FileSystem):
    """Files in memory, one set per instance: for tests, caches and staging.

    `keep_partial` is for how many days `fsck` keeps a write that was begun with `partial=` and not finished.
    With `base_url` and `secret`, `url` signs URLs that a web server of yours serves (`aiofs.layers.SignedUrls`).
    """

    def __init__(
        self,
        *,
        keep_partial: float = DAYS,
        base_url: str | None = None,
        secret: str | bytes | Iterable[str | bytes] | None = None,
    ) -> None:
        from aiofs.backends.memory import MemoryDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(_signing(MemoryDriver(keep_partial=keep_partial), base_url, secret))


class OSFileSystem(FileSystem):
    """Files below the folder `root`, which is made at the first write. No name leads out of it.

    A file is on the disk when its handle was closed; with `durable=False` the operating system writes it later.
    Locks are the operating system's own, on files in the folder. On a network's file system such locks hold on one
    machine only, and aiofs warns: `locks="host"` says that only one machine writes, and `locks=fs` keeps the locks in
    another file system, which all machines share. It is closed together with this one only with `close_locks=True`.
    New files have the mode that the umask leaves, or `permissions`, such as `0o640`; other files keep theirs.
    `keep_partial` is for how many days `fsck` keeps a write that was begun with `partial=` and not finished.
    With `base_url` and `secret`, `url` signs URLs that a web server of yours serves (`aiofs.layers.SignedUrls`).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durable: bool = True,
        locks: Literal["host"] | FileLikeSystem | None = None,
        close_locks: bool = False,
        permissions: int | None = None,
        keep_partial: float = DAYS,
        base_url: str | None = None,
        secret: str | bytes | Iterable[str | bytes] | None = None,
    ) -> None:
        from aiofs.backends.osfiles import LeasedDriver, OSDriver  # noqa: PLC0415 -- loaded when used

        if isinstance(locks, str) and locks != "host":
            raise ValueError(f'locks={locks!r}: give "host", or a file system that keeps the locks')
        if locks is None or isinstance(locks, str):
            driver: Driver = OSDriver(
                root, durable=durable, locks=locks, permissions=permissions, keep_partial=keep_partial
            )
        else:
            keeper = _keeper(locks, 'None, "host", or a file system that keeps the locks')
            driver = LeasedDriver(root, keeper, durable=durable, close_keeper=close_locks, permissions=permissions)
        super().__init__(_signing(driver, base_url, secret))


class RedisFileSystem(FileSystem):
    """Files in Redis, Valkey or a cluster of them: `dir/file.bin` is the key `dir:file.bin`.

    Give a `url` (`redis://`, `rediss://` or `unix://`), or lend a `client` of redis-py, which is never closed.

    - `prefix` is a folder: only the files in it are seen, by their names in it.
    - `ttl` is for how many seconds each written file lives that is given no `ttl=` of its own; by default for ever.
    - `lease` is after how many seconds the lock of a dead writer ends, `timeout` how long an answer may take.
    - A file has at most 512 MiB. With `chunked`, a file of more than `chunk_size` bytes gets several keys, and other
      programs cannot read it as one value.
    - `replica`, a URL or a client, is asked first by mode r and `read_bytes`. It may lag; what it does not have, the
      first server is asked for.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = "",
        client: Redis | RedisCluster | None = None,
        ttl: float | None = None,
        lease: float = 30,
        timeout: float = 30,
        chunked: bool = False,
        chunk_size: int = 64 * MIB,
        replica: str | Redis | RedisCluster | None = None,
    ) -> None:
        from aiofs.backends.redis.driver import RedisDriver  # noqa: PLC0415 -- loaded when used, like every driver

        driver = RedisDriver(
            url,
            client,
            ttl=ttl,
            lease=lease,
            timeout=timeout,
            chunked=chunked,
            chunk_size=chunk_size,
            replica=replica,
        )
        super().__init__(_below(prefix, driver))


class S3FileSystem(FileSystem):
    """Files in a bucket of S3, or of a server with S3's interface at `endpoint_url`.

    - `prefix` is a folder: only the files in it are seen, by their names in it.
    - Credentials and region come from where AWS's own tools find them, or from `access_key`, `secret_key` and
      `session_token`, a `profile`, a `role_arn` to assume (with `role_session_name` and `external_id`), a callable
      `credentials`, or a `session` of aiobotocore. `client` lends a client of aiobotocore, which is never closed.
      `anonymous` signs nothing.
    - Locks are objects in the bucket, if the server's conditional writes can be trusted. `locks` keeps them in another
      file system, which is closed together with this one only with `close_locks=True`. `locking="commit"` locks only
      within this process, and finds conflicts when a file is published. `lease` is after how many seconds the lock of
      a dead writer ends.
    - Files are uploaded in parts of `part_size`, `parallel` of them at a time; `checksum` is what the server checks.
      `timeout` is for how many seconds a connection may be silent, `attempts` how often a request is tried.
    - New files get `content_type` (by default guessed from the name), `storage_class`, and `encryption` with `kms_key`,
      or `customer_key`, 32 bytes that the server uses and does not keep.
    - `addressing` puts the bucket into the "path" or the host name ("virtual"); `ca_bundle` is a file of certificates;
      `requester_pays` agrees to pay; `page_size` is how many names one request lists; `direct=False` sends all
      requests by the SDK. `keep_partial` is for how many days `fsck` keeps a write that was begun with `partial=` and
      not finished.
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
        session_token: str | None = None,
        profile: str | None = None,
        role_arn: str | None = None,
        role_session_name: str = "aiofs",
        external_id: str | None = None,
        credentials: Callable[[], S3Keys | Awaitable[S3Keys]] | None = None,
        session: Any = None,
        client: Any = None,
        anonymous: bool = False,
        requester_pays: bool = False,
        encryption: Encryption | None = None,
        kms_key: str | None = None,
        customer_key: bytes | None = None,
        addressing: Addressing | None = None,
        ca_bundle: str | None = None,
        locking: Locking = "lease",
        lease: float = 30,
        part_size: int = 8 * MIB,
        parallel: int = 4,
        page_size: int = 1000,
        content_type: str | None = None,
        storage_class: str | None = None,
        checksum: Checksum | None = None,
        timeout: float = 30,
        attempts: int = 6,
        direct: bool = True,
        keep_partial: float = DAYS,
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
            session_token=session_token,
            profile=profile,
            role_arn=role_arn,
            role_session_name=role_session_name,
            external_id=external_id,
            credentials=credentials,
            session=session,
            client=client,
            anonymous=anonymous,
            requester_pays=requester_pays,
            encryption=encryption,
            kms_key=kms_key,
            customer_key=customer_key,
            addressing=addressing,
            ca_bundle=ca_bundle,
            locking=locking,
            lease=lease,
            part_size=part_size,
            parallel=parallel,
            page_size=page_size,
            content_type=content_type,
            storage_class=storage_class,
            checksum=checksum,
            timeout=timeout,
            attempts=attempts,
            direct=direct,
            keep_partial=keep_partial,
        )
        keeper = None if locks is None else _keeper(locks, "None, or a file system that keeps the locks")
        super().__init__(S3Driver(chosen, keeper, close_locks=close_locks))


class AzureFileSystem(FileSystem):
    """Files in a container of Azure's blob storage, which must exist.

    - `prefix` is a folder: only the files in it are seen, by their names in it.
    - Give the `connection_string` of the account, or its `account_url` and a `credential` as the SDK takes it: the key,
      a SAS token, a credential of azure-identity, which you close yourself, or a function that makes one, which is
      called for each event loop. Without a credential, only public blobs can be read. `from_environment` finds them in
      the environment. Or lend a `client`, a `ContainerClient` of the SDK for this container, which is never closed.
    - `lease` is after how many seconds, 15 to 60, the lock of a dead writer ends, `timeout` how long an answer takes at
      most. Files are uploaded in parts of `part_size`, 1 to 100 MiB. `keep_partial` is for how many days, up to 7,
      `fsck` keeps a write that was begun with `partial=` and not finished.
    """

    def __init__(
        self,
        container: str,
        *,
        prefix: str = "",
        connection_string: str | None = None,
        account_url: str | None = None,
        credential: AzureCredential | None = None,
        client: ContainerClient | None = None,
        lease: int = 30,
        part_size: int = 8 * MIB,
        timeout: float = 60,
        keep_partial: float = DAYS,
    ) -> None:
        from aiofs.backends.azure.driver import AzureDriver  # noqa: PLC0415 -- loaded when used, like every driver

        driver = AzureDriver(
            container,
            connection_string=connection_string,
            account_url=account_url,
            credential=credential,
            client=client,
            lease=lease,
            part_size=part_size,
            timeout=timeout,
            keep_partial=keep_partial,
        )
        super().__init__(_below(prefix, driver))

    @classmethod
    def from_environment(
        cls,
        container: str,
        *,
        prefix: str = "",
        account_url: str | None = None,
        anonymous: bool = False,
        identity: bool = False,
        lease: int = 30,
        part_size: int = 8 * MIB,
        timeout: float = 60,
        keep_partial: float = DAYS,
    ) -> AzureFileSystem:
        """Return the files of a container; the environment names the account and the credential.

        The account is `account_url`, or else `AZURE_STORAGE_CONNECTION_STRING`, `AZURE_STORAGE_ACCOUNT_URL` or
        `AZURE_STORAGE_ACCOUNT`. The credential is `AZURE_STORAGE_KEY`, or `AZURE_STORAGE_SAS_TOKEN`, or what
        azure-identity finds if the environment names an identity (`AZURE_CLIENT_ID` and the like); without one, only
        public blobs can be read. `identity` always asks azure-identity, `anonymous` sends no credential.

        :raises ValueError: if the environment names no account, or if both `identity` and `anonymous` are given.
        :raises ImportError: if azure-identity is needed and not installed.
        """
        from aiofs.backends.azure.client import settings  # noqa: PLC0415 -- loaded when used, like every driver

        found = settings(account_url, anonymous=anonymous, identity=identity)
        own: dict[str, Any] = {"lease": lease, "part_size": part_size, "timeout": timeout, "keep_partial": keep_partial}
        return cls(container, prefix=prefix, **found, **own)


class FastDFSFileSystem(FileSystem):
    """Files in a FastDFS cluster. `trackers` are addresses, `host:port`.

    - FastDFS chooses the names of files itself. `index`, another file system, keeps the names that you choose, and the
      locks. It should hold nothing else, and is closed together with this one only with `close_index=True`.
    - The ids that FastDFS chooses, `group1/M00/...`, can be read, described and removed like names; the modes a and r+
      change an appender file in place. With `index=None` there are only ids.
    - `prefix` is a folder of the index: only the files in it are seen, by their names in it, and by their ids.
    - New files go to `group`; by default the trackers choose one.
    - `address_map` says where the storages are for this client, if the trackers see them elsewhere. `retired` names
      storages that are gone for good. `log_delay` is for how many seconds a new file may be missing from the storages'
      own lists. `base_url`, `secret` and `token_ttl` are for `url`.
    - `connect_timeout`, `network_timeout` (without any progress) and `pool_timeout` (until one of the `connections` to
      a server is free) are in seconds, and have the names that FastDFS' own configuration files give them.
    """

    def __init__(
        self,
        trackers: str | Iterable[str],
        *,
        index: FileLikeSystem | None,
        prefix: str = "",
        group: str | None = None,
        close_index: bool = False,
        address_map: Mapping[str, str] | None = None,
        retired: Iterable[str] = (),
        log_delay: float = 1.5,
        base_url: str | None = None,
        secret: str | None = None,
        token_ttl: float = 0,
        connect_timeout: float = 5,
        network_timeout: float = 30,
        pool_timeout: float = 60,
        connections: int = 16,
    ) -> None:
        from aiofs.backends.fastdfs import FastDFSClient  # noqa: PLC0415 -- loaded when used, like every driver
        from aiofs.backends.fastdfs.driver import FastDFSDriver  # noqa: PLC0415

        self._fastdfs = FastDFSDriver(
            FastDFSClient(
                trackers,
                address_map=address_map,
                retired=retired,
                log_delay=log_delay,
                base_url=base_url,
                secret=secret,
                token_ttl=token_ttl,
                connect_timeout=connect_timeout,
                network_timeout=network_timeout,
                pool_timeout=pool_timeout,
                connections=connections,
            ),
            None if index is None else index.over().driver,
            group=group,
            close_index=close_index,
        )
        super().__init__(_below(prefix, self._fastdfs))

    async def create(
        self, data: Part | AsyncIterable[Part], size: int | None = None, *, suffix: str = "", appender: bool = False
    ) -> str:
        """Store a file without a name and return its id, which can be opened like a name.

        If `data` is an iterable, give its `size`. A file that is an `appender` can be changed later.

        :raises ValueError: if the storages cannot keep `suffix`, up to 6 letters and digits behind a dot.
        """
        self._check_open()
        client, extension = self._fastdfs.client, suffix.removeprefix(".")
        with Call(self._calls):
            return await client.upload(data, size, extension=extension, group=self._fastdfs.group, appender=appender)

    async def rebuild_index(self, identity: str | None = None) -> int:
        """Put the names that are in the labels of files into the index again; return how many it did not have.

        This asks every storage for all its files, and reads the label of each. If several indexes have files in the
        cluster, `identity` says which of them was lost.

        :raises ValueError: if several indexes have files and `identity` is not given; it names them.
        :raises Unavailable: if a storage cannot be asked. The index is not changed then.
        """
        self._check_open()
        with Call(self._calls):
            return await self._fastdfs.sweeper.rebuild_index(identity)


def _signing(driver: Driver, base_url: str | None, secret: str | bytes | Iterable[str | bytes] | None) -> Driver:
    """Return the driver, which signs URLs if there is a key.

    :raises ValueError: for one of both alone.
    """
    if base_url is None and secret is None:
        return driver
    if base_url is None or secret is None:
        raise ValueError("base_url= and secret= go together: give both, or none")
    from aiofs.layers.signing import SignedUrls  # noqa: PLC0415 -- a layer, loaded when used

    return SignedUrls(base_url, secret).bind(driver)


def _below(prefix: str, driver: Driver) -> Driver:
    """Return the folder `prefix` of the driver, or the driver itself without a prefix."""
    folder = check_folder(prefix)
    return Prefix(under(folder)).bind(driver) if folder else driver


def _keeper(locks: object, taken: str) -> Driver:
    """Return the driver of the file system that keeps the locks.

    :raises TypeError: if it is none, saying what is taken.
    """
    if not isinstance(locks, FileLikeSystem):
        raise TypeError(f"locks= takes {taken}, not an object of type {type(locks).__name__!r}")
    return locks.over().driver
