"""Stores with one fault each, as real ones had it. The suite must reject every one of them."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from aiofs.backends.memory import MemorySession, Stored
from aiofs.driver import Entry, Layer, Lease, Part, ReadStream, WriteSession
from aiofs.errors import NotFound
from aiofs.kit import BytesStream
from aiofs.locks import TableLease
from aiofs.names import lock_of_path, path_of_lock
from aiofs.properties import part
from conformance.versioned_memory import VersionedMemory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence


class FreeLease(Lease):
    """A lock that locks nothing."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def release(self) -> None:
        """Do nothing."""


class Faulty(VersionedMemory):
    """Files in memory whose sessions and streams a twin may replace by its own."""

    session: type[MemorySession] = MemorySession

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return self.session(self, path, lease, match, metadata)

    def replaced(self, path: str, data: bytes) -> None:
        """Change a file without asking for anything."""
        entry = Entry(path, len(data), version=self.next_version(), metadata={})
        self.files.stored[path] = Stored(entry, data)


class LeavesATail(Faulty):
    def publish(self, path: str, data: bytes, *rest: Any, **more: Any) -> Entry:
        old = self.files.stored[path].data if path in self.files.stored else b""
        return super().publish(path, data + old[len(data) :], *rest, **more)


class TextMode(Faulty):
    def publish(self, path: str, data: bytes, *rest: Any, **more: Any) -> Entry:
        return super().publish(path, data.replace(b"\r\n", b"\n"), *rest, **more)


class DropsAFullLastPart(Faulty):
    class session(MemorySession):  # noqa: N801
        async def write(self, part: Part) -> None:
            self._data += part if len(part) < Faulty.part_size or not self._data else part[:-1]


class SkipsEmptyFiles(Faulty):
    def publish(self, path: str, data: bytes, *rest: Any, **more: Any) -> Entry:
        return super().publish(path, data, *rest, **more) if data else Entry(path, 0)


class CountsFromOne(Faulty):
    class Shifted(BytesStream):
        async def seek(self, start: int, stop: int | None = None) -> None:
            await super().seek(max(start - 1, 0), stop)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        return self.Shifted(self._find(path).entry, self._find(path).data, start, stop)


class RefusesRangesPastTheEnd(Faulty):
    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        if start >= len(self._find(path).data) > 0:
            raise OSError(22, "416 Requested Range Not Satisfiable", path)
        return await super().read(path, start, stop, match=match)


class ForgetsItsSize(Faulty):
    """So that nobody notices a stream that is cut."""

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        stream = await super().read(path, start, stop, match=match)
        stream.entry = replace(stream.entry, size=None)
        return stream


