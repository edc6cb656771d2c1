"""Files in memory: the smallest store that keeps every promise, and so the reference for the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from aiofs import clock
from aiofs.driver import ABSENT, Capabilities, Driver, Entry, Lease, Part, PartialSession, ReadStream, WriteSession
from aiofs.errors import NotFound
from aiofs.kit import BytesStream, EndedSession, check_match, folded
from aiofs.locks import LockTable, locked, next_number
from aiofs.names import lock_of_path
from aiofs.partials import DAYS, KIND, check_days, id_in, partial_gone, partial_taken, token_of, why_kept
from aiofs.powers import Leftover, ServerFacts
from aiofs.properties import DESCRIPTIONS
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import datetime

STORE = "memory"


class Stored(NamedTuple):
    """One version of a file."""

    entry: Entry
    data: bytes


class PreparedWrite(NamedTuple):
    """A prepared write or removal, which waits for the decision of its transaction."""

    version: str
    fence: str
    match: str | None
    metadata: Mapping[str, str] | None
    data: bytes
    removal: bool


@dataclass(slots=True)
class KeptWrite:
    """A partial write: its first `size` bytes are safe. Each session that continues it makes a new one."""

    path: str
    metadata: Mapping[str, str] | None
    data: bytearray
    size: int
    modified: datetime


class MemoryFiles:
    """What a store in memory keeps, as a disk would: files, prepared and partial writes, before-images, but no locks.

    After a crash of all processes a disk has its files and nobody has a lock. A new driver with the same files is in
    that state: `MemoryDriver(driver.files)`.
    """

    def __init__(self) -> None:
        self.stored: dict[str, Stored] = {}
        self.prepared: dict[str, PreparedWrite] = {}
        self.partial: dict[str, KeptWrite] = {}
        """The partial writes, by their ids."""
        self.images: dict[tuple[str, str], Stored] = {}
        """The before-images, by path and tag."""
        self.last_number: int | None = None
        """The number of the last lock with a name that was taken; one for all of them."""


class MemoryDriver(Driver):
    """Files in memory: those of `files`, locked in the table `locks`; new ones by default."""

    capabilities: Capabilities = Capabilities(
        fences=True,
        resume=True,
        holds=True,
        pinned=True,
        rewrite=True,
        partial=True,
        metadata=True,
        certain=True,
        properties=DESCRIPTIONS - {"storage_class"},
    )

    def __init__(
        self, files: MemoryFiles | None = None, locks: LockTable | None = None, *, keep_partial: float = DAYS
    ) -> None:
        self.files: MemoryFiles = MemoryFiles() if files is None else files
        self.locks: LockTable = LockTable() if locks is None else locks
        self._days = check_days(keep_partial)

    async def stat(self, path: str) -> Entry:
        """Describe the file."""
        return self._find(path).entry

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading."""
        stored = self._find(path)
        if match is not None:
            self._check_match(path, match)
        return BytesStream(stored.entry, stored.data, start, stop)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        return MemorySession(self, path, lease, match, metadata)

    async def begin_removal(self, path: str, lease: Lease, *, match: str) -> WriteSession:
        """Begin to remove the file."""
        return MemoryRemoval(self, path, lease, match, None)

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        """Begin a write that can be continued in this process, also when its handle was abandoned."""
        return MemoryPartial(self, path, lease, match, metadata, clock.token())

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        """Continue it with a copy of the bytes, which the earlier session does not have."""
        identity = id_in(token, STORE, path)
        kept = self.files.partial.get(identity)
        if kept is None or kept.path != path:
            raise partial_gone(path)
        session = MemoryPartial(self, path, lease, match, kept.metadata, identity)
        session.continue_from(kept)
        return session

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared write; one that was published or aborted meanwhile does nothing more."""
        path = Token(token).path
        prepared = self.files.prepared.get(path)
        version = token.get("removal") or token.get("version")
        if prepared is None or (version != prepared.version if version else token.get("fence") != prepared.fence):
            return EndedSession(self, path)
        kind = MemoryRemoval if prepared.removal else MemorySession
        lease = self.locks.acquire(path)
        return kind(self, path, lease, prepared.match, prepared.metadata, prepared=prepared)

    async def probe(self, removed: Sequence[str]) -> ServerFacts:
        """Return what memory does."""
        del removed
        return {"durable": False, "ordered": True, "keeps_versions": False}

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files."""
        for path in paths:
            self.locks.refuse(path, leases)
            self._refuse_prepared(path, leases)
            if path not in self.files.stored:
                if not missing_ok:
                    raise NotFound.of(path)
            elif match is not None:
                self._check_match(path, match)
        for path in paths:
            self.files.stored.pop(path, None)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield the files that there were when the listing began, and still are."""
        paths = [path for path in sorted(self.files.stored) if path.startswith(prefix)]
        there = (stored.entry for path in paths if (stored := self.files.stored.get(path)) is not None)
        for entry in folded(there, prefix, after, delimiter):
            yield entry

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path."""
        lease = self.locks.acquire(path)
        try:
            self._refuse_prepared(path)
        except BaseException:
            lease.abandon()
            raise
        if lock_of_path(path) is not None:
            lease.number = self.files.last_number = next_number(self.files.last_number)
        return lease

    def keeper_of(self, path: str) -> tuple[object, str]:
        """Return the table, which several drivers may share."""
        return self.locks, path

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Make `target` the same as `source`."""
        stored = self._find(source)
        return self.publish(target, stored.data, lease, match, stored.entry.kept(self.capabilities))

    def origin(self, path: str) -> tuple[Driver, str]:
        return self, path

    def can_copy_from(self, origin: Driver) -> bool:
        """Whether it is another store in memory."""
        return isinstance(origin, MemoryDriver)

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        """Make `target` the same as a file of another store in memory: both have the same object of bytes then."""
        assert isinstance(origin, MemoryDriver)  # noqa: S101 -- `can_copy_from` looked
        stored = origin._find(source.path)  # noqa: SLF001 -- of the same class
        check_match(source.path, source.version, stored.entry.version)
        return self.publish(target, stored.data, lease, match, stored.entry.kept(self.capabilities))

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file as a before-image."""
        if path in self.files.stored:
            self.files.images.setdefault((path, tag), self.files.stored[path])

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open the before-image for reading."""
        stored = self._image(path, tag)
        return BytesStream(stored.entry, stored.data)

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Make the file what its before-image is, with the same version."""
        self.locks.require(lease)
        self._check_match(path, match)
        stored = self.files.stored[path] = self._image(path, tag)
        return stored.entry

    async def drop(self, path: str, tag: str) -> None:
        """Remove the before-image."""
        self.files.images.pop((path, tag), None)

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield prepared writes, before-images and partial writes."""
        for path, prepared in list(self.files.prepared.items()):
            if path.startswith(prefix):
                yield Leftover(path, "prepared write", None, None, self.locks.holds(path), prepared.version)
        for path, tag in list(self.files.images):
            if path.startswith(prefix):
                yield Leftover(path, "before-image", None, None, False, tag)
        for identity, kept in list(self.files.partial.items()):
            if kept.path.startswith(prefix):
                live, why = self.locks.holds(kept.path), why_kept(kept.modified, self._days)
                yield Leftover(kept.path, KIND, kept.modified, None, live, identity, "" if live else why)

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove one, unless somebody holds its lock."""
        kept = self.files.partial.get(leftover.token) if leftover.kind == KIND else None
        if leftover.kind == "before-image":
            await self.drop(leftover.path, leftover.token)
        elif self.locks.holds(leftover.path) or (kept is not None and why_kept(kept.modified, self._days)):
            return False
        elif leftover.kind == KIND:
            self.files.partial.pop(leftover.token, None)
        else:
            self.files.prepared.pop(leftover.path, None)
        return True

    def publish(
        self,
        path: str,
        data: bytes,
        lease: Lease,
        match: str | None,
        metadata: Mapping[str, str] | None,
        *,
        version: str | None = None,
    ) -> Entry:
        """Make `data` the newest version of the path."""
        self._check(path, lease, match)
        new = Entry(path, len(data), clock.now(), version or self.next_version())
        entry = new.described(metadata or {})
        self.files.stored[path] = Stored(entry, data)
        return entry

    def remove(self, path: str, lease: Lease, match: str | None) -> Entry:
        """Remove the file, unless it is gone already."""
        if path not in self.files.stored:
            return Entry(path)
        self._check(path, lease, match)
        return self.files.stored.pop(path).entry

    def next_version(self) -> str:
        """Return a version that no file had before, in this driver or in a pickled copy of it."""
        return clock.token(8)

    def _check(self, path: str, lease: Lease, match: str | None) -> None:
        self.locks.require(lease)
        if match is not None:
            self._check_match(path, match)

    def _refuse_prepared(self, path: str, leases: Sequence[Lease] = ()) -> None:
        if path in self.files.prepared and not any(lease.path == path for lease in leases):
            raise locked(path, "an unfinished transaction; recover() ends it")

    def _find(self, path: str) -> Stored:
        stored = self.files.stored.get(path)
        if stored is None:
            raise NotFound.of(path)
        return stored

    def _image(self, path: str, tag: str) -> Stored:
        image = self.files.images.get((path, tag))
        if image is None:
            raise NotFound.of(path, "what the file was before is not kept")
        return image

    def _check_match(self, path: str, match: str | None) -> None:
        stored = self.files.stored.get(path)
        check_match(path, match, None if stored is None else stored.entry.version)


