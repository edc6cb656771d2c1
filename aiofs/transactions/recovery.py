"""Recovery: finishes or undoes the transactions of dead processes. Safe at any time, twice, and at the same time.

A process recovers a transaction only while it holds the lock of its log and of every path that it touched. If another
process has one of these locks, the transaction is left to that process.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aiofs.driver import ABSENT
from aiofs.errors import (
    AiofsError,
    AlreadyExists,
    Damaged,
    LeftBehind,
    Locked,
    Overtaken,
    Unreadable,
    Unsupported,
    one_of,
    with_others,
)
from aiofs.kit import EndedSession
from aiofs.lifetimes import finish
from aiofs.powers import Sweeps
from aiofs.transactions.commit import Publication, Work, each_raising_all, leave_all, name_step
from aiofs.transactions.records import FOLDER, Step, last
from aiofs.transactions.steps import PreparedStep, RewriteStep, resume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiofs.driver import Driver
    from aiofs.transactions.journal import Journal, JournalLog
    from aiofs.transactions.records import Record

UNUSABLE = (Damaged, Unsupported, Unreadable)
"""Errors that trying again does not help against: such a log must be repaired, or set aside."""


@dataclass(slots=True)
class Recovered:
    """What `recover` found: the numbers of transactions, by what became of them."""

    finished: list[str] = field(default_factory=list)
    """They were decided; everything is published now, or was published before somebody else changed it."""
    undone: list[str] = field(default_factory=list)
    """They were not decided, or a store refused; everything is as it was before."""
    live: list[str] = field(default_factory=list)
    """They are under way, or another process recovers them; or a writer holds one of their files."""
    foreign: list[str] = field(default_factory=list)
    """They are over stores that were not given, and stay as they are."""
    failed: list[Exception] = field(default_factory=list)
    """The errors of those that could not be recovered, and stay in the journal."""
    damaged: dict[str, Exception] = field(default_factory=dict)
    """Those of `failed` for which trying again does not help, by number: the log is damaged, is of a newer aiofs, or
    this user may not read it. `fsck` can set it aside."""
    overtaken: list[Exception] = field(default_factory=list)
    """Files that somebody else changed after they were published; they stay as they are."""

    @property
    def ended(self) -> bool:
        """Whether a transaction was finished or undone."""
        return bool(self.finished or self.undone)

    def then(self, later: Recovered) -> Recovered:
        """Return one report for both: what ended in the first, and what `later` says of the others."""
        return replace(
            later,
            finished=self.finished + later.finished,
            undone=self.undone + later.undone,
            overtaken=self.overtaken + later.overtaken,
        )


async def recover_units(stores: Mapping[str, Driver], journal: Journal) -> Recovered:
    """Finish or undo all transactions of dead processes in the journal."""
    report = Recovered()
    for unit in await journal.units():
        try:
            await _recover(unit, stores, journal, report)
        except (Locked, AlreadyExists):  # a living process has it, or was quicker to decide on it
            report.live.append(unit)
        except UNUSABLE as error:
            report.damaged[unit] = unusable(journal.log(unit), error)
            report.failed.append(report.damaged[unit])
        except Exception as error:
            report.failed.append(error)
    await _sweep_locks(journal)
    return report


def not_recovered(report: Recovered) -> Exception:
    """Return the error to raise for transactions that could not be recovered: the first, with the others in it."""
    first, *others = report.failed
    return with_others(first, others, "another unfinished transaction")


def unusable(log: JournalLog, error: AiofsError) -> AiofsError:
    """Return the error that names a log that cannot be read or carried out, and says what to do about it."""
    path, reason = error.filename, error.strerror
    if not str(path).startswith(f"{FOLDER}/"):
        path, reason = log.name("log" if log.grows else ""), f"{path!r}: {reason}"
    named = type(error).of(
        path,
        f"{reason}; no transaction begins with this journal until it is repaired, or until "
        "fsck(..., fix=True, damaged='set aside') has moved it out of the way",
    )
    named.__cause__ = error
    return named


async def _sweep_locks(journal: Journal) -> None:
    """Remove locks of logs that are gone, or were not written yet when the process that had locked them died.

    Only a store whose locks do not expire keeps such locks, and that is a store that can append.
    """
    sweeps = journal.driver.offers(Sweeps)
    if sweeps is None or not journal.grows:
        return
    async for leftover in sweeps.leftovers(f"{FOLDER}/"):
        if not leftover.live:
            with suppress(OSError):  # the next recovery tries again
                await sweeps.sweep(leftover)


async def _recover(unit: str, stores: Mapping[str, Driver], journal: Journal, report: Recovered) -> None:
    log = journal.log(unit)
    if not await log.is_there():
        return  # it ended in the meantime
    try:
        opened = last(await log.read(), "open") or {}
    except UNUSABLE:
        opened = {}  # if its process is alive, that process deals with it
    if opened.get("locked", True):
        await log.lock()
    try:
        records = await log.read()  # again: it may have ended in the meantime
        if last(records, "open") is None or last(records, "end") is not None:
            await log.end()
            return
        if not _concerns(records, stores, journal):
            report.foreign.append(unit)
            return
        _check_names(log, records, stores)
        if last(records, "commit") is None:
            await finish(_undo_undecided(log, records, stores))
            report.undone.append(unit)
        else:
            await finish(_end_decided(log, records, stores, journal, report))
    finally:
        await finish(log.release())


def _concerns(records: Sequence[Record], stores: Mapping[str, Driver], journal: Journal) -> bool:
    """Whether the stores that were given are those of the transaction.

    Stores are compared by their names. A single store has no name and is compared by its description, unless the
    journal is in that store: then it is the one.
    """
    opened = last(records, "open")
    if opened is None:
        return True
    theirs: dict[str, str] = opened["stores"]
    if not set(theirs) <= set(stores):
        return False
    if "" not in theirs:
        return True
    return stores[""] is journal.driver or theirs[""] == str(stores[""])


def _check_names(log: JournalLog, records: Sequence[Record], stores: Mapping[str, Driver]) -> None:
    """Raise `Damaged` for a path that its store cannot hold: no transaction can have written it there."""
    steps = [step for record in records for step in record.get("steps", ())]
    for place in [*steps, *(record for record in records if record["do"] in {"touch", "held"})]:
        try:
            stores[place["store"]].check_name(place["path"])
        except ValueError as error:
            raise Damaged.of(log.name("log"), f"a line of this journal names no file of the store: {error}") from error


async def _undo_undecided(log: JournalLog, records: Sequence[Record], stores: Mapping[str, Driver]) -> None:
    """Undo a transaction that was not decided: remove what it staged, and its log. It published nothing.

    :raises Locked: if one of its paths is locked: perhaps by the transaction, which is alive then.
    """
    touched = {(record["store"], record["path"]): None for record in records if record["do"] == "touch"}
    loose: dict[str, list[str]] = {}
    for store, path in touched:
        if not stores[store].capabilities.holds:
            loose.setdefault(store, []).append(path)
    for store, paths in loose.items():
        await _check_free(stores[store], paths)
    if last(records, "plan") is not None and last(records, "abort") is None:
        await log.write({"do": "abort"})  # from now on its own process, if it wakes up, cannot decide any more
    fences = _fences_of(records)
    for store, path in touched:
        if stores[store].capabilities.holds:
            await _withdraw(stores[store], path, fences.get((store, path), ""))
    for store, paths in loose.items():
        await _sweep(stores[store], paths)
    await log.end()


async def _check_free(driver: Driver, paths: Sequence[str]) -> None:
    """Raise `Locked` if one of the paths is locked: perhaps by the transaction, which is alive then."""
    for path in paths:
        lease = await driver.lock(path)
        await finish(lease.release())


def _fences_of(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """Return the fences of the locks that the transaction held, by store and path."""
    fences = {}
    for record in records:
        if record["do"] == "held":
            fences[record["store"], record["path"]] = record["fence"]
        for store, path, fence in record.get("held", ()):
            fences[store, path] = fence
    return fences


async def _withdraw(driver: Driver, path: str, fence: str) -> None:
    """Abort the prepared write that has this fence. If another writer has the path now, change nothing."""
    try:
        session = await driver.resume({"path": path, "fence": fence})
    except Locked:
        return
    await session.abort()


async def _sweep(driver: Driver, paths: Sequence[str]) -> None:
    """Remove what dead writers of these paths left, their locks first."""
    await _check_free(driver, paths)
    sweeps = driver.offers(Sweeps)
    if sweeps is None:
        return
    found = [leftover async for leftover in sweeps.leftovers() if leftover.path in paths]
    for leftover in found:
        if leftover.live or not await sweeps.sweep(leftover):
            raise Locked.of(leftover.path, f"a {leftover.kind} is still in use")


async def _end_decided(
    log: JournalLog, records: Sequence[Record], stores: Mapping[str, Driver], journal: Journal, report: Recovered
) -> None:
    """Publish what was decided; undo it if undoing was begun or a store refuses."""
    decision, undo = last(records, "commit"), last(records, "undo")
    assert decision is not None  # noqa: S101 -- the caller looked
    works = await _take_over([Step(**step) for step in decision["steps"]], stores, journal.driver)
    if last(await log.read(), "commit") is None:  # it ended before everything was taken over
        failures = await leave_all(works)
        if failures:
            raise one_of(failures)
        return
    publication = Resumption(works, log)
    try:
        await log.confirm(decision, undo)
    except Exception as error:
        with_others(error, await leave_all(works))
        raise
    try:
        if undo is None:
            await publication.run()
            report.finished.append(log.unit)
            report.overtaken += publication.overtaken
            await _tidy(works)
            return
        for number, version in undo["published"].items():
            works[int(number)].published = version
        await publication.undo()
    except LeftBehind:
        raise
    except Exception:
        if not log.ended:
            raise
    report.undone.append(log.unit)
    report.overtaken += publication.overtaken
    await _tidy(works)


class Resumption(Publication):
    """The publication of a transaction that a dead process had decided."""

    async def run(self) -> None:
        """Publish what a dead process had decided.

        That process may have published everything and reported it, and others may have changed the files since. So this
        undoes only if a step still waits to be published, and a store refuses that step or another one. If a store is
        unreachable, it raises `Unfinished`, and a later recovery continues. The steps that wait are published last,
        after the state of all others is known: once they are published, nobody can see that they had waited.
        """
        try:
            await self._log.begin_publishing()
            waiting = [work for work in self._works if await _waits(work)]
        except Exception as error:
            raise await self._unfinished(error, []) from None
        settled = [work for work in self._works if work not in waiting]
        refused = await self._refused(settled)
        was_published = len(refused) < len(settled) and all(_may_have_gone(work) for work in waiting)
        if waiting and refused and not was_published:
            await self._undo_because(one_of([*refused.values()]))
        try:
            await self._publish(waiting)
        except Exception as cause:
            if _may_pass(cause):
                raise await self._unfinished(cause, []) from None
            await self._undo_because(cause)
        await self._leave_overtaken([*refused])
        await self.clear()

    async def _refused(self, settled: Sequence[Work]) -> dict[Work, Exception]:
        """Return the steps whose files are not as the transaction decided, each with the refusal of its store.

        `settled` are the steps that do not wait. This asks the store to publish them again. That changes nothing: the
        version that such a step replaces is not there any more.
        """
        refused: dict[Work, Exception] = {}

        async def ask(work: Work) -> None:
            try:
                await work.publish()
            except OSError as error:
                refused[work] = name_step(error, work)

        try:
            await each_raising_all(settled, ask)
        except Exception as error:
            raise await self._unfinished(error, []) from None
        passing = [error for error in refused.values() if _may_pass(error)]
        if passing:
            raise await self._unfinished(passing[0], passing[1:])
        return {work: refused[work] for work in settled if work in refused}

    async def _leave_overtaken(self, refused: Sequence[Work]) -> None:
        """Release the steps whose files somebody else changed since."""
        try:
            for work in refused:
                await work.abort()
                reason = "somebody else changed this file since it was published; it stays as they left it"
                self.overtaken.append(Overtaken.of(work.step.path, reason))
        except Exception as error:
            raise await self._unfinished(error, []) from None


async def _waits(work: Work) -> bool:
    """Whether the step may still have to be done: it was not done, or that is not known."""
    if isinstance(work.session, EndedSession) or await work.is_done():
        return False
    if isinstance(work.session, PreparedStep) and not await work.session.is_there():
        return False
    return await work.present() in {work.step.base, None}


def _may_have_gone(work: Work) -> bool:
    """Whether the step creates a file that somebody may have removed after it was published, if it is missing."""
    return work.step.base == ABSENT and not work.driver.capabilities.holds


def _may_pass(error: Exception) -> bool:
    """Whether the store may accept the same at another time."""
    others = [other for other in vars(error).get("others", ()) if isinstance(other, Exception)]
    return (isinstance(error, AiofsError) and error.retryable) or any(map(_may_pass, others))


async def _tidy(works: Sequence[Work]) -> None:
    """Remove what the dead process left when it began to publish a file that this recovery published.

    Only a step whose bytes come from the journal leaves something: a write that the store prepared is taken over, and a
    removal leaves nothing. No other path is swept, as a sweep costs a listing, on FastDFS one of the whole cluster.
    """
    swept: dict[Driver, list[str]] = {}
    for work in works:
        if isinstance(work.session, RewriteStep) and not work.driver.capabilities.holds:
            swept.setdefault(work.driver, []).append(work.step.path)
    for driver, paths in swept.items():
        with suppress(OSError):  # a writer is there again, or the store is unreachable: another sweep does it
            await _sweep(driver, paths)


async def _take_over(steps: Sequence[Step], stores: Mapping[str, Driver], journal: Driver) -> list[Work]:
    """Take over all sessions and locks, or none.

    :raises Locked: if another process has one of them.
    """
    works: list[Work] = []
    try:
        for step in steps:
            driver = stores[step.store]
            session = await resume(step, driver, journal)
            works.append(Work(step, driver, journal, session))
    except BaseException as error:
        with_others(error, await leave_all(works))
        raise
    return works
