"""A file system over FastDFS: names through an index in another store, and the storages' own ids as they are."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiofs.backends.fastdfs.client.ids import FileId, check_group, looks_like_id
from aiofs.backends.fastdfs.images import Images
from aiofs.backends.fastdfs.index import IDENTITY, Index, Record, check_format, check_match, entry_of, label, read_label
from aiofs.backends.fastdfs.reading import FileStream, about
from aiofs.backends.fastdfs.sweeping import Recovery
from aiofs.backends.fastdfs.writing import AppenderSession, NamedSession
from aiofs.driver import MIB, Capabilities, Driver, Entry, Lease, Moves, ReadStream, WriteSession
from aiofs.errors import Conflict, Damaged, NotFound, Unavailable, Unsupported
from aiofs.kit import EndedSession, each
from aiofs.lifetimes import finish
from aiofs.locks import LockTable
from aiofs.names import is_reserved
from aiofs.powers import Appends
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from aiofs.backends.fastdfs.client.client import FastDFSClient
    from aiofs.driver import Leftover, Power


class Paths(WeakKeyDictionary[Lease, str]):
    """The paths that leases are for. What they call them is the index's affair: one in a folder adds that in front."""

    def __reduce__(self) -> tuple[type[Paths], tuple[()]]:
        """Pickle as none: what is held is held here."""
        return Paths, ()