class MemorySession(WriteSession):
    """New bytes for a path; with `prepared`, those of a prepared write, whose lease this session releases."""

    removal = False

    def __init__(
        self,
        driver: MemoryDriver,
        path: str,
        lease: Lease,
        match: str | None,
        metadata: Mapping[str, str] | None,
        *,
        prepared: PreparedWrite | None = None,
    ) -> None:
        self._driver = driver
        self._path = path
        self._lease = lease
        self._owns_lease = prepared is not None
        self._match = match
        self._metadata = metadata
        self._prepared = prepared
        self._data = bytearray(prepared.data if prepared else b"")

    async def write(self, part: Part) -> None:
        """Take the next part."""
        self._data += part

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were written."""
        self._data[offset : offset + len(data)] = data

    async def resize(self, size: int) -> None:
        """Cut off what was written from `size` on."""
        del self._data[size:]

    async def prepare(self) -> dict[str, Any]:
        """Keep the bytes beside the files; until the decision nobody else writes the file."""
        version = self._driver.next_version()
        prepared = PreparedWrite(
            version, self._lease.fence, self._match, self._metadata, bytes(self._data), self.removal
        )
        self._prepared = self._driver.files.prepared[self._path] = prepared
        return {"path": self._path, "version": version}

    async def commit(self) -> Entry:
        """Publish."""
        entry = self._publish()
        await self.abort()
        return entry

    async def abort(self) -> None:
        """Remove the bytes."""
        self._data = bytearray()
        waiting = self._driver.files.prepared
        if self._prepared is not None and waiting.get(self._path) is self._prepared:
            del waiting[self._path]
        await self.leave()

    async def leave(self) -> None:
        """Release the lease if this session took over a prepared write."""
        if self._owns_lease:
            await self._lease.release()

    def _publish(self) -> Entry:
        version = self._prepared.version if self._prepared else None
        data = bytes(self._data)
        return self._driver.publish(self._path, data, self._lease, self._match, self._metadata, version=version)


class MemoryRemoval(MemorySession):
    """A removal that is not published yet."""

    removal = True

    async def prepare(self) -> dict[str, Any]:
        """Keep the removal beside the files until the decision."""
        token = await super().prepare()
        return {"path": self._path, "version": ABSENT, "removal": token["version"]}

    def _publish(self) -> Entry:
        return self._driver.remove(self._path, self._lease, self._match)


class MemoryPartial(PartialSession):
    """A partial write. What it kept stays in the store's own files."""

    def __init__(  # noqa: PLR0917 -- as for `MemorySession`, and the id
        self,
        driver: MemoryDriver,
        path: str,
        lease: Lease,
        match: str,
        metadata: Mapping[str, str] | None,
        identity: str,
    ) -> None:
        self.token: Mapping[str, Any] = token_of(STORE, path, identity)
        self._driver = driver
        self._path = path
        self._lease = lease
        self._match = match
        self._metadata = metadata
        self._id = identity
        self._data = bytearray()
        self._kept: KeptWrite | None = None

    def continue_from(self, kept: KeptWrite) -> None:
        """Continue behind what an earlier session kept."""
        self._data = kept.data[: kept.size]
        self.sent: int = kept.size
        self._keep()

    async def write(self, part: Part) -> None:
        """Take the next part."""
        self._data += part

    async def keep(self, rest: Part) -> bool:
        """Keep the bytes in the store."""
        if self._kept is not None and self._driver.files.partial.get(self._id) is not self._kept:
            raise partial_taken(self._path)
        self._driver.locks.require(self._lease)
        self._data += rest
        self._keep()
        return True

    async def commit(self) -> Entry:
        """Publish."""
        data = bytes(self._data)
        entry = self._driver.publish(self._path, data, self._lease, self._match, self._metadata)
        await self.abort()
        return entry

    async def abort(self) -> None:
        """Remove the bytes, and what was kept of them."""
        await self.leave()
        if self._kept is not None and self._driver.files.partial.get(self._id) is self._kept:
            del self._driver.files.partial[self._id]

    async def leave(self) -> None:
        """Free the bytes. What was kept stays in the store."""
        self._data = bytearray()

    def _keep(self) -> None:
        self._kept = KeptWrite(self._path, self._metadata, self._data, len(self._data), clock.now())
        self._driver.files.partial[self._id] = self._kept
        self.kept = True
