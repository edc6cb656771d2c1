"""Unit: one transaction, from its first lock until nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from aiofs import clock
from aiofs.driver import ABSENT
from aiofs.errors import Conflict, LeftBehind, Locked, Spoiled, Unfinished, Unsupported, one_of, with_others
from aiofs.lifetimes import finish, running_loop
from aiofs.powers import Notes
from aiofs.transactions.commit import (
    Preparation,
    Publication,
    Work,
    abort_all,
    each_raising_all,
    leave_all,
    unfinished,
    version_of,
)
from aiofs.transactions.content import StagedBytes
from aiofs.transactions.journal import Journal, JournalLog, name_file, name_journal, named
from aiofs.transactions.records import last
from aiofs.transactions.recovery import UNUSABLE, not_recovered, recover_units
from aiofs.transactions.staging import UnitDriver
from aiofs.waiting import give_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from aiofs.driver import Driver, Lease
    from aiofs.transactions.records import Record
    from aiofs.transactions.staging import StagedFile

State = Literal["new", "open", "committing", "committed", "rolled back", "unfinished"]
T = TypeVar("T")

_NOT_WHOLLY = "and not everything of the transaction could be undone"
_UNKNOWN = "it is not known yet whether the transaction is committed; its journal stays, and recover() ends it"
TRIES = 10
"""How many numbers are tried for a log while another process happens to look at its new lock."""
_recovered: WeakSet[Driver] = WeakSet()
"""The drivers of journals that this process recovered."""
_left: WeakKeyDictionary[Driver, set[str]] = WeakKeyDictionary()
"""The transactions of this process that left their logs, and were not recovered yet."""
_findable: WeakSet[Driver] = WeakSet()
"""The drivers of journals in which this process found a log that it had written."""
SHORTEST_LOOK, LONGEST_LOOK = 1.0, 8.0
"""How many seconds pass between two looks for a dead transaction, while one lock is asked for again and again."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What was staged when the mark with this number was made."""

    number: int
    staged: dict[str, dict[str, StagedFile]]


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit would do to one file."""

    store: str
    path: str
    kind: Literal["create", "replace", "remove"]
    size: int | None
    """How large the file will be; `None` if it is removed."""


class Unit:
    """A transaction over one store or several."""

    def __init__(self, stores: Mapping[str, Driver], journal: Driver) -> None:
        self.state: State = "new"
        self.ended_early: bool = False
        self.written: StagedBytes = StagedBytes()
        self.drivers: dict[str, UnitDriver] = {name: UnitDriver(self, name, driver) for name, driver in stores.items()}
        self._stores = dict(stores)
        self._journal = Journal(journal)
        self._log: JournalLog | None = None
        self._opening = asyncio.Lock()
        self._ending = asyncio.Lock()
        self._ended = False
        self._failure: OSError | None = None
        self._first: str | None = None
        """The file that was locked first. Errors that are about no single file name it."""
        self._numbers = count()
        self._marks: list[int] = []  # the numbers of marks that `back_to` can take, in order
        self._loop: asyncio.AbstractEventLoop | None = None
        self._touched: set[tuple[str, str]] = set()
        """Which paths of which stores have a line in the log."""
        self._refused: dict[tuple[str, str], tuple[float, float]] = {}
        """For locks that were refused: when to look for dead transactions again, and how long to pause then."""
        # With `Notes`, the locks of the paths stay until the end, and show that the transaction is alive.
        self._locks_log = not all(driver.offers(Notes) for driver in (journal, *stores.values()))

    def __repr__(self) -> str:
        """Show the stores, the state and how many files are staged; no name or content of a file."""
        stores = ", ".join(f"{name!r}: {driver}" if name else str(driver) for name, driver in self._stores.items())
        files = sum(len(driver.staged) for driver in self.drivers.values())
        number = "" if self._log is None else f" {self._log.unit}"
        return f"<transaction{number} over {stores}, {self.state}, {files} file{'' if files == 1 else 's'}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: its locks are here."""
        raise TypeError("a transaction cannot be copied or pickled: begin one where the work is done")

    async def begin(self) -> None:
        """Recover unfinished transactions, once per journal and process, and open this one."""
        self._loop = running_loop()
        async with self._ending:
            if self.state != "new":
                raise ValueError("a transaction is used once: begin another one")
            try:
                await _recover_once(self._stores, self._journal)
            except OSError as error:
                where = self._journal.driver
                if not isinstance(error, UNUSABLE):
                    name_journal(error, where)
                error.add_note(
                    f"no transaction was begun: unfinished ones in the journal ({where}) must be recovered first"
                )
                raise
            self.state = "open"

    def check_open(self) -> None:
        """Raise `ValueError` unless the transaction is open, and `Unsupported` in another event loop than its own."""
        self._check_state()
        if self._loop is not asyncio.get_running_loop() and self._loop is not None and not self._loop.is_closed():
            reason = (
                "this transaction belongs to the event loop in which it began: use it there, or begin another one here "
                "(code without asyncio: by aiofs.blocking.transaction, or tfs.blocking.transaction)"
            )
            raise Unsupported.of(None, reason)

    def _check_state(self) -> None:
        if self.state != "open":
            why = ": it begins with its 'async with' block" if self.state == "new" else ""
            why = ": one of its file systems was closed before it ended" if self.ended_early else why
            raise ValueError(f"this transaction is {self.state}{why}")

    def spoil(self, error: OSError) -> None:
        """Keep the transaction from being committed, because of `error`."""
        self._failure = self._failure or error

    async def acquire(self, driver: UnitDriver, path: str) -> Lease:
        """Lock a path in its store, and write that to the log.

        If an unfinished transaction holds the path, it is recovered first.
        """
        self._first = self._first or path
        with named(path):
            return await self._acquire(driver, path)

    async def _acquire(self, driver: UnitDriver, path: str) -> Lease:
        touched = {"do": "touch", "store": driver.name, "path": path}
        if self._journal.grows:
            if (driver.name, path) not in self._touched:  # else the lock was refused, and this is another try
                await self._write(touched)
                self._touched.add((driver.name, path))
            return await self._lock(driver, path)
        await self._write()
        lease = await self._lock(driver, path)
        try:
            # The line may be lost until the next durable one, so it may only say what is already true.
            await self._write(touched)
        except BaseException:
            await finish(lease.release())  # the transaction ended meanwhile
            raise
        return lease

    async def record_lock(self, driver: UnitDriver, path: str, lease: Lease) -> None:
        """Write the fence of a lock to the log, before the lock is made one that stays when this process ends."""
        with named(path):
            await self._write({"do": "held", "store": driver.name, "path": path, "fence": lease.fence}, durable=True)

    async def _lock(self, driver: UnitDriver, path: str) -> Lease:
        try:
            return await driver.base.lock(path)
        except Locked as error:
            due, pause = self._refused.get((driver.name, path), (0.0, SHORTEST_LOOK))
            if clock.monotonic() < due:
                raise  # a call that waits for the lock tries many times
            report = await recover_units(self._stores, self._journal)
            self._refused[driver.name, path] = clock.monotonic() + pause, min(2 * pause, LONGEST_LOOK)
            if report.failed:
                raise error from not_recovered(report)
            if not report.ended:
                raise
            return await driver.base.lock(path)

    async def diff(self) -> list[Change]:
        """Return what a commit would do."""
        async with self._ending:
            self.check_open()
            return await self._changes()

    async def _changes(self) -> list[Change]:
        changes: list[Change] = []
        for driver in self.drivers.values():
            for path, staged in sorted(driver.staged.items()):
                there = await version_of(driver.base, path) != ABSENT
                if staged.content is not None:
                    kind: Literal["create", "replace"] = "replace" if there else "create"
                    changes.append(Change(driver.name, path, kind, staged.content.size))
                elif there:
                    changes.append(Change(driver.name, path, "remove", None))
        return changes

    def mark(self) -> Mark:
        """Return a mark of what is staged now, for `back_to`."""
        self._check_state()
        self._marks.append(next(self._numbers))
        return Mark(self._marks[-1], {name: dict(driver.staged) for name, driver in self.drivers.items()})

    def back_to(self, mark: Mark) -> None:
        """Forget what was staged after `mark`, and later marks. Locks stay."""
        self._check_state()
        if mark.number not in self._marks:
            raise ValueError("this savepoint is gone: the transaction went back to an earlier one")
        del self._marks[self._marks.index(mark.number) + 1 :]
        for name, staged in mark.staged.items():
            self.drivers[name].staged.clear()
            self.drivers[name].staged.update(staged)

    async def commit(self) -> None:
        """Publish everything, or nothing. Harmless when it was done.

        :raises OSError: if nothing was published: the reason, with other reasons in its notes.
        :raises Unfinished: if it is neither published nor undone yet, so that `recover` has to end it.
        :raises LeftBehind: if everything is published, and only its traces could not be removed.
        """
        async with self._ending:
            if self.state != "committed":
                self.check_open()
                with named(self._first):
                    await self._ended_by(self._commit())

    async def _commit(self) -> None:
        self.state = "committing"
        log = self._log
        preparation = None if log is None else Preparation(self.drivers.values(), log, self._journal.driver)
        try:
            self._check_whole()
            works = [] if preparation is None else await preparation.run()
        except BaseException as error:
            await finish(self._refuse(error, [] if preparation is None else preparation.failures))
            raise
        await finish(self._decide(works))

    async def roll_back(self) -> None:
        """Forget everything. Harmless when it was done.

        :raises OSError: if locks could not be released, or traces could not be removed.
        """
        async with self._ending:
            if self.state == "committed":
                raise ValueError("this transaction is committed, and cannot be rolled back")
            await self._roll_back()

    async def end_early(self) -> None:
        """Roll back, because one of the file systems is being closed. A commit that is under way is finished."""
        async with self._ending:
            self.ended_early = self.state == "open"
            await self._roll_back()

    async def _roll_back(self) -> None:
        if self.state in {"new", "open"}:
            self.state = "rolled back"
            failures = await self._ended_by(finish(self._end(erase=True)))
            if failures:
                with named(self._first):
                    raise one_of(failures)

    def _check_whole(self) -> None:
        """Raise if the transaction must not be published."""
        for driver in self.drivers.values():
            for path, lease in driver.leases.items():
                driver.check_closed(path)
                if lease.lost:
                    raise Conflict.of(path, "the lock on this file was lost before the transaction was committed")
        if self._failure is not None:
            path, reason = self._failure.filename, "a part of this transaction failed, so nothing was committed"
            raise Spoiled.of(path, reason) from self._failure

    async def _decide(self, works: Sequence[Work]) -> None:
        """Write the decision, publish, and release everything."""
        trouble: list[Exception] = []
        if works:
            assert self._log is not None  # noqa: S101 -- staging something began the log
            try:
                trouble += await self._write_decision(self._log, works)
                await Publication(works, self._log).run()
            except LeftBehind as error:
                trouble.append(error)
            except Exception as error:
                self.state = "unfinished" if isinstance(error, Unfinished) else "rolled back"
                with_others(error, [*trouble, *await self._end()])
                raise
        self.state = "committed"
        trouble += await self._end(erase=not works)
        if trouble:
            reason = "the transaction is committed, all of it is there; but traces of it are left"
            raise with_others(
                LeftBehind.of(works[0].step.path if works else self._first, reason), trouble
            ) from trouble[0]

    async def _write_decision(self, log: JournalLog, works: Sequence[Work]) -> list[Exception]:
        """Write the decision, or undo what was prepared and raise.

        Returns the errors that were raised although the decision is in the log.
        """
        try:
            self._check_whole()
            await log.write({"do": "commit", "steps": [work.step.to_json() for work in works]})
        except Exception as error:
            try:
                decided = last(await self._journal.log(log.unit).read(), "commit") is not None
            except Exception as failure:
                raise unfinished(log, error, [failure, *await leave_all(works)], _UNKNOWN) from error
            if decided and log.certain:
                raise unfinished(log, error, await leave_all(works), _UNKNOWN) from error
            if decided:
                return [error]
            with_others(error, await abort_all(works) or await _collect(log.end()), _NOT_WHOLLY)
            raise
        return []

    async def _refuse(self, cause: BaseException, failures: Sequence[Exception]) -> None:
        """End before the decision, because of `cause`. If there are `failures`, the log stays, and `recover` undoes."""
        self.state = "unfinished" if failures else "rolled back"
        with_others(cause, [*failures, *await self._end(erase=not failures)], _NOT_WHOLLY)

    async def _end(self, *, erase: bool = False) -> list[Exception]:
        """Release everything, and return what failed; remove the log too with `erase`."""
        self.written.close()
        leases = [lease for driver in self.drivers.values() for lease in driver.leases.values()]
        for driver in self.drivers.values():
            driver.staged.clear()  # narrowed drivers share it
        failures = await _release_all(leases)
        for driver in self.drivers.values():
            driver.leases.clear()
        async with self._opening:
            log = self._log
        if log is not None and not log.ended:
            failures += await _collect(log.end() if erase else log.release())
            if not log.ended:  # the next transaction of this process ends it
                _recover_later(self._journal, log.unit)
        self._log = None
        self._ended = True
        return failures

    async def _ended_by(self, ending: Awaitable[T]) -> T:
        """Await what ends the transaction. If that is cut off, release everything and leave the rest to `recover`.

        A loop that ends cancels all its tasks, also those that are shielded from other cancellations.
        """
        try:
            return await ending
        except BaseException as error:
            if self._ended:
                raise
            if self.state == "committing":
                self.state = "unfinished"
            with_others(error, await finish(self._end(erase=self.state == "rolled back")), _NOT_WHOLLY)
            raise

    async def _write(self, *records: Record, durable: bool = False) -> None:
        """Add lines to the log, which the first call begins."""
        async with self._opening:
            self.check_open()
            if self._log is None:
                self._log = await self._begin_log(records)
                return
            log = self._log
        if records:
            await log.write(*records, durable=durable)

    async def _begin_log(self, records: Sequence[Record]) -> JournalLog:
        """Begin the log with these lines. It is locked before anything is written, so that nobody recovers it."""
        begun = {
            "do": "open",
            "by": f"process {os.getpid()} on {socket.gethostname()}",
            "at": clock.now().isoformat(),
            "stores": {name: str(driver) for name, driver in self._stores.items()},
            "locked": self._locks_log,
        }
        log = await self._locked_log()
        try:
            await log.write(begun, *records, durable=False)
            if self._journal.driver not in _findable:
                if log.grows and not await log.is_there():
                    raise Unsupported.of(log.name(""), "the log was written there, and no listing shows it")
                _findable.add(self._journal.driver)
        except BaseException as error:
            for failure in await finish(_collect(log.end())):  # no file was changed yet
                error.add_note(f"the log that was begun could not be removed either: {failure}")
            if not log.ended:
                _recover_later(self._journal, log.unit)
            raise
        return log

    async def _locked_log(self) -> JournalLog:
        """Return a log with a new number, locked unless the locks of paths say that the transaction is alive."""
        for tries_left in reversed(range(TRIES)):
            log = self._journal.log(clock.token())
            try:
                if self._locks_log:
                    await log.lock()
            except Locked:  # another process recovers, and looked whether this new lock is that of a dead one
                if not tries_left:
                    raise
            else:
                break
        return log


async def _recover_once(stores: Mapping[str, Driver], journal: Journal) -> None:
    """Recover, if this process did not look at this journal before, or left a log in it since.

    :raises OSError: the first error, with the others in its notes.
    """
    left = _left.setdefault(journal.driver, set())
    if left or journal.driver not in _recovered:
        before = set(left)
        report = await recover_units(stores, journal)
        if report.failed:
            raise not_recovered(report)
        left -= before.difference(report.live, report.foreign)
        _recovered.add(journal.driver)


def _recover_later(journal: Journal, unit: str) -> None:
    """Have the next transaction of this process recover one that left its log."""
    _left.setdefault(journal.driver, set()).add(unit)


async def _release_all(leases: Sequence[Lease]) -> list[Exception]:
    """Release all locks, and return what failed."""
    failures: list[Exception] = []

    async def release(lease: Lease) -> None:
        try:
            await give_back(lease)
        except OSError as error:
            failures.append(name_file(error, lease.path))

    await each_raising_all(leases, release)
    return failures


async def _collect(work: Awaitable[None]) -> list[Exception]:
    """Await something, and return its failure in a list; an empty list if it did not fail."""
    try:
        await work
    except Exception as error:
        return [error]
    return []
