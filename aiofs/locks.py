"""Leases: the table of those within a process, and the keeper of those that a store grants for a while."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from aiofs import clock
from aiofs.driver import Lease
from aiofs.errors import Conflict, Locked
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from datetime import datetime

AnyLease = TypeVar("AnyLease", bound=Lease)
_fences = itertools.count(1)


class LockTable:
    """Who writes what, among all tasks and threads that share this table."""

    def __init__(self) -> None:
        self._held: dict[str, TableLease] = {}

    def __reduce__(self) -> tuple[type[LockTable], tuple[()]]:
        """Pickle as empty: who holds a lock holds it where it is."""
        return LockTable, ()

    def acquire(self, path: str) -> TableLease:
        """Return the lease of `path`.

        :raises Locked: if it is taken, naming since when and by whom.
        """
        lease = TableLease(path, self._held)
        holder = self._held.setdefault(path, lease)
        if holder is not lease:
            raise locked(path, holder.holder, holder.since)
        return lease

    def holds(self, path: str) -> bool:
        """Whether `path` is taken."""
        return path in self._held

    def require(self, lease: Lease) -> None:
        """Raise `Conflict` unless `lease` still has its place."""
        if self._held.get(lease.path) is not lease:
            raise Conflict.of(lease.path, "the lock on this file was given back before it was published")

    def refuse(self, path: str, leases: Sequence[Lease] = ()) -> None:
        """Raise `Locked` if `path` is taken by a lease that is not among `leases`."""
        holder = self._held.get(path)
        if holder is not None and holder not in leases:
            raise locked(path, holder.holder, holder.since)


class TableLease(Lease):
    """A place in a `LockTable`."""

    def __init__(self, path: str, held: dict[str, TableLease]) -> None:
        self.path = path
        self.since: datetime = clock.now()
        self.holder: str | None = _current_task()
        self.fence: str = str(next(_fences))
        self._held = held

    async def release(self) -> None:
        """Give the lock back."""
        self.abandon()

    def abandon(self) -> None:
        """Give the lock back."""
        if self._held.get(self.path) is self:
            del self._held[self.path]


class RenewedLease(Lease):
    """A lock that a store grants for `ttl` seconds at a time, renewed from a task of its own.

    `renew` asks for another `ttl`: it returns whether the lock is still ours, or raises `OSError` where the store gave
    no answer; then it is asked again, until so much time has passed that the lock must be taken for lost.
    """

    def __init__(
        self,
        path: str,
        fence: str,
        ttl: float,
        *,
        renew: Callable[[], Awaitable[bool]],
        release: Callable[[], Awaitable[None]],
        granted: float | None = None,
    ) -> None:
        self.path = path
        self.fence = fence
        self._ttl = ttl
        self._renew = renew
        self._give_back = release
        # The store counts from when it got the request, so count from before it was sent.
        self._expires = (clock.monotonic() if granted is None else granted) + ttl
        self._gone = False
        self._loop = asyncio.get_running_loop()
        self._keeper: asyncio.Task[None] | None = self._loop.create_task(self._keep(), name=f"lease of {path}")

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now."""
        return self._gone or clock.monotonic() >= self._expires

    async def release(self) -> None:
        """Stop renewing and give the lock back, if it still is ours."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        await finish(self._stop(keeper))

    def abandon(self) -> None:
        """Stop renewing: the lock is free when its time is up."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(keeper.cancel)

    async def _stop(self, keeper: asyncio.Task[None]) -> None:
        keeper.cancel()
        await asyncio.wait([keeper])
        if not self._gone:
            self._gone = True
            await self._give_back()

    async def _keep(self) -> None:
        while not self.lost:
            await asyncio.sleep(self._ttl / 3)
            asked = clock.monotonic()
            try:
                if await self._renew():
                    self._expires = asked + self._ttl
                else:
                    self._gone = True
            except OSError:
                continue
            except ValueError:  # the store was closed
                self._gone = True


class LeaseElsewhere(Lease):
    """A lock for `path` that stands on another lease: that of another store, for instance, under a name of its own."""

    def __init__(self, path: str, lease: Lease) -> None:
        self.path: str = path
        self.fence: str = lease.fence
        self._lease = lease

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now."""
        return self._lease.lost

    async def release(self) -> None:
        """Give the lock back."""
        await self._lease.release()

    def abandon(self) -> None:
        """Let go without awaiting."""
        self._lease.abandon()


async def granted(asking: Coroutine[Any, Any, AnyLease]) -> AnyLease:
    """Return the lease that a store is asked for; cancelled meanwhile, give back what it may have granted already."""
    answer = asyncio.ensure_future(asking)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        await finish(_give_back(answer))
        raise


def locked(path: str, holder: str | None = None, since: datetime | None = None) -> Locked:
    """Return the error that names the path and, where known, who writes it and since when."""
    by = f" by {holder}" if holder else ""
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return Locked.of(path, f"another writer has this file open{by}{when}")


async def _give_back(answer: asyncio.Future[AnyLease]) -> None:
    await asyncio.wait([answer])
    if not answer.cancelled() and answer.exception() is None:
        with suppress(OSError):  # it expires by itself
            await answer.result().release()


def _current_task() -> str | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return None if task is None else f"task {task.get_name()}"
