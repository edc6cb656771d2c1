"""Transactions as users have them: over one store or several, and a file system with transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, overload
from weakref import WeakKeyDictionary

from aiofs import clock
from aiofs.driver import Driver
from aiofs.errors import Unsupported, with_others
from aiofs.filesystem import FileSystem
from aiofs.lifetimes import Call
from aiofs.powers import HasAddress
from aiofs.system import FileLikeSystem
from aiofs.transactions.journal import Journal
from aiofs.transactions.recovery import Recovered, not_recovered, recover_units
from aiofs.transactions.unit import Change, State, Unit
from aiofs.waiting import check_wait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable, Sequence
    from contextvars import Token
    from types import TracebackType

    from aiofs.blocking.systems import BlockingFileSystem
    from aiofs.blocking.transactions import BlockingTransactionalFileSystem
    from aiofs.driver import Capabilities, Entry, Lease, Power, ReadStream, WriteSession
    from aiofs.transactions.staging import UnitDriver
    from aiofs.transactions.unit import Mark

Hosts = Mapping[str | None, FileSystem]
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""How many seconds `recover` waits between two looks at whether a process is dead."""


class Savepoint:
    """A moment in a transaction. `rollback`, or an exception that leaves its `async with` block, goes back to it."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._mark: Mark = unit.mark()

    def rollback(self) -> None:
        """Forget what was done since, and later savepoints. Locks stay.

        :raises ValueError: if the transaction ended, or went back to an earlier savepoint.
        """
        self._unit.back_to(self._mark)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._unit.state == "open":
            self.rollback()


class Control:
    """How a transaction begins and ends: leaving its `async with` block commits it, an exception rolls it back.

    If one of its file systems is closed before that, it is rolled back, and leaving the block raises `ValueError`.
    """

    _unit: Unit
    _hosts: Hosts
    _commits: bool

    def __repr__(self) -> str:
        return repr(self._unit)

    @property
    def state(self) -> State:
        """The state of the transaction: new, open, committing, committed, rolled back or unfinished."""
        return self._unit.state

    async def commit(self) -> None:
        """Publish everything, or nothing. Harmless when done twice.

        :raises OSError: the reason why nothing was published; everything is as it was before. If there are several
            reasons and one of them is a `BlockingIOError`, that one is raised; `others` and the notes have the others.
        :raises Unfinished: if the transaction is neither published nor undone yet, so that `recover` has to end it.
        """
        await self._unit.commit()

    async def rollback(self) -> None:
        """Forget everything. Harmless when done twice."""
        await self._unit.roll_back()

    def savepoint(self) -> Savepoint:
        """Return a savepoint: this moment, to which the transaction can go back."""
        return Savepoint(self._unit)

    async def diff(self) -> list[Change]:
        """Return what `commit` would do."""
        return await self._unit.diff()

    async def __aenter__(self) -> Self:
        for host in self._hosts.values():
            host._remember(self._unit)  # noqa: SLF001 -- closing one of them ends the transaction
        await self._unit.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._commits and (self._unit.state == "open" or self._unit.ended_early):
            await self._unit.commit()
        elif self._unit.state == "open":
            try:
                await self._unit.roll_back()
            except Exception as failure:
                if error is None:
                    raise
                with_others(error, [failure], "and not everything of the transaction could be rolled back")


class FileTransaction(Control, FileSystem):
    """A transaction over one store, which is used like the store itself."""

    def __init__(self, unit: Unit, hosts: Hosts, *, commits: bool = True) -> None:
        (driver,) = unit.drivers.values()
        FileSystem.__init__(self, driver, owner=False, base=hosts.get(""))
        self._unit = unit
        self._hosts = hosts
        self._commits = commits

    @property
    def blocking(self) -> BlockingFileSystem:
        """Raise `Unsupported`: this transaction belongs to the event loop in which it began."""
        reason = f"{self} began in another event loop: begin it by aiofs.blocking.transaction"
        raise Unsupported.of(None, reason)


class Transaction(Control):
    """A transaction over several stores, each used by its name: `tx["docs"].open(...)`."""

    def __init__(self, unit: Unit, hosts: Hosts, *, commits: bool = True) -> None:
        self._unit = unit
        self._hosts = hosts
        self._commits = commits
        self._systems = {
            name: FileSystem(driver, owner=False, base=hosts.get(name)) for name, driver in unit.drivers.items()
        }

    def __getitem__(self, name: str) -> FileSystem:
        return self._systems[name]


@overload
def transaction(
    stores: FileLikeSystem, *, journal: FileLikeSystem | None = None, auto_commit: bool = True
) -> FileTransaction: ...
@overload
def transaction(
    stores: Mapping[str, FileLikeSystem], *, journal: FileLikeSystem | None = None, auto_commit: bool = True
) -> Transaction: ...
def transaction(
    stores: FileLikeSystem | Mapping[str, FileLikeSystem],
    *,
    journal: FileLikeSystem | None = None,
    auto_commit: bool = True,
) -> FileTransaction | Transaction:
    """Return a transaction over a file system, or over several by names: `async with aiofs.transaction(fs) as tx`.

    Within the block `tx` (or `tx["name"]`) is the file system as it will be; nobody else sees anything of it. Leaving
    the block publishes everything; an exception publishes nothing. Without `auto_commit`, only `commit()` publishes.
    The journal is kept in hidden files beside the data, of the first store if there are several, or in `journal`.

    :raises BlockingIOError: on writing or removing a file that somebody else is writing.
    """
    unit = Unit(*parties(stores, journal))
    hosts = hosts_of(stores, journal)
    if isinstance(stores, FileLikeSystem):
        return FileTransaction(unit, hosts, commits=auto_commit)
    return Transaction(unit, hosts, commits=auto_commit)


async def recover(
    stores: FileLikeSystem | Mapping[str, FileLikeSystem], *, journal: FileLikeSystem | None = None, wait: float = 0
) -> Recovered:
    """Finish or undo the transactions of dead processes, and return what was found.

    Give the same stores and journal as to `transaction`. It may be called at any time, from any process or machine that
    reaches the stores, also twice and at the same time; it does not touch living transactions. Where locks run out, a
    transaction is `live` until the locks of its dead process have: `wait` is how many seconds to wait for that.

    :raises OSError: if some transactions could not be recovered: the error of the first, with the others in its notes.
        They stay in the journal. All others are recovered.
    """
    check_wait(wait)
    drivers, kept_by = parties(stores, journal)
    with at_work(hosts_of(stores, journal)):
        deadline, pause = clock.monotonic() + wait, SHORTEST_PAUSE
        report = await recover_units(drivers, Journal(kept_by))
        while report.live and (left := deadline - clock.monotonic()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
            report = report.then(await recover_units(drivers, Journal(kept_by)))
    if report.failed:
        raise not_recovered(report)
    return report


class TransactionalFileSystem(FileSystem):
    """A file system with transactions: `async with tfs.transaction() as tx`.

    Within the block, all that the same task (or a task that it starts there) does with `tfs` is part of the
    transaction. So code that was written for a plain file system runs in a transaction unchanged. Outside of the block
    `tfs` is the plain file system.
    """

    def __init__(self, system: FileLikeSystem, journal: FileLikeSystem | None = None) -> None:
        self._ambient = AmbientDriver(driver_of(system))
        self._system = system
        self._journal = journal
        super().__init__(self._ambient, base=system if isinstance(system, FileSystem) else None)

    def transaction(self, *, auto_commit: bool = True) -> FileTransaction:
        """Begin a transaction.

        :raises ValueError: on entering, within another one.
        """
        unit = Unit(*parties(self._system, self._journal))
        return AmbientTransaction(self._ambient, unit, hosts_of(self, self._journal), commits=auto_commit)

    @property
    def blocking(self) -> BlockingTransactionalFileSystem:
        """The same file system for code without asyncio."""
        from aiofs.blocking.transactions import BlockingTransactionalFileSystem  # noqa: PLC0415 -- it stands on this

        return BlockingTransactionalFileSystem(self)

    async def recover(self, *, wait: float = 0) -> Recovered:
        """Finish or undo the transactions of dead processes. See `aiofs.recover`."""
        return await recover(self._system, journal=self._journal, wait=wait)


class AmbientTransaction(FileTransaction):
    """A transaction in which a `TransactionalFileSystem` takes part."""

    def __init__(self, ambient: AmbientDriver, unit: Unit, hosts: Hosts, *, commits: bool) -> None:
        super().__init__(unit, hosts, commits=commits)
        self._ambient = ambient
        self._before: Token[UnitDriver | None] | None = None

    async def __aenter__(self) -> Self:
        if self._ambient.current.get() is not None:
            raise ValueError("this file system is within a transaction already: use its savepoint() to nest")
        await super().__aenter__()
        (driver,) = self._unit.drivers.values()
        self._before = self._ambient.current.set(driver)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            with suppress(ValueError):  # another task entered it
                self._ambient.current.reset(self._before)
        await super().__aexit__(kind, error, trace)


class AmbientDriver(Driver):
    """Within a transaction this is the driver of the transaction, outside the driver of the store."""

    def __init__(self, base: Driver) -> None:
        self.current: ContextVar[UnitDriver | None] = ContextVar("transaction", default=None)
        self._base = base
        self._givers: WeakKeyDictionary[Lease, Driver] = WeakKeyDictionary()
        self.part_size: int = base.part_size
        self.window: int | None = base.window

    def __reduce__(self) -> tuple[type[AmbientDriver], tuple[Driver]]:
        """Pickle as outside of a transaction: a transaction stays in its process."""
        return AmbientDriver, (self._base,)

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """The capabilities of the driver that is used now."""
        return self._now.capabilities

    @property
    def _now(self) -> Driver:
        return self.current.get() or self._base

    def check_name(self, path: str) -> None:
        self._base.check_name(path)

    async def stat(self, path: str) -> Entry:
        return await self._now.stat(path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        return await self._now.read(path, start, stop, match=match)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Call the driver that gave the lease: a file stays in the transaction in which it was opened, or outside."""
        return await self._givers.get(lease, self._now).begin(path, lease, match=match, metadata=metadata)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        return await self._base.resume(token)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        await self._now.delete(paths, leases=leases, match=match, missing_ok=missing_ok)

    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        return self._now.list(prefix, after=after, delimiter=delimiter)

    async def lock(self, path: str) -> Lease:
        now = self._now
        lease = await now.lock(path)
        self._givers[lease] = now
        return lease

    def keeper_of(self, path: str) -> tuple[object, str]:
        return self._now.keeper_of(path)

    async def aclose(self) -> None:
        await self._base.aclose()

    def locate(self, path: str) -> tuple[Hashable, str]:
        return self._base.locate(path)

    def identity(self, path: str) -> Hashable:
        return self._base.identity(path)

    def offers(self, power: type[Power]) -> Power | None:
        """Return the powers of the driver that is used now, but no URL: what that names has no transactions."""
        return None if power is HasAddress else self._now.offers(power)

    def __str__(self) -> str:
        return str(self._base)


