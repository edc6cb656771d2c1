"""fsck: finds what dead writers and unfinished transactions left in stores and journals, and removes it.

A log that cannot be read or carried out can be set aside: it gets a name that recovery ignores, and nothing is lost.
All files of the log are copied before the first is removed. Something whose bytes cannot be copied, such as a link,
is moved instead. The beginning is removed before the decision, and the unreadable file last: so a log that was set
aside by half is as damaged as before, and setting it aside again goes on.
"""

from __future__ import annotations

import re
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from aiofs.errors import AccessDenied, AlreadyExists, IsAFolder, Locked
from aiofs.kit import together
from aiofs.lifetimes import finish
from aiofs.powers import Leftover, Moves, Sweeps
from aiofs.transactions.journal import Journal, name_journal, put_stream
from aiofs.transactions.records import FOLDER, last
from aiofs.transactions.recovery import UNUSABLE, recover_units, unusable
from aiofs.transactions.steps import BEFORE, chunks_of
from aiofs.transactions.transaction import at_work, hosts_of, parties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from datetime import datetime

    from aiofs.driver import Driver
    from aiofs.system import FileLikeSystem

DAMAGED = "damaged journal"
AT_ONCE = 16
"""How many leftovers are removed at the same time."""
NEEDS_NO_JOURNAL = frozenset(
    {"staging file", "lock", "lock object", "number of a lock", "old versions", "partial write"}
)
"""Leftovers that no transaction needs when their owner is dead."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a store or in the journal that belongs to no file."""

    store: str
    """The name of the store; "" where there is only one, and "journal" for what is in the journal."""
    path: str
    kind: str
    """What it is: unfinished transaction, damaged journal, staging file, prepared write, before-image, lock, ..."""
    live: bool
    """Whether its owner is alive, so that it must stay."""
    holder: str | None = None
    modified: datetime | None = None
    fixed: bool = False
    """Whether it is gone now."""
    why: str = ""
    """Why it stays, or what can be done about it."""


async def fsck(
    stores: FileLikeSystem | Mapping[str, FileLikeSystem],
    *,
    journal: FileLikeSystem | None = None,
    fix: bool = False,
    damaged: Literal["keep", "set aside", "remove"] = "keep",
) -> list[Finding]:
    """Report what dead writers and unfinished transactions left; with `fix`, end the transactions and remove the rest.

    As long as there is a log that is damaged or of a newer aiofs, no transaction with the same journal can begin.
    `damaged="set aside"` gives such a log a name that recovery ignores; what its transaction left in the stores stays,
    also its locks. `damaged="remove"` removes the log, also one that was set aside before, and then what it left.

    Give the same stores and journal as to `transaction`: without the right journal, a prepared write that a transaction
    needs looks like one that nobody needs. What is alive is reported, and never changed.

    :raises ValueError: if `damaged` says to change something without `fix`.
    """
    if damaged not in {"keep", "set aside", "remove"}:
        raise ValueError(f"damaged={damaged!r}: use 'keep', 'set aside' or 'remove'")
    if damaged != "keep" and not fix:
        raise ValueError(f"damaged={damaged!r} changes the journal: give fix=True as well")
    with at_work(hosts_of(stores, journal)):
        return await _check(*parties(stores, journal), fix=fix, damaged=damaged)


async def _check(drivers: Mapping[str, Driver], kept_by: Driver, *, fix: bool, damaged: str) -> list[Finding]:
    findings: list[Finding] = []
    left = {name: await _leftovers(driver) for name, driver in drivers.items()}  # before the journal is read
    journal = Journal(kept_by)
    if fix:
        before = await journal.units()
        report = await recover_units(drivers, journal)
        units = await journal.units()
        findings += [_transaction(unit, fixed=True) for unit in before if unit not in units]
        findings += await _settle(journal, report.damaged, damaged)
        left = {name: await _still_there(driver, left[name]) for name, driver in drivers.items()}
    remaining = [await _look(journal, unit) for unit in await journal.units()]
    remaining += [_put_aside(unit) for unit in await units_aside(journal)]
    for name, driver in drivers.items():
        for batch in _batches(left[name]):
            findings += await together([_judged(name, driver, each, fix, bool(remaining)) for each in batch])
    return [*findings, *remaining]


