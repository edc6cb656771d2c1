"""The client: every request that trackers and storages answer, as a method."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, Unpack

from aiofs.backends.fastdfs.client import wire
from aiofs.backends.fastdfs.client.answers import Address, FileInfo
from aiofs.backends.fastdfs.client.cluster import Storages, Trackers, store_file
from aiofs.backends.fastdfs.client.connections import Network
from aiofs.backends.fastdfs.client.errors import ProtocolError
from aiofs.backends.fastdfs.client.ids import (
    FileId,
    check_appender,
    check_extension,
    check_group,
    check_metadata,
    check_offset,
    check_prefix,
    check_store_path,
)
from aiofs.backends.fastdfs.client.settings import ClientOptions, LimitOptions, Limits, Links, read_conf
from aiofs.backends.fastdfs.client.transfers import Download, Payload, begin, logged_names
from aiofs.errors import Damaged, NotAccepted, NotFound, Unavailable, Unsupported
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping
    from os import PathLike

    from aiofs.backends.fastdfs.client.answers import GroupInfo, LoggedName, StorageInfo, StoragePlace
    from aiofs.backends.fastdfs.client.cluster import GroupMembers
    from aiofs.backends.fastdfs.client.transfers import Data, Link, Source

TRACKER_PORT = 22122
STORAGE_PORT = 23000


class FastDFSClient:
    """An asyncio client for one FastDFS cluster, versions 5.12 to 6.16.

    `trackers` are addresses, `host:port` or `host`. `address_map` maps the addresses by which the trackers know the
    storages to those that this client must use, with or without port. `retired` names storages, by id or address, that
    are gone for good: a file of theirs that no other storage of the group has does not exist then. For `log_delay`
    seconds a new file may be missing in the log of names, which storages write about once a second. `url` uses
    `base_url`, `secret` and `token_ttl`. The other options, timeouts and the number of connections, are those of
    `Limits`.

    Files have ids, `group1/M00/...`, which the storages choose. A *normal* file never changes; an *appender* can be
    appended to, modified and truncated in place, by one writer at a time: none of that is atomic, and an
    `append` that breaks removes what others appended meanwhile; a *slave* has an id that begins like its master's.

    Methods raise the errors of `aiofs.errors`, with the id as `filename`. Each event loop has its own connections,
    which end with it; `async with` or `aclose` closes those of all loops, and the client.

    >>> async with FastDFSClient("tracker1:22122") as client:
    ...     file = await client.upload(b"hello", extension="txt")
    ...     data = await client.read(file)
    """

    def __init__(
        self,
        trackers: str | Iterable[str],
        *,
        address_map: Mapping[str, str] | None = None,
        retired: Iterable[str] = (),
        log_delay: float = 1.5,
        base_url: str | None = None,
        secret: str | None = None,
        token_ttl: float = 0,
        **limits: Unpack[LimitOptions],
    ) -> None:
        retired = [retired] if isinstance(retired, str) else list(retired)
        named = [trackers] if isinstance(trackers, str) else trackers
        addresses = [Address.parse(tracker, TRACKER_PORT) for tracker in named]
        if not addresses:
            raise ValueError("a client needs at least one tracker")
        self._network = Network(Limits(**limits))
        self._trackers = Trackers(addresses, self._network)
        self._storages = Storages(self._trackers, self._network, address_map or {}, retired)
        self.members: GroupMembers = self._storages.members
        """The storages of each group, and which of them are retired."""
        if not log_delay >= 0:
            raise ValueError(f"log_delay must be 0 or more seconds, not {log_delay!r}")
        self.log_delay: float = log_delay
        self._links = Links(base_url, secret, token_ttl)
        self.settings: dict[str, object] = {
            "address_map": dict(address_map or {}),
            "retired": sorted(retired),
            "log_delay": log_delay,
            "base_url": base_url,
            "token_ttl": token_ttl,
            **limits,
        }
        """What the client was given, but for its secret."""
        self.has_secret: bool = secret is not None
        self._name = ",".join(map(str, addresses))

    @classmethod
    def from_conf(cls, path: str | PathLike[str], **options: Unpack[ClientOptions]) -> Self:
        """Make a client from a `client.conf` of FastDFS: its trackers, timeouts, and the settings of tokens in URLs.

        `options` override it. Settings of other programs are ignored. The file is read at once: call this before the
        event loop runs, or in a thread.

        :raises OSError: if the file, or one that it includes, cannot be read.
        :raises ValueError: if it names no tracker, or a value cannot be read.
        """
        settings: dict[str, Any] = {**read_conf(path), **options}
        return cls(**settings)

    @property
    def name(self) -> str:
        """The addresses of the trackers."""
        return self._name

    def __repr__(self) -> str:
        return f"<FastDFSClient {self._name}>"

    # Files

    async def upload(
        self,
        data: Source,
        size: int | None = None,
        *,
        extension: str = "",
        group: str | None = None,
        appender: bool = False,
        metadata: Mapping[str, str] | None = None,
        store_path_index: int | None = None,
    ) -> str:
        """Store a new file and return its id. Others can read it only when all bytes are stored.

        `data` is bytes, an asynchronous iterable of them, or a function that returns one; `size` is needed except for
        bytes. If a storage fails, the file goes to another one, but the bytes of an iterable cannot be sent again. The
        size and the checksum in the id of a normal file are compared with what was sent.

        `store_path_index` is the number of the storage's path for the file; by default the tracker chooses it.
        `metadata` takes a second request; if that fails, the file is removed again.

        :raises Unavailable: if no storage of the group is up.
        :raises NoSpace: if none has space.
        :raises Damaged: if the storage received other bytes.
        """
        payload = Payload(data, size)
        check_extension(extension)
        check_metadata(metadata or {})
        check_store_path(store_path_index)
        stored = await store_file(
            self._trackers,
            self._storages,
            group if group is None else check_group(group),
            lambda path_index: wire.upload(
                path_index if store_path_index is None else store_path_index,
                payload.size,
                extension,
                appender=appender,
            ),
            payload,
        )
        file = FileId.parse(stored)
        if not appender and (file.size, file.crc32) != (payload.size, payload.crc32):
            why = ProtocolError(
                f"{file.size} bytes with checksum {file.crc32}, not {payload.size} with {payload.crc32}"
            )
            raise Damaged.of(stored, f"{file.source} received other bytes than were sent") from why
        if metadata:
            await self._describe(stored, metadata)
        return stored

    async def upload_slave(
        self,
        master: str,
        prefix: str,
        data: Data | AsyncIterable[Data],
        size: int | None = None,
        *,
        extension: str = "",
    ) -> str:
        """Store a file whose id is the master's without its extension, then `prefix` and `extension`; return that id.

        It stays when the master is removed.

        :raises NotFound: if there is no such master.
        :raises AlreadyExists: if there is such a slave already.
        """
        file, payload = FileId.parse(master), Payload(data, size)
        request = wire.upload_slave(file, check_prefix(prefix), payload.size, check_extension(extension))
        return await self._storages.ask(file, request, payload)

    async def append(self, file_id: str, data: Data | AsyncIterable[Data], size: int | None = None) -> None:
        """Add bytes to the end of an appender.

        :raises Unsupported: if it is not an appender.
        """
        file, payload = check_appender(file_id), Payload(data, size)
        if payload.size:
            await self._storages.ask(file, wire.append(file, payload.size), payload)

    async def modify(
        self, file_id: str, offset: int, data: Data | AsyncIterable[Data], size: int | None = None
    ) -> None:
        """Overwrite bytes of an appender from `offset` on, also past its end. `offset` itself must not be past the end.

        :raises Unsupported: if it is not an appender.
        """
        file, payload = check_appender(file_id), Payload(data, size)
        check_offset(offset)
        if payload.size:
            await self._storages.ask(file, wire.modify(file, offset, payload.size), payload)

    async def truncate(self, file_id: str, size: int) -> None:
        """Cut an appender to `size` bytes, or extend it with zeros.

        :raises Unsupported: if it is not an appender.
        """
        file = check_appender(file_id)
        await self._storages.ask(file, wire.truncate(file, check_offset(size)))

    async def regenerate(self, file_id: str, *, patience: float | None = None) -> str:
        """Make a normal file of an appender and return its new id. The old id and the metadata are gone then.

        The storage reads the whole file before it answers: it may take `patience` seconds, by default
        `network_timeout`.

        :raises Unsupported: if it is not an appender, or the servers are older than 6.02.
        """
        file = check_appender(file_id)
        try:
            return await self._storages.ask(file, wire.regenerate(file), patience=patience)
        except NotAccepted as error:
            reason = f"these servers cannot make a normal file of an appender: {error.strerror}"
            raise Unsupported.of(file_id, reason) from error

    async def download(
        self, file_id: str, start: int = 0, stop: int | None = None, *, size: int | None = None
    ) -> Download:
        """Begin to read the bytes from `start` to `stop`, clipped to the file.

        With `size`, which must be right, a request is saved. The checksum of a normal file is checked if all of it is
        read.

        :raises NotFound: if there is no such file.
        """
        file = FileId.parse(file_id)
        check_offset(start)
        check_offset(stop or 0)
        if size is None and start == 0 and stop is None and file.size:
            download = await self._begin_download(file, 0, 0)
            if download.size == file.size:
                return download
            download.abandon()  # the id tells another size: it may be that of a slave
        if size is None:
            size = (await self.info(file_id)).size
        stop = size if stop is None else min(stop, size)
        if start >= stop:
            return Download(file)
        return await self._begin_download(file, start, stop - start)

    async def read(self, file_id: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from `start` to `stop`, clipped to the file. Raises as `download`."""
        return await (await self.download(file_id, start, stop)).read()

    async def delete(self, file_id: str) -> None:
        """Remove a file and its metadata.

        :raises NotFound: if there is no such file.
        """
        file = FileId.parse(file_id)
        await self._storages.ask(file, wire.delete(file))

    async def info(self, file_id: str, *, checksum: bool = False, patience: float | None = None) -> FileInfo:
        """Ask the storage that made a file for its size, age and, with `checksum`, its CRC-32.

        For the checksum the storage reads all of an appender or a slave, which may take `patience` seconds. The id of a
        normal file tells it.

        :raises NotFound: if there is no such file.
        """
        file = FileId.parse(file_id)
        told = await self._storages.ask(file, wire.query_info(file, checksum=checksum), patience=patience)
        return told if checksum else FileInfo(told.size, told.modified, file.crc32, told.source)

    async def exists(self, file_id: str) -> bool:
        """Whether the storage that made a file still has it."""
        try:
            await self.info(file_id)
        except NotFound:
            return False
        return True

    async def metadata(self, file_id: str) -> dict[str, str]:
        """Return a file's metadata.

        :raises NotFound: if there is no such file.
        """
        file = FileId.parse(file_id)
        try:
            return await self._storages.ask(file, wire.get_metadata(file))
        except NotFound:
            await self.info(file_id)  # servers answer the same for a file without metadata
            return {}

    async def set_metadata(self, file_id: str, metadata: Mapping[str, str], *, merge: bool = False) -> None:
        """Replace a file's metadata, or with `merge` only the given keys.

        :raises NotFound: if there is no such file.
        :raises ValueError: if servers would not keep a key or a value: keys have at most 64 bytes, values 256, and none
            of the characters 0 to 2.
        """
        file = FileId.parse(file_id)
        await self._storages.ask(file, wire.set_metadata(file, check_metadata(metadata), merge=merge))

    def url(self, file_id: str, *, secret: str | None = None, ttl: float | None = None) -> str:
        """Return the URL of a file behind the web servers of the cluster. This makes no request.

        It begins with the client's `base_url`, by default `http://` and the address of the storage that made the file.
        With a `secret`, by default the client's, it ends with a token and the time of the token, which the web servers
        check (`http.anti_steal` in their configuration). They accept it for their own `token_ttl` seconds from that
        time on. The time is now, or with `ttl` such that the URL is valid for `ttl` seconds from now; for that the
        client needs the `token_ttl` of the web servers.

        :raises ValueError: if `ttl` is given without a secret, or the id does not tell the address of a storage and
            there is no `base_url`.
        """
        return self._links.url(FileId.parse(file_id), secret, ttl)

    # The cluster

    async def query_store(self, group: str | None = None) -> StoragePlace:
        """Ask for a storage that takes a new file."""
        return await self._trackers.ask(wire.query_store(_checked(group)), group)

    async def query_store_all(self, group: str | None = None) -> list[StoragePlace]:
        """Ask for all storages of a group that take new files."""
        return await self._trackers.ask(wire.query_store_all(_checked(group)), group)

    async def query_fetch(self, file_id: str) -> StoragePlace:
        """Ask for a storage to read a file from. Trackers do not know whether the file exists."""
        file = FileId.parse(file_id)
        return await self._trackers.ask(wire.query_fetch(file), file.group)

    async def query_fetch_all(self, file_id: str) -> list[StoragePlace]:
        """Ask for all storages to read a file from."""
        file = FileId.parse(file_id)
        return await self._trackers.ask(wire.query_fetch_all(file), file.group)

    async def query_update(self, file_id: str) -> StoragePlace:
        """Ask for the storage where a file can be changed."""
        file = FileId.parse(file_id)
        return await self._trackers.ask(wire.query_update(file), file.group)

    async def groups(self) -> list[GroupInfo]:
        """List the groups."""
        return await self._trackers.ask(wire.list_groups())

    async def group(self, name: str) -> GroupInfo:
        """Describe one group."""
        return await self._trackers.ask(wire.list_group(check_group(name)), name)

    async def storages(self, group: str, storage: str = "") -> list[StorageInfo]:
        """List the storages of a group, or the one with this id."""
        return await self._trackers.ask(wire.list_storages(check_group(group), storage), group)

    async def names(self, group: str, path_index: int = 0, *, storage: str | None = None) -> AsyncIterator[LoggedName]:
        """Yield the log of the files that a storage has on one of its paths, by default any storage that is up.

        FastDFS has no other listing. Storages use it to restore a disk: it reads the whole log of a storage, lacks the
        files of the last second, and has names only. Lines whose name ends with `-m` are about metadata.
        """
        if storage is None:
            known = await self.members.of(group)
            active = [member.address for member in known if member.is_up]
            if not active:
                states = ", ".join(f"{member.address} is {member.state}" for member in known)
                raise Unavailable.of(None, f"group {group!r} has no storage that is up: {states}")
            address = active[0]
        else:
            address = Address.parse(storage, STORAGE_PORT)
        async for logged in logged_names(self._storages.server_at(address), group, path_index):
            yield logged

    async def active_test(self, server: str) -> None:
        """Ask a tracker or storage, `host:port`, whether it answers.

        :raises Unreachable: if it does not.
        """
        await self._storages.use(Address.parse(server, STORAGE_PORT), lambda reached: reached.call(wire.active_test()))

    async def aclose(self) -> None:
        """Close all connections; requests under way fail. Harmless when done twice."""
        await self._network.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    async def _describe(self, stored: str, metadata: Mapping[str, str]) -> None:
        """Give a new file its metadata, or remove it."""
        try:
            await self.set_metadata(stored, metadata)
        except BaseException:
            with suppress(OSError):
                await finish(self.delete(stored))
            raise

    async def _begin_download(self, file: FileId, start: int, length: int) -> Download:
        if file.kind != "normal":
            return Download(
                file, start, await self._storages.at_source(file, lambda server: begin(server, file, start, length))
            )

        async def ask(start: int, length: int, without: Collection[Address] = ()) -> Link:
            return await self._storages.anywhere(file, lambda server: begin(server, file, start, length), without)

        return Download(file, start, await ask(start, length), ask)


def _checked(group: str | None) -> str | None:
    return None if group is None else check_group(group)