class FastDFSDriver(Driver):
    """The storages choose the ids of files; the index leads from our names to those, and gives the locks.

    Without an index there are only ids. A path that has the form of an id always is one.
    """

    window: int | None = MIB

    def __init__(
        self, client: FastDFSClient, index: Driver | None, *, group: str | None = None, close_index: bool = False
    ) -> None:
        self.client = client
        self.group: str | None = None if group is None else check_group(group)
        self.images: Images = Images(self)
        self.recovery: Recovery = Recovery(self)
        self._index = None if index is None else Index(index)
        self._close_index = close_index
        self._locks = LockTable()
        self._paths = Paths()
        self.capabilities: Capabilities = capabilities_over(None if index is None else index.capabilities)

    @property
    def index(self) -> Index:
        """The index.

        :raises Unsupported: if there is none.
        """
        if self._index is None:
            raise Unsupported.of(None, "without an index there are no names, only ids")
        return self._index

    def check_name(self, path: str) -> None:
        """Refuse what the index cannot hold, and where there is none, what is no id."""
        if self._index is not None:
            self._index.driver.check_name(path)
        elif not looks_like_id(path):
            raise ValueError(f"{path!r} is no FastDFS file id, and there is no index that would lead to one")

    async def stat(self, path: str) -> Entry:
        """Describe the file. For a name that takes one look into the index, and no request to the storages."""
        if (own := self._keeper_of(path)) is not None:
            return await own.stat(path)
        if looks_like_id(path):
            return await self._describe(FileId.parse(path))
        return (await self.index.find(path)).entry(path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading."""
        if (own := self._keeper_of(path)) is not None:
            return await own.read(path, start, stop, match=match)
        if looks_like_id(path):
            return await self._read_id(FileId.parse(path), start, stop, match)
        record = await self.index.find(path)
        while True:
            check_match(path, record, match)
            stream = FileStream(self.client, str(record.file), record.entry(path))
            try:
                with about(path):
                    await stream.open(start, stop)
            except (NotFound, Unavailable) as error:
                newer = await self.index.find(path)  # the file may have been replaced between the two requests
                if newer.file == record.file:
                    if isinstance(error, Unavailable):
                        raise
                    reason = f"the index leads to {record.file}, which is not there: {error.strerror}"
                    raise Damaged.of(path, reason) from error
                record = newer
            else:
                return stream

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the name, or changes to an appender."""
        if (own := self._keeper_of(path)) is not None:
            return await own.begin(path, lease, match=match, metadata=metadata)
        if not looks_like_id(path):
            return NamedSession(self, path, lease, match, metadata)
        if not match or FileId.parse(path).kind != "appender":
            raise Unsupported.of(path, "the storages choose the ids; only appenders change, opened with a or r+")
        return AppenderSession(self, path, match)

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
                return EndedSession(self, path)  # it was published, and somebody removed it since
            await self._check_label(told, path, file)
        lease = await self.lock(path)
        return NamedSession.resumed(self, checked, lease)

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
        """Let one of the package's own files grow."""
        own = self._keeper_of(path)
        appends = None if own is None else own.offers(Appends)
        if appends is None:
            raise Unsupported.of(path, "files behind names cannot grow in place")
        await appends.append(path, data, durable=durable)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield the names of the index. Sizes would take a look at each."""
        async for entry in self.index.driver.list(prefix, after=after, delimiter=delimiter):
            if is_reserved(entry.path):
                if entry.path != IDENTITY:
                    yield entry
            else:
                yield Entry(entry.path)

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path, wherever the index does."""
        lease = self._locks.acquire(path) if self._index is None else await self._index.driver.lock(path)
        self._paths[lease] = path
        return lease

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Rename in the index; the file stays as it is."""
        moves = self.index.driver.offers(Moves)
        if moves is None or looks_like_id(source) or looks_like_id(target):
            raise Unsupported.of(source, "neither ids nor what an index without renames keeps can be renamed")
        moved = await self.index.find(source)
        await finish(self._rename(moves, source, target, leases, moved))
        return moved.entry(target)

    async def keep(self, path: str, tag: str) -> None:
        """Let the file stay when it is replaced or removed."""
        await self.images.keep(path, tag)

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open the file that stayed for reading."""
        record = await self.images.find(path, tag)
        stream = FileStream(self.client, str(record.file), record.entry(path))
        with about(path):
            await stream.open(0, None)
        return stream

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Let the path lead to the file that stayed."""
        return await self.images.restore(path, tag, lease, match)

    async def drop(self, path: str, tag: str) -> None:
        """Let the file that stayed go."""
        await self.images.drop(path, tag)

    def leftovers(self, prefix: str = "") -> AsyncIterator[Leftover]:
        """Yield files that were uploaded for a name that does not lead to them, and what the index's store left."""
        return self.recovery.leftovers(prefix)

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove a leftover unless it is live; return whether it is gone."""
        return await self.recovery.sweep(leftover)

    def offers(self, power: type[Power]) -> Power | None:
        """Offer what is about names only where there is an index, and what the index must do only if it does."""
        if self._index is None or (power in {Moves, Appends} and self._index.driver.offers(power) is None):
            return None
        return super().offers(power)

    async def aclose(self) -> None:
        """Close the connections to the cluster, and the index if it is ours."""
        await self.client.aclose()
        if self._close_index and self._index is not None:
            await self._index.driver.aclose()

    def __str__(self) -> str:
        return f"FastDFS({self.client}, index={self._index.driver if self._index else None})"

    def entry(self, path: str, file: str, metadata: Mapping[str, str]) -> Entry:
        """Describe a file that was just put behind a name."""
        return entry_of(path, FileId.parse(file), metadata)

    async def discard(self, file: str) -> None:
        """Remove a file that no name leads to any more, unless it is kept.

        Where that fails it is left over, until it is swept.
        """
        with suppress(OSError):
            if not await self.images.keeps(file):
                await self.client.delete(file)

    async def settle(self, path: str, file: str, replaced: str | None) -> None:
        """Remove a file whose publishing broke off, or the one it replaced if it was published after all.

        Where the index does not tell both stay: one of them is left over, until it is swept.
        """
        with suppress(OSError):
            record = await self.index.get(path)
            unwanted = file if record is None or str(record.file) != file else replaced
            if unwanted is not None:
                await self.discard(unwanted)

    def _keeper_of(self, path: str) -> Driver | None:
        """Return the index's store for the package's own files: they are small, and stay with the names."""
        return self._index.driver if self._index is not None and is_reserved(path) else None

    async def _check_label(self, told: Token, path: str, file: str) -> None:
        """Raise unless a file that is there was uploaded for this path: another one is not a journal's to publish.

        :raises Damaged: if it is another one.
        :raises Unavailable: if the storage that was asked does not tell what the file was uploaded for.
        """
        try:
            label = read_label(await self.client.metadata(file))
        except NotFound:
            return  # there is nothing to publish, or to remove
        if label is None:
            raise Unavailable.of(path, f"{file} was prepared for this path, but no storage says so yet")
        if (label.index, label.path) != (await self.index.known_identity(), path):
            raise told.wrong("version", f"{file} was uploaded for {label.path!r}")

    async def _describe(self, file: FileId) -> Entry:
        info = await self.client.info(str(file))
        version = str(file) if file.kind == "normal" else f"{info.size} bytes at {info.modified}"
        return Entry(str(file), info.size, datetime.fromtimestamp(info.modified, UTC), version)

    async def _read_id(self, file: FileId, start: int, stop: int | None, match: str | None) -> ReadStream:
        path = str(file)
        known = file.size is not None and start < (file.size if stop is None else min(stop, file.size))
        entry = entry_of(path, file) if known else await self._describe(file)
        if match not in {None, entry.version}:
            raise Conflict.of(path, "the file was changed meanwhile")
        stream = FileStream(self.client, path, entry)
        await stream.open(start, stop)
        return stream

    async def _file_behind(self, path: str, match: str | None, *, missing_ok: bool) -> str | None:
        """Return the id of what is to be removed, `None` if it is not there."""
        try:
            entry = await self.stat(path)
        except NotFound:
            if missing_ok:
                return None
            raise
        if match not in {None, entry.version}:
            raise Conflict.of(path, "the file was changed meanwhile")
        return path if looks_like_id(path) else entry.version or path

    async def _remove(self, files: Mapping[str, str], leases: Mapping[str, Lease]) -> None:
        """Remove paths, of which the files are known, for names from the index first."""
        names = [path for path in files if not looks_like_id(path)]
        if names:
            await self.index.driver.delete(names, leases=[leases[path] for path in names])

        async def remove(path: str) -> None:
            if looks_like_id(path):
                await self.client.delete(files[path])
            elif self._keeper_of(path) is None:
                await self.discard(files[path])

        await each(files, remove)

    async def _rename(self, moves: Moves, source: str, target: str, leases: tuple[Lease, Lease], moved: Record) -> None:
        replaced = await self.index.get(target)
        await moves.move(source, target, leases)
        if replaced is not None:
            await self.discard(str(replaced.file))
        with suppress(OSError):  # the label is only for the day when the index is lost
            await self.client.set_metadata(str(moved.file), label(await self.index.identity(), target, moved.metadata))


def capabilities_over(index: Capabilities | None) -> Capabilities:
    """Return what files behind an index can do: locks and conditions are the index's."""
    if index is None:
        return Capabilities(conditional=False, listed_sizes=False)
    return Capabilities(
        locks=index.locks,
        conditional=index.conditional,
        resume=True,
        metadata=True,
        listed_sizes=False,
        file_and_folder=index.file_and_folder,
        writable=index.writable,
    )
