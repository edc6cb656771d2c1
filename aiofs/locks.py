"""Leases: a table of those within one process, and those that a store grants for a time and that are renewed."""

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
    """The locks of all tasks and threads that share this table."""

    def __init__(self) -> None:
        self._held: dict[str, TableLease] = {}

    def __reduce__(self) -> tuple[type[LockTable], tuple[()]]:
        """Pickle as empty, as a lock is held only in the process that took it."""
        return LockTable, ()

    def acquire(self, path: str) -> TableLease:
        """Return the lease of `path`.

        :raises Locked: if it is taken; the error says by whom and since when.
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
        """Raise `Conflict` unless `lease` is still held."""
        if self._held.get(lease.path) is not lease:
            raise Conflict.of(lease.path, "the lock on this file was released before it was published")

    def refuse(self, path: str, leases: Sequence[Lease] = ()) -> None:
        """Raise `Locked` if `path` is taken by a lease that is not among `leases`."""
        holder = self._held.get(path)
        if holder is not None and holder not in leases:
            raise locked(path, holder.holder, holder.since)


class TableLease(Lease):
    """A lock in a `LockTable`."""

    def __init__(self, path: str, held: dict[str, TableLease]) -> None:
        self.path = path
        self.since: datetime = clock.now()
        self.holder: str | None = _current_task()
        self.fence: str = str(next(_fences))
        self._held = held

    async def release(self) -> None:
        """Release the lock."""
        self.abandon()

    def abandon(self) -> None:
        """Release the lock."""
        if self._held.get(self.path) is self:
            del self._held[self.path]


class RenewedLease(Lease):
    """A lock that a store grants for `ttl` seconds at a time, and that a task renews.

    `renew` asks for another `ttl` seconds. It returns whether the lock is still ours, or raises `OSError` if the store
    did not answer. Then it is called again, until the lock has run out and must be taken for lost.
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
        self._release = release
        # The store counts from the arrival of the request, so this counts from before it was sent.
        self._expires = (clock.monotonic() if granted is None else granted) + ttl
        self._gone = False
        self._loop = asyncio.get_running_loop()
        self._keeper: asyncio.Task[None] | None = self._loop.create_task(self._keep(), name=f"lease of {path}")

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now."""
        return self._gone or clock.monotonic() >= self._expires

    async def release(self) -> None:
        """Stop renewing, and release the lock if it is still ours."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        await finish(self._stop(keeper))

    def abandon(self) -> None:
        """Stop renewing, without awaiting: the lock is free when its time is up."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(keeper.cancel)

    async def _stop(self, keeper: asyncio.Task[None]) -> None:
        keeper.cancel()
        await asyncio.wait([keeper])
        if not self._gone:
            self._gone = True
            await self._release()

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
    """A lock on `path` that another lease keeps: one of another store, for instance, under another name."""

    def __init__(self, path: str, lease: Lease) -> None:
        self.path: str = path
        self.fence: str = lease.fence
        self._lease = lease

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now."""
        return self._lease.lost

    async def release(self) -> None:
        """Release the lock."""
        await self._lease.release()

    def abandon(self) -> None:
        """Release the lock without awaiting."""
        self._lease.abandon()


async def granted(asking: Coroutine[Any, Any, AnyLease]) -> AnyLease:
    """Return the lease for which `asking` asks a store.

    If the caller is cancelled, this waits for the answer and releases the lease that the store granted.
    """
    answer = asyncio.ensure_future(asking)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        await finish(_release_granted(answer))
        raise


def locked(path: str, holder: str | None = None, since: datetime | None = None) -> Locked:
    """Return the error that names the path and, if known, who writes it and since when."""
    by = f" by {holder}" if holder else ""
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return Locked.of(path, f"another writer has this file open{by}{when}")


async def _release_granted(answer: asyncio.Future[AnyLease]) -> None:
    await asyncio.wait([answer])
    if not answer.cancelled() and answer.exception() is None:
        with suppress(OSError):  # the lock expires by itself
            await answer.result().release()


def _current_task() -> str | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return None if task is None else f"task {task.get_name()}"
