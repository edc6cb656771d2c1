"""Copying: the copies and moves of a `FileSystem`, within it and from other ones.

A store copies by itself where it can. Elsewhere the bytes pass through this process.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from aiofs.browsing import Browsing
from aiofs.driver import ANY, asked_version
from aiofs.errors import Conflict, NotFound, Unsupported, placed
from aiofs.kit import check_match, copy_file, move_file, pour
from aiofs.lifetimes import Call, finish
from aiofs.powers import ChecksRemoval, CopiesFrom, HasOrigin, Joins
from aiofs.waiting import check_wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from aiofs.driver import Driver, Entry, Lease, ReadStream
    from aiofs.names import AnyName
    from aiofs.properties import Properties
    from aiofs.waiting import Waiter

Progress: TypeAlias = Callable[[int, int | None], object]
"""What is called with the number of bytes that were copied, and how many there are, or `None`; it may be async."""
Drop: TypeAlias = Literal["metadata"]


@dataclass(frozen=True, slots=True)
class CopyTerms:
    """The arguments of `aiofs.copy` and `aiofs.move`, beside source and target."""

    wait: float = 0
    match: str = ANY
    drop: Drop | None = None
    on_progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.drop not in {None, "metadata"}:
            raise ValueError(f"drop={self.drop!r}: say drop='metadata', or leave it out")
        if self.on_progress is not None and not callable(self.on_progress):
            raise TypeError(f"on_progress={self.on_progress!r}: give a function that takes done and total")

    async def report(self, done: int, total: int | None) -> None:
        """Call `on_progress`, and await what it returns if that can be awaited."""
        if self.on_progress is not None:
            answer = self.on_progress(done, total)
            if inspect.isawaitable(answer):
                await answer


class Copying(Browsing):
    """The copies and moves of a `FileSystem`."""

    if TYPE_CHECKING:

        def _check(self, path: AnyName) -> str: ...

        def _waiter(self, wait: float, call: Call) -> Waiter | None: ...

        def _locked(self, *paths: str, waiter: Waiter | None = None) -> AbstractAsyncContextManager[list[Lease]]: ...

    async def copy(self, source: AnyName, target: AnyName, *, wait: float = 0, match: str = ANY) -> None:
        """Make the file `target` the same as `source`, metadata included; the store does it by itself if it can.

        `match` is the version of `target` that may be replaced, or `aiofs.ABSENT`. `aiofs.copy` copies between stores.

        :raises NotFound: if there is no `source`.
        :raises Locked: if somebody else is writing `target`, until `wait` seconds have passed.
        :raises Conflict: if `target` is not the version `match`.
        :raises AlreadyExists: if `match` is `ABSENT` and there is a `target`.
        """
        await self._copy_within(source, target, CopyTerms(wait, match))

    async def move(self, source: AnyName, target: AnyName, *, wait: float = 0, match: str = ANY) -> None:
        """Give the file the name `target`; at every moment it is there under one name at least.

        `match` is the version of `target` that may be replaced, or `aiofs.ABSENT`. `aiofs.move` moves between stores.

        :raises NotFound: if there is no `source`.
        :raises Locked: if somebody else is writing either, until `wait` seconds have passed.
        :raises Conflict: if `target` is not the version `match`.
        :raises AlreadyExists: if `match` is `ABSENT` and there is a `target`.
        """
        await self._move_within(source, target, CopyTerms(wait, match))

    async def _copy_within(
        self, source: AnyName, target: AnyName, terms: CopyTerms, *, in_full: bool = False
    ) -> Entry | None:
        """Copy within this file system. With `in_full`, return the entry of the new file."""
        source, target = self._check(source), self._check(target)
        check_wait(terms.wait)
        version = asked_version(self._driver, target, terms.match)
        if source == target:
            check_match(target, version, (await self.stat(source)).version)
            return None
        with Call(self._calls) as call, placed(target):
            async with self._locked(target, waiter=self._waiter(terms.wait, call)) as (lease,):
                entry = await copy_file(self._driver, source, target, lease, version)
                return await with_size_and_version(self._driver, entry) if in_full else None

    async def _move_within(
        self, source: AnyName, target: AnyName, terms: CopyTerms, *, in_full: bool = False
    ) -> Entry | None:
        """Move within this file system. With `in_full`, return the entry of the new file."""
        source, target = self._check(source), self._check(target)
        check_wait(terms.wait)
        version = asked_version(self._driver, target, terms.match)
        if source == target:
            check_match(target, version, (await self.stat(source)).version)
            return None
        with Call(self._calls) as call, placed(source):
            async with self._locked(source, target, waiter=self._waiter(terms.wait, call)) as (old, new):
                entry = await move_file(self._driver, source, target, (old, new), version)
                return await with_size_and_version(self._driver, entry) if in_full else None

    async def _copy_from(
        self, other: Copying, source: str, target: str, terms: CopyTerms, *, removes: bool = False
    ) -> Entry:
        """Copy the file `source` of another file system to `target` of this one; with `removes`, remove it then."""
        _check_units(other._driver, self._driver, source, removes=removes)
        version = asked_version(self._driver, target, terms.match)
        async with self._locked_from(other, source, target, terms.wait, removes=removes) as (lease, old):
            checks = other._driver.offers(ChecksRemoval) if removes else None
            if checks is not None:
                with placed(source):
                    await checks.check_may_remove(source)
            with placed(target):
                copied, entry = await copy_between(
                    other._driver, source, self._driver, target, lease, version, terms, removes=removes
                )
            size = entry.size if copied.size is None else copied.size
            await terms.report(size or 0, size)
            if old is not None:
                with placed(source):
                    await remove_copied(other._driver, copied, entry, old)
            return entry

    @asynccontextmanager
    async def _locked_from(
        self, other: Copying, source: str, target: str, wait: float, *, removes: bool
    ) -> AsyncIterator[tuple[Lease, Lease | None]]:
        """Hold the lock of the target and, if the source is to be removed, that of the source.

        Two moves that want the same locks take them in the same order, also in several processes.
        """
        mine = (str(self._driver), target, id(self._driver))
        theirs = (str(other._driver), source, id(other._driver))
        old: Lease | None = None
        async with AsyncExitStack() as held:
            if removes and theirs < mine:
                old, wait = await other._hold(source, wait, held)
            lease, wait = await self._hold(target, wait, held)
            if removes and old is None:
                old, wait = await other._hold(source, wait, held)
            held.enter_context(Call(other._calls))
            yield lease, old

    async def _hold(self, path: str, wait: float, held: AsyncExitStack) -> tuple[Lease, float]:
        """Hold the lock of a path until `held` ends; return the lease, and how many seconds are left of `wait`."""
        call = held.enter_context(Call(self._calls))
        waiter = self._waiter(wait, call)
        with placed(path):
            (lease,) = await held.enter_async_context(self._locked(path, waiter=waiter))
        return lease, 0 if waiter is None else max(0.0, waiter.left)


async def copy_between(  # noqa: PLR0917 -- the source and the target, with what goes with each
    origin: Driver,
    source: str,
    driver: Driver,
    target: str,
    lease: Lease,
    match: str | None,
    terms: CopyTerms,
    *,
    removes: bool = False,
) -> tuple[Entry, Entry]:
    """Copy a file of `origin` to one of `driver`, which `lease` is for; `match` is about the target.

    Returns the entry of the version that was copied, and that of the new file.

    :raises Conflict: if the source was changed meanwhile, so that no whole version of it can be had.
    :raises Unsupported: before any byte is written, if the target cannot keep the user's metadata; and, if the source
        is to be removed then, if nobody knows its version.
    """
    by_store = _store_copies(origin, source, driver)
    with placed(source):
        found = await origin.stat(source) if by_store is not None or "tags" in origin.capabilities.properties else None
    if by_store is not None and found is not None:
        if removes:
            _check_version(origin, found)
        copies, (keeper, name) = by_store
        new = await copies.copy_from(keeper, replace(found, path=name), target, lease, match=match)
        return found, await with_size_and_version(driver, new)
    with placed(source):
        stream = await origin.read(source, match=None if found is None else found.version)
    try:
        entry = stream.entry if found is None else found
        if removes:
            _check_version(origin, entry)
        return entry, await _copy_stream(stream, entry, driver, target, lease, match, terms)
    finally:
        await finish(stream.aclose())


async def with_size_and_version(driver: Driver, entry: Entry) -> Entry:
    """Return the entry of a file that was just made, under its lock, with size and version if the store knows them."""
    if entry.size is None or entry.version is None:
        with suppress(PermissionError):  # a user who may write is not always allowed to look
            return await driver.stat(entry.path)
    return entry


async def remove_copied(driver: Driver, entry: Entry, made: Entry, lease: Lease) -> None:
    """Remove a file that was copied to the file `made`, if it is still the version that was copied.

    If both have the same version, that is a digest of the bytes, and does not tell that nobody wrote the file since.
    This call itself has, if both are one file: a server can have several names.

    :raises Conflict: if it is not. It stays, and so does the copy.
    """
    reason = "this file was changed while it was moved: the older version was copied, and the newer one stays here"
    if entry.version == made.version:
        try:
            now = await driver.stat(entry.path)
        except NotFound:
            return
        if not entry.is_same_write(now):
            raise Conflict.of(entry.path, f"{reason}; or both names are of one file")
    # A removal that reached the store late, after the lock was released, could remove what others wrote since.
    removal = driver.delete([entry.path], leases=[lease], match=entry.version, missing_ok=True)
    try:
        await finish(removal)
    except Conflict as error:
        raise Conflict.of(entry.path, reason) from error


def _check_version(driver: Driver, entry: Entry) -> None:
    """Raise `Unsupported` if nobody knows the version of a file that is to be removed in this version only."""
    if entry.version is None:
        reason = (
            f"{driver} knows no version of this file, so it cannot be moved to another store: copy it, then remove it"
        )
        raise Unsupported.of(entry.path, reason)


def _store_copies(origin: Driver, source: str, driver: Driver) -> tuple[CopiesFrom, tuple[Driver, str]] | None:
    """Return what copies by itself, and where the source is for it; `None` if no store does."""
    copies, has = driver.offers(CopiesFrom), origin.offers(HasOrigin)
    if copies is None or has is None:
        return None
    place = has.origin(source)
    return (copies, place) if copies.can_copy_from(place[0]) else None


async def _copy_stream(  # noqa: PLR0917 -- as above
    stream: ReadStream, entry: Entry, driver: Driver, target: str, lease: Lease, match: str | None, terms: CopyTerms
) -> Entry:
    total = entry.size

    async def report(done: int) -> None:
        if done != total:  # the last call comes when the target is there
            await terms.report(done, total)

    kept = _carried(entry, driver, target, terms.drop)
    can = driver.capabilities
    try:
        session = await driver.begin(target, lease, match=match, metadata=kept.kept(can))
    except ValueError:
        if not kept.metadata or terms.drop is None:
            raise
        session = await driver.begin(target, lease, match=match, metadata=replace(kept, metadata=None).kept(can))
    return await pour(stream, session, driver.part_size, lease, report)


def _carried(entry: Entry, driver: Driver, target: str, drop: Drop | None) -> Entry:
    """Return the entry of a file without what its copy in another store does not keep.

    :raises Unsupported: if the user gave some that the store does not keep, unless they may be dropped.
    """
    can = driver.capabilities
    own = dict(entry.metadata or {})
    given: dict[str, Any] = {**(entry.properties or {})}
    given.pop("storage_class", None)  # it is about the store, not about the file
    names = {*given} if entry.expires is None else {*given, "ttl"}
    lost = ["metadata"] if own and not can.metadata else []
    lost += [name.replace("_", " ") for name in sorted(names - can.properties)]
    if lost and drop is None:
        reason = f"{driver} keeps no {' and no '.join(lost)}, which {entry.path!r} has: drop='metadata' leaves it out"
        raise Unsupported.of(target, reason)
    return replace(entry, metadata=own or None, properties=cast("Properties", given))


def unit_of(driver: Driver) -> object:
    """Return the transaction that publishes what is written to the driver; `None` if there is none."""
    joins = driver.offers(Joins)
    return None if joins is None else joins.unit


def _check_units(origin: Driver, driver: Driver, source: str, *, removes: bool) -> None:
    """Raise `Unsupported` if only one of the two is in a transaction, so that its end would leave half of it."""
    old, new = unit_of(origin), unit_of(driver)
    if old is new:
        return
    if old is not None:
        reason = (
            "this file is in a transaction, and the target is not in it: commit first, or begin the transaction over "
            "both stores"
        )
        raise Unsupported.of(source, reason)
    if removes:
        reason = (
            "the target is in a transaction, and this file is not: copy it, and remove it when the transaction is "
            "committed, or begin the transaction over both stores"
        )
        raise Unsupported.of(source, reason)