def driver_of(system: FileLikeSystem) -> Driver:
    """Return the driver of a file system: the same one each time, so that its locks are shared."""
    if not isinstance(system, FileLikeSystem):
        raise TypeError(f"a transaction is over file systems, not over {system!r}: give an aiofs.FileLikeSystem")
    if isinstance(system, FileSystem):
        if system.closed:
            raise ValueError(f"I/O operation on closed file system {system.driver}")
        return system.driver
    return system.over().driver


def parties(
    stores: FileLikeSystem | Mapping[str, FileLikeSystem], journal: FileLikeSystem | None
) -> tuple[dict[str, Driver], Driver]:
    """Return the drivers of the stores by name, and the driver of the journal."""
    systems = stores if isinstance(stores, Mapping) else {"": stores}
    if not systems or ("" in systems and isinstance(stores, Mapping)):
        raise ValueError("a transaction needs one file system, or several, each with a name")
    for name in systems:
        if not isinstance(name, str):
            raise TypeError(f"the name of a file system is a str, not {name!r}")
    drivers = {name: driver_of(system) for name, system in systems.items()}
    return drivers, driver_of(journal) if journal is not None else next(iter(drivers.values()))


def hosts_of(stores: FileLikeSystem | Mapping[str, FileLikeSystem], journal: FileLikeSystem | None) -> Hosts:
    """Return the file systems that may be closed meanwhile, by name; the name of the journal's is `None`."""
    systems: dict[str | None, FileLikeSystem | None] = {None: journal}
    systems.update(stores if isinstance(stores, Mapping) else {"": stores})
    return {name: system for name, system in systems.items() if isinstance(system, FileSystem)}


def at_work(hosts: Hosts) -> ExitStack:
    """Return a block that counts as a call of each file system: closing one of them waits until it ends."""
    block = ExitStack()
    for host in hosts.values():
        block.enter_context(Call(host._calls))  # noqa: SLF001 -- as its own methods do
    return block
