"""UnitDriver: a store as it will be when the transaction is committed.

It writes nothing to the store. New bytes wait in a spool of the transaction, removals in a table. The store is only
read, and each path that the transaction writes or removes is locked in it until the transaction ends.
"""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from aiofs import clock
from aiofs.driver import ABSENT, Capabilities, Driver, Entry, Lease, Part, ReadStream, WriteSession, narrowed_over
from aiofs.errors import Conflict, Damaged, Locked, NotFound, Spoiled, StillOpen, Unsupported
from aiofs.kit import check_match, folded
from aiofs.lifetimes import finish
from aiofs.locks import LeaseElsewhere, LockTable
from aiofs.names import is_reserved, lock_of_path
from aiofs.powers import ChecksRemoval, Parks
from aiofs.transactions.content import StagedContent, StagedRange, StagedReader, StagedStream, StoredRange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence

    from aiofs.transactions.content import StagedBytes


Entries = list[Entry]
IN_A_TRANSACTION = (
    "a transaction takes no lock with a name: hold the lock around the transaction, so that it is held until "
    "everything is published"
)


class Owner(Protocol):
    """What a `UnitDriver` needs of its transaction."""

    written: StagedBytes

    def check_open(self) -> None:
        """Raise `ValueError` if the transaction has ended."""

    def spoil(self, error: OSError) -> None:
        """Keep the transaction from being committed, as a part of it failed."""

    async def acquire(self, driver: UnitDriver, path: str) -> Lease:
        """Lock a path in the store until the transaction ends."""
        ...

    async def record_lock(self, driver: UnitDriver, path: str, lease: Lease) -> None:
        """Write the fence of a lock to the log, before the lock is made one that stays when the process ends."""


class ParkedLock(Lease):
    """A lock that stays in the store while no process holds it, so that it takes no descriptor."""

    def __init__(self, parks: Parks, path: str, fence: str) -> None:
        self.path = path
        self.fence = fence
        self._parks = parks

    async def back(self) -> Lease:
        """Hold the lock again.

        :raises Conflict: if the lock was removed.
        """
        lease = await self._parks.unpark(self.path, self.fence)
        if lease is None:
            raise Conflict.of(self.path, "the lock on this file was removed before the transaction was committed")
        return lease

    async def release(self) -> None:
        """Release the lock, if it is still there."""
        lease = await self._parks.unpark(self.path, self.fence)
        if lease is not None:
            await lease.release()


@dataclass(frozen=True, slots=True)
class StagedFile:
    """What a path will be. `base` is the version that it replaces; `None` if it replaces any version."""

    entry: Entry
    content: StagedContent | None
    base: str | None
    like: str | None = None
    """The file of the store that it is a copy of: it must not grant more rights than that file."""

    @property
    def version(self) -> str:
        """The version as the transaction sees it; `ABSENT` if the file is removed."""
        return ABSENT if self.content is None else self.entry.version or ABSENT