async def _settle(journal: Journal, damaged: Mapping[str, Exception], what: str) -> list[Finding]:
    """Set damaged logs aside, or remove them; return those that are removed."""
    if what == "keep":
        return []
    for unit, error in damaged.items():
        with suppress(Locked):  # its process is alive, and it is reported as such
            await set_aside(journal, unit, str(getattr(error, "filename", "")))
    if what == "set aside":
        return []
    gone: list[Finding] = []
    for unit in await units_aside(journal):
        with suppress(OSError):  # for example a folder with files in it: it stays, and is reported
            await remove_aside(journal, unit)
            gone.append(replace(_put_aside(unit), fixed=True, why=""))
    return gone


async def _leftovers(driver: Driver) -> list[Leftover]:
    """Return what the store knows to be left, and before-images that the store takes for ordinary files.

    The lock of a living transaction is left out: the finding about the transaction says that it is alive.

    :raises AccessDenied: if this user may not look everywhere.
    """
    sweeps = driver.offers(Sweeps)
    try:
        found = [] if sweeps is None else [leftover async for leftover in sweeps.leftovers()]
        known = {leftover.path for leftover in found} | {leftover.token for leftover in found}
        found += [image async for image in _images(driver) if image.path not in known]
    except AccessDenied as error:
        name_journal(error, driver)
        raise
    return [leftover for leftover in found if not (leftover.live and leftover.path.startswith(f"{FOLDER}/"))]


async def _images(driver: Driver) -> AsyncIterator[Leftover]:
    async for entry in driver.list():
        if entry.path.rpartition("/")[2].startswith(BEFORE):
            yield Leftover(entry.path, "before-image", entry.modified, None, live=False, token="")


async def _still_there(driver: Driver, before: list[Leftover]) -> list[Leftover]:
    """Return those of `before` that are still there, as they are now."""
    known = {(leftover.path, leftover.kind) for leftover in before}
    return [leftover for leftover in await _leftovers(driver) if (leftover.path, leftover.kind) in known]


async def _look(journal: Journal, unit: str) -> Finding:
    """Describe a transaction that has a log."""
    log = journal.log(unit)
    try:
        await log.lock()
    except Locked:
        return replace(_transaction(unit), live=True, why="its owner is alive, or it is being recovered")
    try:
        opened = last(await log.read(), "open") or {}
    except UNUSABLE as error:
        return replace(_transaction(unit), kind=DAMAGED, why=str(unusable(log, error)))
    finally:
        await log.release()
    stores = ", ".join(f"{name} ({where})" if name else where for name, where in opened.get("stores", {}).items())
    return replace(_transaction(unit), holder=opened.get("by"), why=f"recover() can end it, given {stores}")


def _put_aside(unit: str) -> Finding:
    why = (
        "it was set aside; damaged='remove' removes it, and then what its transaction left; if it stays, there is a "
        "folder or something else that is no log: remove that by hand"
    )
    return Finding("journal", f"{ASIDE}{unit}", DAMAGED, live=False, why=why)


def _transaction(unit: str, *, fixed: bool = False) -> Finding:
    return Finding("journal", f"{FOLDER}/{unit}", "unfinished transaction", live=False, fixed=fixed)


def _finding(store: str, leftover: Leftover) -> Finding:
    why = leftover.stays or ("its owner is alive" if leftover.live else leftover.advice)
    return Finding(
        store, leftover.path, leftover.kind, leftover.live, leftover.holder, leftover.modified, fixed=False, why=why
    )


