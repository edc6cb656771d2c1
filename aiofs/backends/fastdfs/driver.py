"""A file system over FastDFS: names through an index in another store, and the storages' own ids as they are."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiofs.backends.fastdfs.client.ids import FileId, check_group, looks_like_id
from aiofs.backends.fastdfs.index import Index, NamedFiles, Record, check_format, label
from aiofs.backends.fastdfs.listing import list_names
from aiofs.backends.fastdfs.reading import about, describe, open_record, read_id, read_named
from aiofs.backends.fastdfs.sweeping import FastDFSSweeper
from aiofs.backends.fastdfs.writing import AppenderSession, FastDFSSnapshots, NamedSession, check_prepared
from aiofs.driver import MIB, Capabilities, Driver, Entry, Lease, ReadStream, WriteSession
from aiofs.errors import NotFound, Unsupported
from aiofs.kit import EndedSession, check_match, each, keeper_url, store_url, without_defaults
from aiofs.lifetimes import finish
from aiofs.locks import LockTable
from aiofs.names import is_reserved
from aiofs.powers import Appends, Moves
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence

    from aiofs.backends.fastdfs.client.client import FastDFSClient
    from aiofs.driver import Power
    from aiofs.powers import Leftover


class LeasePaths(WeakKeyDictionary[Lease, str]):
    """The paths that leases lock. `Lease.path` is another one where the index is a folder of a store."""

    def __reduce__(self) -> tuple[type[LeasePaths], tuple[()]]:
        """Pickle as empty: locks belong to this process."""
        return LeasePaths, ()


_USUAL: dict[str, object] = {
    "address_map": {},
    "retired": [],
    "log_delay": 1.5,
    "token_ttl": 0,
    "connections": 16,
    "connect_timeout": 5,
    "network_timeout": 30,
    "pool_timeout": 60,
}


class FastDFSDriver(Driver):
    """The storages choose the ids of files; the index leads from names to ids, and gives the locks.

    Without an index there are only ids. A path that has the form of an id always is one.
    """

    window: int | None = MIB

    def __init__(
        self, client: FastDFSClient, index: Driver | None, *, group: str | None = None, close_index: bool = False
    ) -> None:
        self.client = client
        self.group: str | None = None if group is None else check_group(group)
        self._files = None if index is None else NamedFiles(client, Index(index), self.group)
        self._close_index = close_index
        self._locks = LockTable()
        self._paths = LeasePaths()
        self.capabilities: Capabilities = capabilities_over(None if index is None else index.capabilities)

    @property
    def files(self) -> NamedFiles:
        """The files with names.

        :raises Unsupported: if there is no index.
        """
        if self._files is None:
            raise Unsupported.of(None, "without an index there are no names, only ids")
        return self._files

    @property
    def index(self) -> Index:
        """The index. Raises as `files`."""
        return self.files.index

    @property
    def snapshots(self) -> FastDFSSnapshots:
        """The snapshots of files with names. Raises as `files`."""
        return FastDFSSnapshots(self.files)

    @property
    def sweeper(self) -> FastDFSSweeper:
        """What finds leftovers and rebuilds the index. Raises as `files`."""
        return FastDFSSweeper(self.files)

    def check_name(self, path: str) -> None:
        """Raise `ValueError` for a name that the index cannot hold, and without an index, for what is not an id."""
        if self._files is not None:
            self.index.driver.check_name(path)
        elif not looks_like_id(path):
            raise ValueError(f"{path!r} is not a FastDFS file id, and there is no index that knows names")

    async def stat(self, path: str) -> Entry:
        """Describe the file. For a name this reads the index, and asks the storages nothing."""
        if (own := self._keeper_of(path)) is not None:
            return await own.stat(path)
        if looks_like_id(path):
            return await describe(self.client, FileId.parse(path))
        return (await self.index.find(path)).entry(path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading."""
        if (own := self._keeper_of(path)) is not None:
            return await own.read(path, start, stop, match=match)
        if looks_like_id(path):
            return await read_id(self.client, FileId.parse(path), start, stop, match)
        return await read_named(self.files, path, start, stop, match)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the name, or changes to an appender."""
        if (own := self._keeper_of(path)) is not None:
            return await own.begin(path, lease, match=match, metadata=metadata)
        if not looks_like_id(path):
            return NamedSession(self.files, path, lease, match, metadata)
        file = FileId.parse(path)
        if not match or file.kind != "appender":
            raise Unsupported.of(path, "the storages choose the ids; only appenders change, opened with a or r+")
        return AppenderSession(self.client, file, match)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a file that was uploaded and is not in the index yet."""
        told = Token(token)
        check_format(told.path, "what was prepared for this file", token)
        path, file = told.path, told.text("version")
        checked = {**token, "match": told.text_or_none("match"), "metadata": told.texts("metadata")}
        if not looks_like_id(file):
            raise told.wrong("version", f"{file!r} is no file id")
        with about(path):
            if await self.index.get(path) is None and not await self.client.exists(file):
                return EndedSession(self, path)  # it was published, and removed since
            await check_prepared(self.files, told, path, file)
        lease = await self.lock(path)
        return NamedSession.resumed(self.files, checked, lease)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove names with their files, and files by their ids."""
        held = {self._paths[lease]: lease for lease in leases}
        ours: dict[str, Lease] = {}
        files: dict[str, str] = {}

        async def lock(path: str) -> None:
            ours[path] = await self.lock(path)

        async def look_up(path: str) -> None:
            file = await self._file_behind(path, match, missing_ok=missing_ok)
            if file is not None:
                files[path] = file

        try:
            await each(sorted(set(paths) - held.keys()), lock)
            await each(paths, look_up)
            await finish(self._remove(files, held | ours))
        finally:
            await finish(each(ours.values(), lambda lease: lease.release(), all_of_them=True))

    async def append(self, path: str, data: bytes, *, durable: bool) -> None:
        """Add to the end of one of the package's own files, which are files of the index."""
        own = self._keeper_of(path)
        appends = None if own is None else own.offers(Appends)
        if appends is None:
            raise Unsupported.of(path, "files behind names cannot grow in place")
        await appends.append(path, data, durable=durable)

    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield the names in the index, without sizes: each would take a request to the index."""
        return list_names(self.index, prefix, after, delimiter)

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path from the index; without one it holds in this process."""
        lease = self._locks.acquire(path) if self._files is None else await self.index.driver.lock(path)
        self._paths[lease] = path
        return lease

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Rename in the index; the file in the storages stays as it is."""
        moves = self.index.driver.offers(Moves)
        if moves is None or looks_like_id(source) or looks_like_id(target):
            raise Unsupported.of(source, "an id cannot be renamed, nor a name in an index that cannot rename")
        moved = await self.index.find(source)
        await finish(self._rename(moves, source, target, leases, moved))
        return moved.entry(target)

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file that the path leads to when it is replaced or removed."""
        await self.snapshots.keep(path, tag)

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open the file that was kept for reading."""
        return await open_record(self.client, path, await self.snapshots.find(path, tag))

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Let the path lead to the file that was kept."""
        return await self.snapshots.restore(path, tag, lease, match)

    async def drop(self, path: str, tag: str) -> None:
        """Forget the snapshot, and remove its file unless the path leads to it."""
        await self.snapshots.drop(path, tag)

    def leftovers(self, prefix: str = "") -> AsyncIterator[Leftover]:
        """Yield uploaded files whose name does not lead to them, and what the index's store left."""
        return self.sweeper.leftovers(prefix)

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove a leftover unless it is live; return whether it is gone."""
        return await self.sweeper.sweep(leftover)

    def offers(self, power: type[Power]) -> Power | None:
        """Offer powers about names only with an index, and those that the index exercises only if it has them."""
        if self._files is None or (power in {Moves, Appends} and self.index.driver.offers(power) is None):
            return None
        return super().offers(power)

    async def aclose(self) -> None:
        """Close the connections to the cluster, and the index with `close_index`."""
        await self.client.aclose()
        if self._close_index and self._files is not None:
            await self.index.driver.aclose()

    def address(self, folder: str) -> str:
        """Return the `fastdfs://` URL."""
        if self._files is None:
            raise Unsupported.of(None, f"{self} has no URL: it needs an index")
        if self.client.has_secret:
            raise Unsupported.of(None, f"{self} has no URL: a URL cannot have secret=")
        own = without_defaults(self.client.settings, {**_USUAL, "base_url": None})
        places = {"index": keeper_url(self.index.driver), "group": self.group, "prefix": folder or None}
        return store_url("fastdfs", self.client.name, "/", {**places, **own})

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the trackers and the index as the store, and the name in the index."""
        store, name = (None, path) if self._files is None else self.index.driver.locate(path)
        return ("fastdfs", repr(self.client), store), name

    def __str__(self) -> str:
        return f"FastDFS({self.client}, index={self.index.driver if self._files else None})"

    def _keeper_of(self, path: str) -> Driver | None:
        """Return the index's store for the package's own files: they are small, and stay beside the names."""
        return self.index.driver if self._files is not None and is_reserved(path) else None

    async def _file_behind(self, path: str, match: str | None, *, missing_ok: bool) -> str | None:
        """Return the id of what is to be removed, `None` if it is not there."""
        try:
            entry = await self.stat(path)
        except NotFound:
            if missing_ok:
                return None
            raise
        check_match(path, match, entry.version)
        return path if looks_like_id(path) else entry.version or path

    async def _remove(self, files: Mapping[str, str], leases: Mapping[str, Lease]) -> None:
        """Remove paths, whose files are known: all names from the index first, in one step."""
        names = [path for path in files if not looks_like_id(path)]
        if names:
            await self.index.driver.delete(names, leases=[leases[path] for path in names])

        async def remove(path: str) -> None:
            if looks_like_id(path):
                await self.client.delete(files[path])
            elif self._keeper_of(path) is None:
                await self.files.discard(files[path])

        await each(files, remove)

    async def _rename(self, moves: Moves, source: str, target: str, leases: tuple[Lease, Lease], moved: Record) -> None:
        replaced = await self.index.get(target)
        await moves.move(source, target, leases)
        if replaced is not None:
            await self.files.discard(str(replaced.file))
        with suppress(OSError):  # the label is only needed when the index is lost
            await self.client.set_metadata(str(moved.file), label(await self.index.identity(), target, moved.metadata))


def capabilities_over(index: Capabilities | None) -> Capabilities:
    """Return what files with names can do: locks and conditions are those of the index."""
    if index is None:
        return Capabilities(conditional=False, listed_sizes=False)
    return Capabilities(
        locks=index.locks,
        fences=index.fences,
        conditional=index.conditional,
        resume=True,
        metadata=True,
        listed_sizes=False,
        file_and_folder=index.file_and_folder,
        writable=index.writable,
    )
