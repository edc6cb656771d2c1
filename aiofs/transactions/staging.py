"""UnitDriver: a store as it will be once the transaction is committed. Whoever works over it sees the unit's own work.

Nothing is written to the store here. New bytes wait in the transaction's vault, removals in a table; what the store is
asked for is to read, and to lock each path that is touched until the transaction ends.
"""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from aiofs.driver import (
    ABSENT,
    Capabilities,
    ChecksRemoval,
    Driver,
    Entry,
    Lease,
    Part,
    ReadStream,
    WriteSession,
    narrowed_over,
)
from aiofs.errors import Conflict, Damaged, Locked, NotFound, Spoiled
from aiofs.kit import check_match, folded
from aiofs.lifetimes import finish
from aiofs.locks import LeaseElsewhere, LockTable
from aiofs.names import is_reserved
from aiofs.powers import Parks
from aiofs.transactions.content import Borrowed, Content, ContentReader, ContentStream, Own
from aiofs.transactions.errors import StillOpen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from aiofs.transactions.content import Vault


Entries = list[Entry]


class Owner(Protocol):
    """What the overlay needs of the transaction that it is part of."""

    vault: Vault

    def check_open(self) -> None:
        """Raise `ValueError` once the transaction has ended."""

    def spoil(self, error: OSError) -> None:
        """Keep the transaction from being committed, because a part of it could not be done."""

    async def acquire(self, driver: UnitDriver, path: str) -> Lease:
        """Lock a path in the store until the transaction ends."""
        ...

    async def tell_held(self, driver: UnitDriver, path: str, lease: Lease) -> None:
        """Write down which lock is held, before anything is left in the store that stays without its process."""


class Parked(Lease):
    """A lock that was left, and stays."""

    def __init__(self, parks: Parks, path: str, fence: str) -> None:
        self.path = path
        self.fence = fence
        self._parks = parks

    async def back(self) -> Lease:
        """Take it back.

        :raises Conflict: if somebody removed it.
        """
        lease = await self._parks.unpark(self.path, self.fence)
        if lease is None:
            raise Conflict.of(self.path, "the lock on this file was removed before the transaction was committed")
        return lease

    async def release(self) -> None:
        """Give it back, if it still is there."""
        lease = await self._parks.unpark(self.path, self.fence)
        if lease is not None:
            await lease.release()


@dataclass(frozen=True, slots=True)
class Staged:
    """What a path will be. `base` is the version this is made on; `None` where whatever is there is replaced."""

    entry: Entry
    content: Content | None
    base: str | None
    like: str | None = None
    """The file of the store that it is a copy of: it must not let in more than that."""

    @property
    def version(self) -> str:
        """The version as the unit sees it; `ABSENT` if the file is removed."""
        return ABSENT if self.content is None else self.entry.version or ABSENT


