"""Recovery: what dead processes left unfinished is finished or undone. Safe at any time, twice, and at once.

Whoever recovers a transaction holds its log's lock, and has taken over every path that it touched, before anything is
done; who does not get one of them leaves the transaction to whoever has it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from aiofs.driver import Sweeps
from aiofs.errors import AiofsError, AlreadyExists, Damaged, Locked, Unsupported
from aiofs.lifetimes import finish
from aiofs.transactions.errors import LeftBehind, Unreadable, one_of, with_others
from aiofs.transactions.journal import last
from aiofs.transactions.publish import Publication, Work, leave_all
from aiofs.transactions.records import FOLDER, Step
from aiofs.transactions.steps import Rewrite, images_of, resume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiofs.driver import Driver
    from aiofs.transactions.journal import Journal, Log
    from aiofs.transactions.records import Record

UNUSABLE = (Damaged, Unsupported, Unreadable)
"""Errors that no other try will mend: such a log must be repaired, or set aside."""
_recovered: WeakSet[Driver] = WeakSet()
_left: WeakKeyDictionary[Driver, set[str]] = WeakKeyDictionary()
"""What transactions of this process left in their journals, and nobody recovered yet."""


@dataclass(slots=True)
class Recovered:
    """What `recover` found: the numbers of transactions, by what became of them."""

    finished: list[str] = field(default_factory=list)
    """Decided before; all of it is published now, or was before somebody else changed it."""
    undone: list[str] = field(default_factory=list)
    """Not decided, or refused by a store; everything is as it was before."""
    live: list[str] = field(default_factory=list)
    """Under way, or being recovered by somebody else; or in the way of them is a writer, to be waited for."""
    foreign: list[str] = field(default_factory=list)
    """Of stores that were not given: left alone."""
    failed: list[Exception] = field(default_factory=list)
    """What went wrong; what it concerns stays in the journal."""
    damaged: dict[str, Exception] = field(default_factory=dict)
    """Those of `failed` that no other try will mend: their log is damaged, of a newer aiofs, or may not be read.

    `fsck` can set it aside.
    """
    overtaken: list[Exception] = field(default_factory=list)
    """Files that somebody else changed since they were published; they are as they left them."""

    @property
    def ended(self) -> bool:
        """Whether anything came to its end."""
        return bool(self.finished or self.undone)

    def then(self, later: Recovered) -> Recovered:
        """Return what was found in the end: what came to its end till then, and what `later` says of the others."""
        return replace(
            later,
            finished=self.finished + later.finished,
            undone=self.undone + later.undone,
            overtaken=self.overtaken + later.overtaken,
        )


async def recover_units(stores: Mapping[str, Driver], journal: Journal) -> Recovered:
    """Finish or undo all transactions of dead processes that the journal knows."""
    report = Recovered()
    for unit in await journal.units():
        try:
            await _recover(unit, stores, journal, report)
        except (Locked, AlreadyExists):  # held by somebody alive, or somebody was quicker to decide on it
            report.live.append(unit)
        except UNUSABLE as error:
            report.damaged[unit] = unusable(journal.log(unit), error)
            report.failed.append(report.damaged[unit])
        except Exception as error:
            report.failed.append(error)
    await _sweep_locks(journal)
    return report


async def recover_once(stores: Mapping[str, Driver], journal: Journal) -> None:
    """Recover, if this process did not look at this journal before, or left something in it since.

    :raises OSError: the first thing that went wrong, with the others in its notes.
    """
    left = _left.setdefault(journal.driver, set())
    if left or journal.driver not in _recovered:
        before = set(left)
        report = await recover_units(stores, journal)
        if report.failed:
            raise not_recovered(report)
        left -= before.difference(report.live, report.foreign)
        _recovered.add(journal.driver)


def not_recovered(report: Recovered) -> Exception:
    """Return what to raise for transactions that could not be recovered: the first error, that has the others."""
    first, *others = report.failed
    return with_others(first, others, "another unfinished transaction")


def unusable(log: Log, error: AiofsError) -> AiofsError:
    """Return the error that names a log which cannot be read, or not be done, and says what to do about it."""
    path, reason = error.filename, error.strerror
    if not str(path).startswith(f"{FOLDER}/"):
        path, reason = log.name("log" if log.grows else ""), f"{path!r}: {reason}"
    told = type(error).of(
        path,
        f"{reason}; no transaction begins with this journal until it is repaired, or until "
        "fsck(..., fix=True, damaged='set aside') has moved it out of the way",
    )
    told.__cause__ = error
    return told


def look_again(journal: Journal, unit: str) -> None:
    """Have the next transaction of this process recover one that has ended, and left its log."""
    _left.setdefault(journal.driver, set()).add(unit)


async def _sweep_locks(journal: Journal) -> None:
    """Remove the locks of logs that ended while others, who died since, were about to look at them.

    Only a store whose locks do not expire keeps those, which is one that can append.
    """
    sweeps = journal.driver.offers(Sweeps)
    if sweeps is None or not journal.grows:
        return
    async for leftover in sweeps.leftovers(f"{FOLDER}/"):
        if not leftover.live:
            with suppress(OSError):  # the next who recovers tries again
                await sweeps.sweep(leftover)


async def _recover(unit: str, stores: Mapping[str, Driver], journal: Journal, report: Recovered) -> None:
    log = journal.log(unit)
    if not await log.is_there():
        return  # it came to its end in the meantime
    try:
        opened = last(await log.read(), "open") or {}
    except UNUSABLE:
        opened = {}  # if its owner is alive, it is the owner's affair
    if opened.get("locked", True):
        await log.lock()
    try:
        records = await log.read()  # again: it may have come to its end in the meantime
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

    Names say which is which. A single store has none, so that it is told by its description, unless the journal lies
    in it and can be no other's.
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


def _check_names(log: Log, records: Sequence[Record], stores: Mapping[str, Driver]) -> None:
    """Raise `Damaged` for a path that its store cannot hold: no transaction can have written it there."""
    steps = [step for record in records for step in record.get("steps", ())]
    for place in [*steps, *(record for record in records if record["do"] in {"touch", "held"})]:
        try:
            stores[place["store"]].check_name(place["path"])
        except ValueError as error:
            raise Damaged.of(log.name("log"), f"a line of this journal names no file of the store: {error}") from error


async def _undo_undecided(log: Log, records: Sequence[Record], stores: Mapping[str, Driver]) -> None:
    """Remove what was staged. Nothing was published."""
    touched = {(record["store"], record["path"]): None for record in records if record["do"] == "touch"}
    loose: dict[str, list[str]] = {}
    for store, path in touched:
        if not stores[store].capabilities.holds:
            loose.setdefault(store, []).append(path)
    for store, paths in loose.items():
        await _check_free(stores[store], paths)
    if last(records, "plan") is not None and last(records, "abort") is None:
        await log.write({"do": "abort"})  # from now on its owner, should it wake up, cannot decide any more
    fences = _fences_of(records)
    for store, path in touched:
        if stores[store].capabilities.holds:
            await _withdraw(stores[store], path, fences.get((store, path), ""))
    for store, paths in loose.items():
        await _sweep(stores[store], paths)
    await log.end()


async def _check_free(driver: Driver, paths: Sequence[str]) -> None:
    """Raise `Locked` if one of the paths is locked: its owner may be the transaction's, and alive."""
    for path in paths:
        lease = await driver.lock(path)
        await finish(lease.release())