class UnitDriver(Driver):
    """One store within a transaction."""

    def __init__(self, owner: Owner, name: str, base: Driver) -> None:
        self.owner = owner
        self.name = name
        self.base = base
        self.staged: dict[str, StagedFile] = {}
        self.leases: dict[str, Lease] = {}
        self.table: LockTable = LockTable()
        self.capabilities: Capabilities = replace(
            base.capabilities, resume=False, holds=False, rewrite=True, partial=False
        )
        self.part_size: int = base.part_size
        self.window: int | None = base.window
        self._seen: dict[str, str | None] = {}  # the versions at the first look
        self._unit = clock.token(8)
        self._versions = itertools.count(1)

    def check_name(self, path: str) -> None:
        self.base.check_name(path)

    def narrowed(self, depth: int) -> Driver:
        """Return this driver over the narrowed store; both share the locks and the staged files."""
        return narrowed_over(self, depth)

    async def stat(self, path: str) -> Entry:
        """Describe the file as the transaction left it."""
        self.owner.check_open()
        staged = self.staged.get(path)
        if staged is None:
            return await self._look(path)
        if staged.content is None:
            raise NotFound.of(path)
        return staged.entry

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file as the transaction left it."""
        self.owner.check_open()
        staged = self.staged.get(path)
        if staged is None:
            stream = await self.base.read(path, start, stop, match=match)
            self._seen.setdefault(path, stream.entry.version)
            return stream
        if staged.content is None:
            raise NotFound.of(path)
        if match is not None and match != staged.version:
            raise Conflict.of(path, "the file was changed meanwhile")
        return StagedStream(staged.entry, self.reader(staged.content), start, stop)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin a new content of the path."""
        self.owner.check_open()
        await self._look_for(path, match)
        return UnitSession(self, path, match, metadata)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Stage the removal of the files. If one is missing or locked, none is removed."""
        self.owner.check_open()
        given = {lease.path for lease in leases}
        found: list[StagedFile] = []
        async with AsyncExitStack() as held:
            for path in sorted(set(paths)):
                if path not in given:
                    held.push_async_callback((await self.lock(path)).release)
                await self.check_may_remove(path)
                staged = await self._removal(path)
                if staged is None:
                    if not missing_ok:
                        raise NotFound.of(path)
                else:
                    if match is not None:
                        check_match(path, match, (await self.stat(path)).version)
                    found.append(staged)
            for staged in found:
                self.staged[staged.entry.path] = staged

    async def check_may_remove(self, path: str) -> None:
        """Raise if the store does not let this user remove the file."""
        self.owner.check_open()
        checks = self.base.offers(ChecksRemoval)
        if checks is not None:
            await checks.check_may_remove(path)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield the files that there will be."""
        self.owner.check_open()
        own = self._own_entries(prefix, after, delimiter)
        async with aclosing(self.base.list(prefix, after=after, delimiter=delimiter)) as entries:
            async for entry in entries:
                while own and own[0].path < entry.path:
                    yield own.pop(0)
                if own and own[0].path == entry.path:
                    yield own.pop(0)
                elif await self._remains(entry):
                    yield entry
        for entry in own:
            yield entry

    async def lock(self, path: str) -> Lease:
        """Lock the path: in the transaction while the handle is open, in the store until the transaction ends."""
        self.owner.check_open()
        if (name := lock_of_path(path)) is not None:
            raise Unsupported.of(name, IN_A_TRANSACTION)
        lease = self._lock_handle(path)
        try:
            if path not in self.leases:
                self.leases[path] = await self._kept(await self.owner.acquire(self, path), path)
        except BaseException:
            lease.abandon()
            raise
        return HandleLease(lease, self.owner)

    def keeper_of(self, path: str) -> tuple[object, str]:
        """Return the table of this transaction, in which its own handles exclude each other."""
        return self.table, path

    def identity(self, path: str) -> Hashable:
        return self.base.identity(path)

    @property
    def unit(self) -> object:
        """The transaction."""
        return self.owner

    def check_closed(self, path: str) -> None:
        """Raise `StillOpen` if a handle of the transaction is still writing the path."""
        if self.table.holds(path):
            raise StillOpen.of(
                path,
                "a handle of this transaction is still writing this file, so nothing was committed: close it, or abort "
                "it, before the transaction ends",
            )

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Make `target` refer to what `source` is now; no byte is copied before the commit."""
        self.owner.check_open()
        await self._look_for(target, match)
        staged = self.staged.get(source)
        if staged is not None:
            if staged.content is None:
                raise NotFound.of(source)
            return self.stage(
                target, staged.content, match, staged.entry.kept(self.capabilities), like=staged.like or source
            )
        stream = await self.base.read(source, 0, 0)
        entry = stream.entry
        await stream.aclose()
        if entry.size is None:
            raise Damaged.of(source, "the store does not know the size of this file")
        content = StagedContent().plus([StoredRange(source, entry.version, 0, entry.size)])
        return self.stage(target, content, match, entry.kept(self.capabilities), like=source)

    def stage(
        self,
        path: str,
        content: StagedContent,
        match: str | None,
        metadata: Mapping[str, str] | None,
        *,
        like: str | None = None,
    ) -> Entry:
        """Make `content` what the path will be; a copy that is changed keeps the rights of its source.

        :raises Conflict: or `AlreadyExists`, if the version of the path in this transaction is not `match`.
        """
        current = self.staged.get(path)
        if current is not None:
            check_match(path, match, current.version)
            base = current.base
            like = like or current.like
        else:
            base = self._seen.get(path)
            if base is None:
                base = match
            else:
                check_match(path, match, base)
        version = f"unit-{self._unit}-{next(self._versions)}"  # no other transaction has it
        entry = Entry(path, content.size, clock.now(), version)
        if metadata is not None:
            entry = entry.described(metadata)
        self.staged[path] = StagedFile(entry, content, base, like)
        return entry

    def reader(self, content: StagedContent) -> StagedReader:
        """Return a reader of a content of this store."""
        return StagedReader(content, self.owner.written, self.base)

    def range_of(self, path: str, version: str | None, start: int, stop: int) -> StagedContent:
        """Return a range of the version that the transaction sees as `version`."""
        staged = self.staged.get(path)
        if staged is not None and staged.content is not None and staged.version == version:
            return staged.content.range(start, stop)
        return StagedContent().plus([StoredRange(path, version, start, stop - start)])

    def __str__(self) -> str:
        return f"transaction over {self.base}"

    async def _look(self, path: str) -> Entry:
        try:
            entry = await self.base.stat(path)
        except NotFound:
            self._seen.setdefault(path, ABSENT)
            raise
        self._seen.setdefault(path, entry.version)
        return entry

    async def _look_for(self, path: str, match: str | None) -> None:
        """See which version the store has, if none was seen, so that `stage` can compare it with `match`."""
        if match is not None and path not in self.staged and self._seen.get(path) is None:
            with suppress(NotFound):
                await self._look(path)

    async def _removal(self, path: str) -> StagedFile | None:
        """Return the removal of a path; `None` if there is no file."""
        staged = self.staged.get(path)
        if staged is not None:
            return None if staged.content is None else StagedFile(Entry(path), None, staged.base)
        try:
            entry = await self._look(path)
        except NotFound:
            return None
        return StagedFile(Entry(path), None, self._seen.get(path, entry.version))

    def _lock_handle(self, path: str) -> Lease:
        """Return the lock of one handle of the transaction.

        :raises Locked: if another handle of the transaction is writing the file.
        """
        try:
            return self.table.acquire(path)
        except Locked as error:
            reason = "a handle of this same transaction is writing this file: close it first"
            raise Locked.of(path, reason) from error

    async def _kept(self, lease: Lease, path: str) -> Lease:
        """Return the lock to keep, parked if too many are held. Release it if the transaction ended meanwhile."""
        parks = self.base.offers(Parks)
        try:
            self.owner.check_open()
            if parks is None or len(self.leases) < parks.most_locks:
                return lease
            await self.owner.record_lock(self, path, lease)
            await parks.park(path, lease)
        except BaseException:
            await finish(lease.release())
            raise
        return ParkedLock(parks, path, lease.fence)

    def _own_entries(self, prefix: str, after: str, delimiter: str | None) -> Entries:
        """Return what the transaction wrote, as a listing shows it."""
        staged = [own for path, own in sorted(self.staged.items()) if path.startswith(prefix)]
        there = (own.entry for own in staged if own.content is not None)
        return list(folded(there, prefix, after, delimiter))

    async def _remains(self, entry: Entry) -> bool:
        """Whether an entry of the store is there in the transaction; a folder is there if one of its files is."""
        if not entry.is_folder:
            return entry.path not in self.staged
        if not any(path.startswith(entry.path) for path in self.staged):
            return True
        async with aclosing(self.base.list(entry.path)) as below:
            async for file in below:
                if file.path not in self.staged and not is_reserved(file.path):
                    return True
        return False


class HandleLease(LeaseElsewhere):
    """The lock of one handle of a transaction."""

    def __init__(self, lease: Lease, owner: Owner) -> None:
        super().__init__(lease.path, lease)
        self._owner = owner

    def abandon(self) -> None:
        """Release the lock, and keep the transaction from committing without what the handle wrote."""
        super().abandon()
        reason = "a handle of this transaction was dropped without being closed, so what it wrote is lost"
        self._owner.spoil(Spoiled.of(self.path, reason))


class UnitSession(WriteSession):
    """A new content of a file, kept in the spool of the transaction."""

    def __init__(self, driver: UnitDriver, path: str, match: str | None, metadata: Mapping[str, str] | None) -> None:
        self._driver = driver
        self._path = path
        self._match = match
        self._metadata = metadata
        self._content = StagedContent()

    async def write(self, part: Part) -> None:
        """Add the next part."""
        self._content = self._content.plus([await self._keep(part)])

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were written."""
        self._content = self._content.over(offset, await self._keep(data))

    async def resize(self, size: int) -> None:
        """Forget the bytes from `size` on."""
        self._content = self._content.range(0, size)

    async def copy_range(self, start: int, stop: int) -> None:
        """Add a reference to bytes of the version that is replaced."""
        self._content = self._content.plus(self._driver.range_of(self._path, self._match, start, stop).segments)

    async def commit(self) -> Entry:
        """Make the content what the path will be."""
        self._driver.owner.check_open()
        return self._driver.stage(self._path, self._content, self._match, self._metadata)

    async def abort(self) -> None:
        """Forget the content."""
        self._content = StagedContent()

    async def _keep(self, data: Part) -> StagedRange:
        self._driver.owner.check_open()
        try:
            return await self._driver.owner.written.keep(data)
        except OSError as error:
            error.filename = self._path  # not a temporary file's
            self._driver.owner.spoil(error)
            raise