class UnitDriver(Driver):
    """One store within a transaction."""

    def __init__(self, owner: Owner, name: str, base: Driver) -> None:
        self.owner = owner
        self.name = name
        self.base = base
        self.staged: dict[str, Staged] = {}
        self.leases: dict[str, Lease] = {}
        self.table: LockTable = LockTable()
        self.capabilities: Capabilities = replace(base.capabilities, resume=False, holds=False, rewrite=True)
        self.part_size: int = base.part_size
        self.window: int | None = base.window
        self._seen: dict[str, str | None] = {}  # the versions that were there when it first looked
        self._versions = itertools.count(1)

    def check_name(self, path: str) -> None:
        """As the store."""
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
        return ContentStream(staged.entry, self.reader(staged.content), start, stop)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        self.owner.check_open()
        return UnitSession(self, path, match, metadata)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Note that the files are to go. If one is missing or locked, none is."""
        self.owner.check_open()
        given = {lease.path for lease in leases}
        found: list[Staged] = []
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
        """Have the store say whether the file may be removed, before anything is noted."""
        self.owner.check_open()
        checks = self.base.offers(ChecksRemoval)
        if checks is not None:
            await checks.check_may_remove(path)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield what will be there."""
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
        """Get the right to write the path: in the transaction while a handle is open, in the store until its end."""
        self.owner.check_open()
        lease = self._lock_handle(path)
        try:
            if path not in self.leases:
                self.leases[path] = await self._kept(await self.owner.acquire(self, path), path)
        except BaseException:
            lease.abandon()
            raise
        return HandleLease(lease, self.owner)

    def check_closed(self, path: str) -> None:
        """Raise `StillOpen` if a handle of the transaction is still writing the path."""
        if self.table.holds(path):
            raise StillOpen.of(
                path,
                "a handle of this transaction is still writing this file, so nothing was committed: close it, or abort "
                "it, before the transaction ends",
            )

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Make `target` refer to what `source` is now; no byte moves before the commit."""
        self.owner.check_open()
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
        content = Content().plus([Borrowed(source, entry.version, 0, entry.size)])
        return self.stage(target, content, match, entry.kept(self.capabilities), like=source)

    def stage(
        self,
        path: str,
        content: Content,
        match: str | None,
        metadata: Mapping[str, str] | None,
        *,
        like: str | None = None,
    ) -> Entry:
        """Make `content` what the path will be; a copy stays one when it is changed.

        :raises Conflict: or `AlreadyExists`, if `match` is not what the path is in this transaction.
        """
        current = self.staged.get(path)
        if current is not None:
            check_match(path, match, current.version)
            base = current.base
            like = like or current.like
        else:
            base = self._seen.get(path, match)
        version = f"unit-{next(self._versions)}"
        entry = Entry(path, content.size, datetime.now(UTC), version).described(metadata)
        self.staged[path] = Staged(entry, content, base, like)
        return entry

    def reader(self, content: Content) -> ContentReader:
        """Return what reads a content of this store."""
        return ContentReader(content, self.owner.vault, self.base)

    def borrow(self, path: str, version: str | None, start: int, stop: int) -> Content:
        """Return a range of the version that the unit sees as `version`."""
        staged = self.staged.get(path)
        if staged is not None and staged.content is not None and staged.version == version:
            return staged.content.range(start, stop)
        return Content().plus([Borrowed(path, version, start, stop - start)])

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

    async def _removal(self, path: str) -> Staged | None:
        """Return the note that a path is to go; `None` if there is no file."""
        staged = self.staged.get(path)
        if staged is not None:
            return None if staged.content is None else Staged(Entry(path), None, staged.base)
        try:
            entry = await self._look(path)
        except NotFound:
            return None
        return Staged(Entry(path), None, self._seen.get(path, entry.version))

    def _lock_handle(self, path: str) -> Lease:
        """Return the lease of one handle of the transaction.

        :raises Locked: if another handle of the transaction is writing the file.
        """
        try:
            return self.table.acquire(path)
        except Locked as error:
            reason = "a handle of this same transaction is writing this file: close it first"
            raise Locked.of(path, reason) from error

    async def _kept(self, lease: Lease, path: str) -> Lease:
        """Keep a lock for the transaction, unless that has ended meanwhile; leave it if too many are held already."""
        parks = self.base.offers(Parks)
        try:
            self.owner.check_open()
            if parks is None or len(self.leases) < parks.most_locks:
                return lease
            await self.owner.tell_held(self, path, lease)
            await parks.park(path, lease)
        except BaseException:
            await finish(lease.release())
            raise
        return Parked(parks, path, lease.fence)

    def _own_entries(self, prefix: str, after: str, delimiter: str | None) -> Entries:
        """Return what the unit wrote, as a listing has it."""
        staged = [own for path, own in sorted(self.staged.items()) if path.startswith(prefix)]
        there = (own.entry for own in staged if own.content is not None)
        return list(folded(there, prefix, after, delimiter))

    async def _remains(self, entry: Entry) -> bool:
        """Whether an entry of the store is still there for the unit; a folder is if one of its files is."""
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
    """The right of a handle of a transaction to write a path."""

    def __init__(self, lease: Lease, owner: Owner) -> None:
        super().__init__(lease.path, lease)
        self._owner = owner

    def abandon(self) -> None:
        """Give the right back, and keep the transaction from committing without what the handle wrote."""
        super().abandon()
        reason = "a handle of this transaction was dropped without being closed, so what it wrote is lost"
        self._owner.spoil(Spoiled.of(self.path, reason))


class UnitSession(WriteSession):
    """New bytes of a file, kept in the vault."""

    def __init__(self, driver: UnitDriver, path: str, match: str | None, metadata: Mapping[str, str] | None) -> None:
        self._driver = driver
        self._path = path
        self._match = match
        self._metadata = metadata
        self._content = Content()

    async def write(self, part: Part) -> None:
        """Take the next part."""
        self._content = self._content.plus([await self._keep(part)])

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were handed over."""
        self._content = self._content.over(offset, await self._keep(data))

    async def resize(self, size: int) -> None:
        """Forget what was handed over from `size` on."""
        self._content = self._content.range(0, size)

    async def copy_range(self, start: int, stop: int) -> None:
        """Refer to bytes of the version that is replaced."""
        self._content = self._content.plus(self._driver.borrow(self._path, self._match, start, stop).segments)

    async def commit(self) -> Entry:
        """Make it what the path will be."""
        self._driver.owner.check_open()
        return self._driver.stage(self._path, self._content, self._match, self._metadata)

    async def abort(self) -> None:
        """Forget it."""
        self._content = Content()

    async def _keep(self, data: Part) -> Own:
        self._driver.owner.check_open()
        try:
            return await self._driver.owner.vault.keep(data)
        except OSError as error:
            error.filename = self._path  # not a temporary file's
            self._driver.owner.spoil(error)
            raise