def _fences_of(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """Return by what the locks that were held can be told from those of others."""
    fences = {}
    for record in records:
        if record["do"] == "held":
            fences[record["store"], record["path"]] = record["fence"]
        for store, path, fence in record.get("held", ()):
            fences[store, path] = fence
    return fences


async def _withdraw(driver: Driver, path: str, fence: str) -> None:
    """Abort what waits for a decision on this path; what another writer has there is none of ours."""
    try:
        session = await driver.resume({"path": path, "fence": fence})
    except Locked:
        return
    await session.abort()


async def _sweep(driver: Driver, paths: Sequence[str]) -> None:
    """Remove what dead writers of these paths left, first of all their locks."""
    await _check_free(driver, paths)
    sweeps = driver.offers(Sweeps)
    if sweeps is None:
        return
    found = [leftover async for leftover in sweeps.leftovers() if leftover.path in paths]
    for leftover in found:
        if leftover.live or not await sweeps.sweep(leftover):
            raise Locked.of(leftover.path, f"a {leftover.kind} is still in use")


async def _end_decided(
    log: Log, records: Sequence[Record], stores: Mapping[str, Driver], journal: Journal, report: Recovered
) -> None:
    """Publish what was decided, or put it back where that was begun or is refused."""
    decision, undo = last(records, "commit"), last(records, "undo")
    assert decision is not None  # noqa: S101 -- the caller looked
    works = await _take_over([Step(**step) for step in decision["steps"]], stores, journal.driver)
    if last(await log.read(), "commit") is None:  # it came to its end before all was taken over
        failures = await leave_all(works)
        if failures:
            raise one_of(failures)
        return
    publication = Publication(works, log)
    try:
        await log.confirm(decision, undo)
    except Exception as error:
        with_others(error, await leave_all(works))
        raise
    try:
        if undo is None:
            await publication.resume()
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


async def _tidy(works: Sequence[Work]) -> None:
    """Remove what the dead process left when it published a file that was published again since.

    Only bytes from the journal are published again: a write that the store had prepared is taken over, and a removal
    leaves nothing. So other paths are not swept: asking for leftovers costs at least one listing, and on FastDFS a
    look through the whole cluster.
    """
    swept: dict[Driver, list[str]] = {}
    for work in works:
        if isinstance(work.session, Rewrite) and not work.driver.capabilities.holds:
            swept.setdefault(work.driver, []).append(work.step.path)
    for driver, paths in swept.items():
        with suppress(OSError):  # somebody writes there again, or the store is away: sweeping is for later
            await _sweep(driver, paths)


async def _take_over(steps: Sequence[Step], stores: Mapping[str, Driver], journal: Driver) -> list[Work]:
    """Take over all sessions and locks, or none.

    :raises Locked: if somebody has one of them.
    """
    works: list[Work] = []
    try:
        for step in steps:
            driver = stores[step.store]
            session = await resume(step, driver, journal)
            works.append(Work(step, driver, images_of(driver, journal), session))
    except BaseException as error:
        with_others(error, await leave_all(works))
        raise
    return works
