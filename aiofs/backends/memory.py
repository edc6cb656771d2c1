"""Files in memory: the reference. Small and exact, one set of files per driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiofs import clock
from aiofs.driver import ABSENT, Capabilities, Driver, Entry, Lease, Leftover, Part, ReadStream, WriteSession
from aiofs.errors import NotFound
from aiofs.kit import BytesStream, EndedSession, check_match, folded
from aiofs.locks import LockTable, locked
from aiofs.properties import NAMES
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence


class Stored(NamedTuple):
    """One version of a file."""

    entry: Entry
    data: bytes


class MemoryDriver(Driver):
    """A dictionary with the manners of a store."""

    capabilities: Capabilities = Capabilities(
        resume=True,
        holds=True,
        pinned=True,
        rewrite=True,
        metadata=True,
        certain=True,
        properties=NAMES - {"storage_class"},
    )

    def __init__(self) -> None:
        self._files: dict[str, Stored] = {}
        self._locks = LockTable()
        self._prepared: dict[str, MemorySession] = {}
        self._kept: dict[tuple[str, str], Stored] = {}

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

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session of this very driver; one that was ended meanwhile does nothing more."""
        path = Token(token).path
        session = self._prepared.get(path)
        name = token.get("removal") or token.get("version")
        if session is None or (name != session.version if name else token.get("fence") != session.fence):
            return EndedSession(self, path)
        session.adopt(self._locks.acquire(path))
        return session

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files."""
        for path in paths:
            self._locks.refuse(path, leases)
            self._refuse_prepared(path, leases)
            if path not in self._files and not missing_ok:
                raise NotFound.of(path)
            if match is not None:
                self._check_match(path, match)
        for path in paths:
            self._files.pop(path, None)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield what there was when the listing began and still is."""
        paths = [path for path in sorted(self._files) if path.startswith(prefix)]
        there = (stored.entry for path in paths if (stored := self._files.get(path)) is not None)
        for entry in folded(there, prefix, after, delimiter):
            yield entry

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path."""
        lease = self._locks.acquire(path)
        try:
            self._refuse_prepared(path)
        except BaseException:
            lease.abandon()
            raise
        return lease

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Make `target` the same as `source`."""
        stored = self._find(source)
        return self.publish(target, stored.data, lease, match, stored.entry.kept(self.capabilities))

    async def keep(self, path: str, tag: str) -> None:
        """Remember the file as it is."""
        if path in self._files:
            self._kept.setdefault((path, tag), self._files[path])

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open what was remembered for reading."""
        if (path, tag) not in self._kept:
            raise NotFound.of(path, "what the file was before is not kept")
        stored = self._kept[path, tag]
        return BytesStream(stored.entry, stored.data)

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Make the file what was remembered, its version included."""
        self._locks.require(lease)
        self._check_match(path, match)
        if (path, tag) not in self._kept:
            raise NotFound.of(path, "what the file was before is not kept")
        stored = self._files[path] = self._kept[path, tag]
        return stored.entry

    async def drop(self, path: str, tag: str) -> None:
        """Forget what was remembered."""
        self._kept.pop((path, tag), None)

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield prepared writes and before-images."""
        for path, session in list(self._prepared.items()):
            if path.startswith(prefix):
                yield Leftover(path, "prepared write", None, None, self._locks.holds(path), session.version)
        for path, tag in list(self._kept):
            if path.startswith(prefix):
                yield Leftover(path, "before-image", None, None, False, tag)

    async def sweep(self, leftover: Leftover) -> bool:
        """Forget one, unless its owner is there."""
        if leftover.kind == "before-image":
            await self.drop(leftover.path, leftover.token)
        elif self._locks.holds(leftover.path):
            return False
        else:
            self._prepared.pop(leftover.path, None)
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
        self._files[path] = Stored(entry, data)
        return entry

    def remove(self, path: str, lease: Lease, match: str | None) -> Entry:
        """Remove the file, unless it is gone already."""
        if path not in self._files:
            return Entry(path)
        self._check(path, lease, match)
        return self._files.pop(path).entry

    def next_version(self) -> str:
        """Return a version that none had before, here or where a pickled copy goes on."""
        return clock.token(8)

    def wait(self, path: str, session: MemorySession) -> None:
        """Let a session wait for its decision; until then nobody else writes the file."""
        self._prepared[path] = session

    def forget(self, path: str, session: MemorySession) -> None:
        """Let a session that ended go."""
        if self._prepared.get(path) is session:
            del self._prepared[path]

    def _check(self, path: str, lease: Lease, match: str | None) -> None:
        self._locks.require(lease)
        if match is not None:
            self._check_match(path, match)

    def _refuse_prepared(self, path: str, leases: Sequence[Lease] = ()) -> None:
        if path in self._prepared and not any(lease.path == path for lease in leases):
            raise locked(path, "an unfinished transaction; recover() ends it")

    def _find(self, path: str) -> Stored:
        stored = self._files.get(path)
        if stored is None:
            raise NotFound.of(path)
        return stored

    def _check_match(self, path: str, match: str | None) -> None:
        stored = self._files.get(path)
        check_match(path, match, None if stored is None else stored.entry.version)


class MemorySession(WriteSession):
    """Bytes that nobody sees yet."""

    def __init__(
        self, driver: MemoryDriver, path: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
    ) -> None:
        self._driver = driver
        self._path = path
        self._lease = lease
        self.fence: str = lease.fence
        self._adopted = False
        self._match = match
        self._metadata = metadata
        self._data = bytearray()
        self.version: str = ""

    async def write(self, part: Part) -> None:
        """Take the next part."""
        self._data += part

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were handed over."""
        self._data[offset : offset + len(data)] = data

    async def resize(self, size: int) -> None:
        """Forget what was handed over from `size` on."""
        del self._data[size:]

    async def prepare(self) -> dict[str, Any]:
        """Wait for whoever has the token."""
        self.version = self._driver.next_version()
        self._driver.wait(self._path, self)
        return {"path": self._path, "version": self.version}

    def adopt(self, lease: Lease) -> None:
        """Go on under another lease, which this session gives back at its end."""
        self._lease = lease
        self._adopted = True

    async def commit(self) -> Entry:
        """Publish."""
        entry = self._publish()
        await self.abort()
        return entry

    async def abort(self) -> None:
        """Forget the bytes."""
        self._data = bytearray()
        self._driver.forget(self._path, self)
        await self.leave()

    async def leave(self) -> None:
        """Give back the lock that came with the session."""
        if self._adopted:
            await self._lease.release()

    def _publish(self) -> Entry:
        data = bytes(self._data)
        return self._driver.publish(self._path, data, self._lease, self._match, self._metadata, version=self.version)


class MemoryRemoval(MemorySession):
    """A removal that nobody sees yet."""

    async def prepare(self) -> dict[str, Any]:
        """Wait for whoever has the token."""
        await super().prepare()
        return {"path": self._path, "version": ABSENT, "removal": self.version}

    def _publish(self) -> Entry:
        return self._driver.remove(self._path, self._lease, self._match)
