"""Leases: a table of those within one process, and those that a store grants for a time and that are renewed."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from aiofs import clock
from aiofs.driver import Lease
from aiofs.errors import Conflict, Locked
from aiofs.lifetimes import finish
from aiofs.names import lock_of_path, path_of_lock
from aiofs.waiting import give_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
    from datetime import datetime

    from aiofs.driver import Driver
    from aiofs.waiting import Waiter

AnyLease = TypeVar("AnyLease", bound=Lease)
_fences = itertools.count(1)
NUMBERS_KEPT = timedelta(days=30)
"""How long a store keeps the last number of a lock that nobody takes. After that time the clock alone makes the next
number larger, so the store may remove the last one."""


class HeldLock:
    """A lock with a name, as `async with fs.lock(name) as lease` gives it.

    `fence` is a number that grows with every holder of the lock. Send it with each change, to a table of a database
    for instance. If the table refuses numbers smaller than the largest that it has seen, a holder that was too slow
    changes nothing. `fence` is `None` if the store cannot promise that it grows.
    """

    def __init__(self, name: str, lease: Lease) -> None:
        self.name: str = name
        self.fence: int | None = lease.number
        self.ended_early: bool = False
        """Whether the file system was closed while the lock was held."""
        self._lease = lease
        self._gone = False

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now, as far as this process knows without asking the store."""
        return self._gone or self._lease.lost

    async def check(self) -> None:
        """Ask the store whether the lock is still held, and renew it.

        :raises Conflict: if it was lost: somebody else may hold it, so the work must stop.
        :raises OSError: if the store does not answer.
        """
        with about_lock(self.name):
            if self.lost or not await self._lease.confirm():
                self._gone = True
                raise self.conflict()

    async def is_held(self) -> bool:
        """Ask the store whether the lock is still held; if the store does not answer, return what is known."""
        if not self.lost:
            with suppress(OSError):
                self._gone = not await self._lease.confirm()
        return not self.lost

    def conflict(self) -> Conflict:
        """Return the error that says that the lock was lost."""
        return Conflict.of(self.name, "this lock was lost, and somebody else may hold it by now")

    async def release(self) -> None:
        """Release the lock. Harmless when done twice."""
        self._gone = True
        with about_lock(self.name):
            await give_back(self._lease)

    async def end_early(self) -> None:
        """Release the lock, because the file system is being closed."""
        self.ended_early = not self._gone
        await self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, fence {self.fence}{', lost' if self.lost else ''}>"


async def hold(driver: Driver, name: str, waiter: Waiter | None) -> HeldLock:
    """Take the lock `name` of a driver; with a `waiter`, wait until it is free.

    :raises Locked: if somebody else holds it, and with a `waiter`, until its time is up.
    """
    path = path_of_lock(name)
    with about_lock(name):
        return HeldLock(name, await (driver.lock(path) if waiter is None else waiter.lock(driver, path)))


@contextmanager
def about_lock(name: str) -> Iterator[None]:
    """If the block raises an error with the path that stands for the lock, replace the path by the name of the lock."""
    try:
        yield
    except OSError as error:
        if error.filename is None or lock_of_path(str(error.filename)) is not None:
            error.filename = name
        raise


def next_number(last: int | None) -> int:
    """Return the number for the next holder of a lock, given the last one that the store knows.

    It is the time in microseconds, or one more than the last number. So it grows even if the store lost the last
    number, in a failover for instance.
    """
    return max((last or 0) + 1, int(clock.now().timestamp() * 1_000_000))


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

    async def confirm(self) -> bool:
        """Return whether the lock was not released."""
        return self._held.get(self.path) is self

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

    async def confirm(self) -> bool:
        """Renew the lock, and return whether it is still ours."""
        if not self.lost:
            await self._ask()
        return not self.lost

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
            try:
                await self._ask()
            except OSError:
                continue
            except ValueError:  # the store was closed
                self._gone = True

    async def _ask(self) -> None:
        asked = clock.monotonic()
        if await self._renew():
            self._expires = asked + self._ttl
        else:
            self._gone = True


class LeaseElsewhere(Lease):
    """A lock on `path` that another lease keeps: one of another store, for instance, under another name."""

    def __init__(self, path: str, lease: Lease) -> None:
        self.path: str = path
        self.fence: str = lease.fence
        self.number: int | None = lease.number
        self._lease = lease

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now."""
        return self._lease.lost

    async def confirm(self) -> bool:
        """Ask the store that keeps the lock."""
        return await self._lease.confirm()

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
    """Return the error for a file or lock that somebody else has locked: who and since when, if known."""
    by = f" by {holder}" if holder else ""
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    what = "this file is being written" if lock_of_path(path) is None else "this lock is held"
    error = Locked.of(path, f"{what}{by}{when}")
    error.holder, error.since = holder, since
    return error


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
