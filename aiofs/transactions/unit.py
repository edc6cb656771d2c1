"""Unit: one transaction, from its first lock to its last trace."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar

from aiofs.driver import ABSENT
from aiofs.errors import Conflict, Locked, Spoiled, Unsupported
from aiofs.lifetimes import finish
from aiofs.powers import Notes
from aiofs.transactions.content import Vault
from aiofs.transactions.errors import (
    LeftBehind,
    Unfinished,
    name_file,
    name_journal,
    named,
    one_of,
    with_others,
)
from aiofs.transactions.journal import Journal, Log, last
from aiofs.transactions.prepare import Preparation, abort_all, version_of
from aiofs.transactions.publish import Publication, Work, each, leave_all, unfinished
from aiofs.transactions.recovery import UNUSABLE, look_again, not_recovered, recover_once, recover_units
from aiofs.transactions.staging import UnitDriver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from aiofs.driver import Driver, Lease
    from aiofs.transactions.staging import Staged

State = Literal["new", "open", "committing", "committed", "rolled back", "unfinished"]
T = TypeVar("T")

_NOT_WHOLLY = "and not everything of the transaction could be undone"
_NOBODY_KNOWS = "nobody can tell for now whether the transaction is committed; its journal stays, and recover() ends it"
TRIES = 10
"""As often a log that was just begun may be taken for that of a dead process, and removed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What was staged at a moment; numbers tell moments apart."""

    number: int
    staged: dict[str, dict[str, Staged]]


@dataclass(frozen=True, slots=True)
class Change:
    """What committing would do to one file."""

    store: str
    path: str
    kind: Literal["create", "replace", "remove"]
    size: int | None
    """How large the file will be; `None` if it is removed."""


class Unit:
    """The stores of a transaction as it sees them, and what becomes of them."""

    def __init__(self, stores: Mapping[str, Driver], journal: Driver) -> None:
        self.state: State = "new"
        self.ended_early: bool = False
        self.vault: Vault = Vault()
        self.drivers: dict[str, UnitDriver] = {name: UnitDriver(self, name, driver) for name, driver in stores.items()}
        self._stores = dict(stores)
        self._journal = Journal(journal)
        self._log: Log | None = None
        self._opening = asyncio.Lock()
        self._ending = asyncio.Lock()
        self._ended = False
        self._failure: OSError | None = None
        self._first: str | None = None
        """The file that was locked first: errors that concern no single file name it."""
        self._numbers = count()
        self._marks: list[int] = []  # what can be gone back to, in order
        # Where its paths stay locked to the end, they tell well enough that the transaction is alive.
        self._locks_log = not all(driver.offers(Notes) for driver in (journal, *stores.values()))

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: its locks are here."""
        raise TypeError("a transaction cannot be copied or pickled: begin one where the work is done")

    async def begin(self) -> None:
        """Recover what was left unfinished, once per journal and process."""
        async with self._ending:
            if self.state != "new":
                raise ValueError("a transaction is used once: begin another one")
            try:
                await recover_once(self._stores, self._journal)
            except OSError as error:
                where = self._journal.driver
                if not isinstance(error, UNUSABLE):
                    name_journal(error, where)
                error.add_note(
                    f"no transaction was begun: what others may have left in the journal ({where}) comes first"
                )
                raise
            self.state = "open"

    def check_open(self) -> None:
        """Raise `ValueError` unless the transaction is under way."""
        if self.state != "open":
            why = ": it begins with its 'async with' block" if self.state == "new" else ""
            why = ": one of its file systems was closed before it ended" if self.ended_early else why
            raise ValueError(f"this transaction is {self.state}{why}")

    def spoil(self, error: OSError) -> None:
        """Keep the transaction from being committed."""
        self._failure = self._failure or error

    async def acquire(self, driver: UnitDriver, path: str) -> Lease:
        """Lock a path in its store, after writing down that this is done.

        An unfinished transaction that is in the way is recovered first.
        """
        self._first = self._first or path
        with named(path):
            return await self._acquire(driver, path)

    async def _acquire(self, driver: UnitDriver, path: str) -> Lease:
        log = await self._opened()
        touched = {"do": "touch", "store": driver.name, "path": path}
        if log.grows:
            await log.write(touched, durable=False)
            return await self._lock(driver, path)
        # What is not in the store before the next line that lasts may tell what is so, not what may be.
        lease = await self._lock(driver, path)
        await log.write(touched, durable=False)
        return lease

    async def tell_held(self, driver: UnitDriver, path: str, lease: Lease) -> None:
        """Write down which lock is held, before anything is left in the store that stays without this process."""
        with named(path):
            log = await self._opened()
            await log.write({"do": "held", "store": driver.name, "path": path, "fence": lease.fence})

    async def _lock(self, driver: UnitDriver, path: str) -> Lease:
        try:
            return await driver.base.lock(path)
        except Locked as error:
            report = await recover_units(self._stores, self._journal)
            if report.failed:
                raise error from not_recovered(report)
            if not report.ended:
                raise
            return await driver.base.lock(path)

    async def diff(self) -> list[Change]:
        """Return what committing would do."""
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
        """Return what is staged, for `back_to`."""
        self.check_open()
        self._marks.append(next(self._numbers))
        return Mark(self._marks[-1], {name: dict(driver.staged) for name, driver in self.drivers.items()})

    def back_to(self, mark: Mark) -> None:
        """Forget what was staged after `mark`, and later marks. Locks are kept."""
        self.check_open()
        if mark.number not in self._marks:
            raise ValueError("this savepoint is gone: the transaction went back to an earlier one")
        del self._marks[self._marks.index(mark.number) + 1 :]
        for name, staged in mark.staged.items():
            self.drivers[name].staged.clear()
            self.drivers[name].staged.update(staged)

    async def commit(self) -> None:
        """Publish everything, or nothing. Harmless when it was done.

        :raises OSError: the reason why everything is as it was before, with other reasons in its notes.
        :raises Unfinished: if it is neither published nor undone, and waits for `recover`.
        :raises LeftBehind: if everything is published, and only traces could not be removed.
        """
        async with self._ending:
            if self.state != "committed":
                self.check_open()
                with named(self._first):
                    await self._to_its_end(self._commit())

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

        :raises OSError: if locks could not be given back, or traces not be removed.
        """
        async with self._ending:
            if self.state == "committed":
                raise ValueError("this transaction is committed, and cannot be rolled back")
            await self._roll_back()

    async def end_early(self) -> None:
        """Roll back, as a file system that takes part is being closed; what is being committed then is committed."""
        async with self._ending:
            self.ended_early = self.state == "open"
            await self._roll_back()

    async def _roll_back(self) -> None:
        if self.state in {"new", "open"}:
            self.state = "rolled back"
            failures = await self._to_its_end(finish(self._end(erase=True)))
            if failures:
                with named(self._first):
                    raise one_of(failures)

    def _check_whole(self) -> None:
        """Raise what speaks against publishing at all."""
        for driver in self.drivers.values():
            for path, lease in driver.leases.items():
                driver.check_closed(path)
                if lease.lost:
                    raise Conflict.of(path, "the lock on this file was lost before the transaction was committed")
        if self._failure is not None:
            path, reason = self._failure.filename, "a part of this transaction failed, so nothing was committed"
            raise Spoiled.of(path, reason) from self._failure

    async def _decide(self, works: Sequence[Work]) -> None:
        """Write the decision, publish, and let go of everything."""
        trouble: list[Exception] = []
        if works:
            assert self._log is not None  # noqa: S101 -- whoever staged something began the log
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

    async def _write_decision(self, log: Log, works: Sequence[Work]) -> list[Exception]:
        """Make the transaction one that will be finished, or undo what was prepared and raise.

        Returns what went wrong although the decision is there.
        """
        try:
            self._check_whole()
            await log.write({"do": "commit", "steps": [work.step.to_json() for work in works]})
        except Exception as error:
            try:
                decided = last(await self._journal.log(log.unit).read(), "commit") is not None
            except Exception as failure:
                raise unfinished(log, error, [failure, *await leave_all(works)], _NOBODY_KNOWS) from error
            if decided and log.certain:
                raise unfinished(log, error, await leave_all(works), _NOBODY_KNOWS) from error
            if decided:
                return [error]
            with_others(error, await abort_all(works) or await _collect(log.end()), _NOT_WHOLLY)
            raise
        return []

    async def _refuse(self, cause: BaseException, failures: Sequence[Exception]) -> None:
        """End before the decision. What could not be undone, for `failures`, waits for `recover`, as the log stays."""
        self.state = "unfinished" if failures else "rolled back"
        with_others(cause, [*failures, *await self._end(erase=not failures)], _NOT_WHOLLY)

    async def _end(self, *, erase: bool = False) -> list[Exception]:
        """Let go of everything, and return what failed."""
        self.vault.close()
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
            if not log.ended:  # others may come first, but not this process
                look_again(self._journal, log.unit)
        self._log = None
        self._ended = True
        return failures

    async def _to_its_end(self, ending: Awaitable[T]) -> T:
        """Await an end. One that is cut off still lets go of everything, and leaves the rest to `recover`.

        A loop that ends cancels all its tasks, those too that nobody else can cancel.
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

    async def _opened(self) -> Log:
        """Return the log, begun and locked."""
        async with self._opening:
            self.check_open()
            tries = 0
            while self._log is None:
                log = self._journal.log(uuid.uuid4().hex)
                tries += 1
                if tries > TRIES:
                    raise Unsupported.of(log.name(""), "no log that is written there can be found again")
                who = f"process {os.getpid()} on {socket.gethostname()}"
                stores = {name: str(driver) for name, driver in self._stores.items()}
                begun = datetime.now(UTC).isoformat()
                opened = {"do": "open", "by": who, "at": begun, "stores": stores, "locked": self._locks_log}
                try:
                    await log.write(opened, durable=False)
                    if not self._locks_log or await _lock(log):
                        self._log = log
                except BaseException as error:
                    for failure in await finish(_collect(log.end())):  # no bytes are at stake: a log of nothing
                        error.add_note(f"what was begun of its journal could not be removed either: {failure}")
                    if not log.ended:
                        look_again(self._journal, log.unit)
                    raise
        return self._log


async def _lock(log: Log) -> bool:
    """Lock a log that was just begun; `False` if somebody who recovers took it for that of a dead process."""
    try:
        await log.lock()
    except Locked:
        return False
    if not log.grows or await log.is_there():
        return True
    await log.release()
    return False


async def _release_all(leases: Sequence[Lease]) -> list[Exception]:
    """Give all locks back, and return what failed."""
    failures: list[Exception] = []

    async def release(lease: Lease) -> None:
        try:
            await lease.release()
        except OSError as error:
            failures.append(name_file(error, lease.path))

    await each(leases, release)
    return failures


async def _collect(work: Awaitable[None]) -> list[Exception]:
    """Await something, and return how it failed."""
    try:
        await work
    except Exception as error:
        return [error]
    return []
