"""Files in memory: the reference. Small and exact, one set of files per driver."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from aiofs.driver import ABSENT, Capabilities, Driver, Entry, Lease, Part, ReadStream, WriteSession
from aiofs.errors import AlreadyExists, Conflict, NotFound
from aiofs.locks import LockTable
from aiofs.sessions import EndedSession

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence


class Stored(NamedTuple):
    """One version of a file."""

    entry: Entry
    data: bytes


class MemoryDriver(Driver):
    """A dictionary with the manners of a store."""

    capabilities = Capabilities(resume=True, pinned=True, rewrite=True, metadata=True)

    def __init__(self) -> None:
        self._files: dict[str, Stored] = {}
        self._locks = LockTable()
        self._versions = itertools.count(1)
        self._prepared: dict[str, MemorySession] = {}

    async def stat(self, path: str) -> Entry:
        """Describe the file."""
        return self._find(path).entry

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading."""
        stored = self._find(path)
        if match is not None:
            self._check_match(path, match)
        return MemoryStream(stored, start, stop)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        return MemorySession(self, path, lease, match, metadata)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session of this very driver; one that was ended meanwhile does nothing more."""
        path = token["path"]
        session = self._prepared.get(token["session"])
        if session is None:
            return EndedSession(self, path)
        session.adopt(self._locks.acquire(path))
        return session

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files."""
        for path in paths:
            self._locks.refuse(path, leases)
            if path not in self._files and not missing_ok:
                raise NotFound.of(path)
            if match is not None:
                self._check_match(path, match)
        for path in paths:
            self._files.pop(path, None)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield what there was when the listing began and still is."""
        last = None
        for path in sorted(self._files):
            stored = self._files.get(path)
            if stored is None or not path.startswith(prefix):
                continue
            end = path.find(delimiter, len(prefix)) + 1 if delimiter else 0
            entry = Entry(path[:end]) if end else stored.entry
            if entry.path > after and entry.path != last:
                last = entry.path
                yield entry

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path."""
        return self._locks.acquire(path)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Make `target` the same as `source`."""
        stored = self._find(source)
        return self.publish(target, stored.data, lease, match, stored.entry.metadata)

    def publish(
        self, path: str, data: bytes, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
    ) -> Entry:
        """Make `data` the newest version of the path."""
        self._locks.require(lease)
        if match is not None:
            self._check_match(path, match)
        entry = Entry(path, len(data), datetime.now(UTC), str(next(self._versions)), dict(metadata or {}))
        self._files[path] = Stored(entry, data)
        return entry

    def keep(self, session: MemorySession) -> str:
        """Remember a prepared session for `resume`, and return its name."""
        name = str(next(self._versions))
        self._prepared[name] = session
        return name

    def forget(self, name: str | None) -> None:
        """Let a session that ended go."""
        if name is not None:
            self._prepared.pop(name, None)

    def _find(self, path: str) -> Stored:
        stored = self._files.get(path)
        if stored is None:
            raise NotFound.of(path)
        return stored

    def _check_match(self, path: str, match: str) -> None:
        stored = self._files.get(path)
        version = ABSENT if stored is None else stored.entry.version
        if version != match:
            if match == ABSENT:
                raise AlreadyExists.of(path)
            raise Conflict.of(path, "the file was changed meanwhile")


class MemoryStream(ReadStream):
    """Bytes of one version, which others may replace meanwhile."""

    def __init__(self, stored: Stored, start: int, stop: int | None) -> None:
        self.entry = stored.entry
        self._data = stored.data
        self._start = start
        self._stop = stop

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        stop = self._start + max(want, 1)
        if self._stop is not None:
            stop = min(stop, self._stop)
        data = self._data[self._start : stop]
        self._start += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on at `start`."""
        self._start, self._stop = start, stop

    async def aclose(self) -> None:
        """Do nothing."""


class MemorySession(WriteSession):
    """Bytes that nobody sees yet."""

    def __init__(
        self, driver: MemoryDriver, path: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
    ) -> None:
        self._driver = driver
        self._path = path
        self._lease = lease
        self._adopted = False
        self._match = match
        self._metadata = metadata
        self._data = bytearray()
        self._name: str | None = None

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
        """Keep the session for whoever has the token."""
        self._name = self._driver.keep(self)
        return {"path": self._path, "session": self._name}

    def adopt(self, lease: Lease) -> None:
        """Go on under another lease, which this session gives back at its end."""
        self._lease = lease
        self._adopted = True

    async def commit(self) -> Entry:
        """Publish."""
        entry = self._driver.publish(self._path, bytes(self._data), self._lease, self._match, self._metadata)
        await self.abort()
        return entry

    async def abort(self) -> None:
        """Forget the bytes."""
        self._data = bytearray()
        self._driver.forget(self._name)
        if self._adopted:
            await self._lease.release()