class FindsOutAtFirstRead(Faulty):
    class Late(BytesStream):
        async def chunk(self, want: int) -> bytes:
            raise NotFound.of(self.entry.path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        if path not in self.files.stored:
            return self.Late(Entry(path, 1), b"", start, stop)
        return await super().read(path, start, stop, match=match)


class DeletesThenWrites(Faulty):
    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        self.files.stored.pop(path, None)
        return await super().begin(path, lease, metadata=metadata)


class ShowsWhatIsWritten(Faulty):
    class session(MemorySession):  # noqa: N801
        async def write(self, part: Part) -> None:
            await super().write(part)
            self._driver.replaced(self._path, bytes(self._data))  # type: ignore[attr-defined]


class LeavesItsParts(Faulty):
    class session(MemorySession):  # noqa: N801
        async def write(self, part: Part) -> None:
            await super().write(part)
            self._driver.replaced(f".aiofs-part-{self._path}", bytes(part))  # type: ignore[attr-defined]


class ListsItsStaging(Faulty):
    class session(MemorySession):  # noqa: N801
        async def write(self, part: Part) -> None:
            await super().write(part)
            self._driver.replaced(f"{self._path}.tmp", b"")  # type: ignore[attr-defined]

        async def abort(self) -> None:
            self._driver.files.stored.pop(f"{self._path}.tmp", None)
            await super().abort()


class CommitsInTwoSteps(Faulty):
    class session(MemorySession):  # noqa: N801
        async def commit(self) -> Entry:
            self._driver.replaced(self._path, bytes(self._data[: len(self._data) // 2]))  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            return await super().commit()


class ForgetsTheLock(Faulty):
    async def lock(self, path: str) -> Lease:
        return FreeLease(path)

    def _check(self, path: str, lease: Lease, match: str | None) -> None:
        pass


class LosesTheLockWhenCancelled(Faulty):
    async def lock(self, path: str) -> Lease:
        lease = await super().lock(path)
        await asyncio.sleep(0)
        return lease


class LocksNothingWithAName(Faulty):
    async def lock(self, path: str) -> Lease:
        return await super().lock(path) if lock_of_path(path) is None else FreeLease(path)


class LocksTheFileOfTheName(Faulty):
    async def lock(self, path: str) -> Lease:
        return await super().lock(lock_of_path(path) or path)


class RepeatsItsNumbers(Faulty):
    """Counts from the beginning when the lock was released."""

    async def lock(self, path: str) -> Lease:
        lease = await super().lock(path)
        lease.number = None if lock_of_path(path) is None else 1
        return lease


class TellsNoHolder(Faulty):
    class Trusting(TableLease):
        async def confirm(self) -> bool:
            return True

    async def lock(self, path: str) -> Lease:
        lease = await super().lock(path)
        lease.__class__ = self.Trusting
        return lease


class LocksByTheLastSegment(Faulty):
    async def lock(self, path: str) -> Lease:
        name = lock_of_path(path)
        return await super().lock(path if name is None else path_of_lock(name.rpartition("/")[2]))


class LocksTheFolder(Faulty):
    async def lock(self, path: str) -> Lease:
        folder = path.rpartition("/")[0]
        lease = self.locks.acquire(folder)
        lease.path = folder
        return lease

    def _check(self, path: str, lease: Lease, match: str | None) -> None:
        pass


class LooksThenCreates(Faulty):
    """`x` looks whether there is a file, and later writes it: two steps."""

    async def lock(self, path: str) -> Lease:
        return FreeLease(path)

    class session(MemorySession):  # noqa: N801
        async def commit(self) -> Entry:
            if self._match is not None:
                self._driver._check_match(self._path, self._match)
            await asyncio.sleep(0)
            self._driver.replaced(self._path, bytes(self._data))  # type: ignore[attr-defined]
            return await self._driver.stat(self._path)


class OverwritesChanges(Faulty):
    def _check(self, path: str, lease: Lease, match: str | None) -> None:
        super()._check(path, lease, None)


class TellsAnotherVersion(Faulty):
    """Describes a file by another version than it compares."""

    async def stat(self, path: str) -> Entry:
        entry = await super().stat(path)
        return replace(entry, version=f"W/{entry.version}")


class TakesAbsentForAny(Faulty):
    def _check(self, path: str, lease: Lease, match: str | None) -> None:
        super()._check(path, lease, match or None)


class RemovesAnyVersion(Faulty):
    async def delete(self, paths: Sequence[str], *, match: str | None = None, **options: Any) -> None:
        await super().delete(paths, **options)


class IgnoresTheVersionAskedFor(Faulty):
    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        return await super().read(path, start, stop)


class MixesVersions(Faulty):
    class Live(BytesStream):
        driver: Faulty

        async def chunk(self, want: int) -> bytes:
            self._data = self.driver._find(self.entry.path).data
            return await super().chunk(want)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        stream = self.Live(self._find(path).entry, self._find(path).data, start, stop)
        stream.driver = self
        return stream


class FoldsCase(Layer):
    async def stat(self, path: str) -> Entry:
        return await self.base.stat(path.lower())

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        return await self.base.read(path.lower(), start, stop, match=match)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return await self.base.begin(path.lower(), lease, match=match, metadata=metadata)

    async def delete(self, paths: Sequence[str], **options: Any) -> None:
        await self.base.delete([path.lower() for path in paths], **options)


class ComposesNames(Faulty):
    def publish(self, path: str, *rest: Any, **more: Any) -> Entry:
        return super().publish(unicodedata.normalize("NFC", path), *rest, **more)

    def _find(self, path: str) -> Stored:
        return super()._find(unicodedata.normalize("NFC", path))


class ListsByFolder(Faulty):
    """As `os.walk` does: `t/x` before `t-`."""

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        entries = [entry async for entry in super().list(prefix, after=after, delimiter=delimiter)]
        for entry in sorted(entries, key=lambda entry: entry.path.split("/")):
            yield entry


class ListsOnePage(Faulty):
    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        left = 20
        async for entry in super().list(prefix, after=after, delimiter=delimiter):
            if left == 0:
                return
            left -= 1
            yield entry


class CountsItsPages(Faulty):
    """Asks for "entries 11 to 20", between which others are put and taken."""

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        number = 0
        while entries := [entry async for entry in super().list(prefix, after=after, delimiter=delimiter)][number:]:
            number += 1
            yield entries[0]


class ListsWhereItBegan(Faulty):
    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        if after in self.files.stored and after.startswith(prefix):
            yield self.files.stored[after].entry
        async for entry in super().list(prefix, after=after, delimiter=delimiter):
            yield entry


class ListsOtherSizes(Faulty):
    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        async for entry in super().list(prefix, after=after, delimiter=delimiter):
            yield replace(entry, size=0)


class RemovesByPattern(Faulty):
    async def delete(self, paths: Sequence[str], **options: Any) -> None:
        found = [name for name in self.files.stored for path in paths if fnmatchcase(name, path)]
        await super().delete(found or paths, **options)


class RemovesOneByOne(Faulty):
    async def delete(self, paths: Sequence[str], **options: Any) -> None:
        for path in paths:
            await super().delete([path], **options)


class RemovesWhatIsNotThere(Faulty):
    async def delete(self, paths: Sequence[str], *, missing_ok: bool = False, **options: Any) -> None:
        await super().delete(paths, missing_ok=True, **options)


class RemovesUnderAWriter(Faulty):
    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        held: list[TableLease] = [self.locks._held[path] for path in paths if path in self.locks._held]
        await super().delete(paths, leases=held, match=match, missing_ok=missing_ok)


class HasOneVersion(Faulty):
    def next_version(self) -> str:
        return "1"


class RaisesAsItsLibrary(Faulty):
    async def stat(self, path: str) -> Entry:
        if path not in self.files.stored:
            raise KeyError(path)
        return await super().stat(path)


class NamesNoFile(Faulty):
    def _find(self, path: str) -> Stored:
        if path not in self.files.stored:
            raise FileNotFoundError(2, "NoSuchKey")
        return super()._find(path)


class BlocksTheLoop(Faulty):
    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        time.sleep(0.001)  # noqa: ASYNC251
        return await super().read(path, start, stop, match=match)


class TellsItsPassword(Faulty):
    def __str__(self) -> str:
        return "memory://user:hunter2@nowhere"


class ForgetsMetadata(Faulty):
    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return await super().begin(path, lease, match=match, metadata=None if match else metadata)


class RewritesElsewhere(Faulty):
    class session(MemorySession):  # noqa: N801
        async def rewrite(self, offset: int, data: Part) -> None:
            await super().rewrite(offset + 1, data)


class ResumesUnderTheLiving(Faulty):
    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        self.locks._held.pop(token["path"], None)
        return await super().resume(token)


class AbortsWhatWasCommitted(Faulty):
    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        session = await super().resume(token)
        return (
            session
            if token["path"] in self.files.prepared
            else self.Undoing(self, token["path"], FreeLease(""), None, None)
        )

    class Undoing(MemorySession):
        async def commit(self) -> Entry:
            return await self._driver.stat(self._path)

        async def abort(self) -> None:
            self._driver.files.stored.pop(self._path, None)


class ForgetsProperties(Faulty):
    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return await super().begin(path, lease, match=match, metadata=part(metadata)[0])


class ListsTheOldestVersionFirst(Faulty):
    async def history(self, path: str) -> AsyncGenerator[Entry]:
        for entry in reversed([entry async for entry in super().history(path)]):
            yield entry