def _batches(found: list[Leftover]) -> Iterator[list[Leftover]]:
    """Yield groups to remove at the same time: of one kind, as kinds depend on each other, and each path once."""
    batch: list[Leftover] = []
    paths: set[str] = set()
    for leftover in found:
        if batch and (len(batch) == AT_ONCE or leftover.kind != batch[0].kind or leftover.path in paths):
            yield batch
            batch, paths = [], set()
        batch.append(leftover)
        paths.add(leftover.path)
    if batch:
        yield batch


async def _judged(store: str, driver: Driver, leftover: Leftover, fix: bool, unfinished: bool) -> Finding:
    """Return the finding about a leftover, and remove it if `fix` is set and its owner is dead."""
    finding = _finding(store, leftover)
    if fix and not leftover.live and not leftover.stays:
        return await _swept(driver, leftover, finding, unfinished=unfinished)
    return finding


async def _swept(driver: Driver, leftover: Leftover, finding: Finding, *, unfinished: bool) -> Finding:
    """Remove a leftover, unless a transaction may still need it."""
    if unfinished and leftover.kind not in NEEDS_NO_JOURNAL:
        return replace(finding, why="a transaction in the journal may need it")
    sweeps = driver.offers(Sweeps)
    if sweeps is not None and leftover.token:
        try:
            gone = await sweeps.sweep(leftover)
        except AccessDenied as error:
            return replace(finding, why="; ".join(filter(None, (str(error.strerror), finding.why))))
    else:
        await driver.delete([leftover.path], missing_ok=True)
        gone = True
    if not gone and leftover.advice:  # it has no owner, but there is more of it now
        return finding
    return replace(finding, fixed=gone, live=not gone, why="" if gone else "its owner is alive")


ASIDE = f"{FOLDER}/aside-"
_ASIDE_NAME = re.compile(rf"{re.escape(ASIDE)}([0-9a-f]{{32}})\.")


async def set_aside(journal: Journal, unit: str, unreadable: str) -> None:
    """Give the files of a log names that recovery ignores; `unreadable` is the file that cannot be read.

    :raises Locked: if its process is alive, or another process recovers it.
    """
    log = journal.log(unit)
    await log.lock()
    try:
        names, moved = await log.names(), set()
        for name in names:
            try:
                await put_stream(journal.driver, _aside_name(name), chunks_of(journal.driver, name))
            except AlreadyExists:
                continue  # it was copied before
            except (IsAFolder, AccessDenied):
                if journal.driver.offers(Moves) is None:
                    raise
                moved.add(name)
        for name in sorted(names, key=lambda name: (name in moved, name == unreadable, name)):
            await (_move(journal, name) if name in moved else log.remove([name]))
    finally:
        await finish(log.release())


async def _move(journal: Journal, name: str) -> None:
    """Move something whose bytes cannot be copied."""
    moves, aside = journal.driver.offers(Moves), _aside_name(name)
    assert moves is not None  # noqa: S101 -- the caller looked
    lease = await journal.driver.lock(aside)
    try:
        await moves.move(name, aside, (lease, lease))
    finally:
        await finish(lease.release())


async def units_aside(journal: Journal) -> list[str]:
    """Return the numbers of the transactions whose logs were set aside."""
    return list(dict.fromkeys(match[1] for name in await _names_aside(journal) if (match := _ASIDE_NAME.match(name))))


async def remove_aside(journal: Journal, unit: str) -> None:
    """Remove a log that was set aside."""
    names = [name for name in await _names_aside(journal) if name.startswith(f"{ASIDE}{unit}.")]
    await journal.driver.delete(names, missing_ok=True)


async def _names_aside(journal: Journal) -> list[str]:
    async with aclosing(journal.driver.list(ASIDE)) as entries:
        return [entry.path async for entry in entries]


def _aside_name(name: str) -> str:
    return ASIDE + name.removeprefix(f"{FOLDER}/")
