"""Setting aside: a journal that cannot be read, or not be done, gets a name that recovery ignores. Nothing is lost.

All files of the log are copied before the first is removed. Something whose bytes cannot be copied, such as a link,
is moved instead. The beginning is removed before the decision, and the unreadable file last: so a log that was set
aside by half is as damaged as before, and setting it aside again goes on.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiofs.driver import Moves
from aiofs.errors import AccessDenied, AlreadyExists, IsAFolder
from aiofs.lifetimes import finish
from aiofs.transactions.journal import put_stream
from aiofs.transactions.records import FOLDER
from aiofs.transactions.steps import chunks_of

if TYPE_CHECKING:
    from aiofs.transactions.journal import Journal

ASIDE = f"{FOLDER}/aside-"
_NAME = re.compile(rf"{re.escape(ASIDE)}([0-9a-f]{{32}})\.")


async def set_aside(journal: Journal, unit: str, unreadable: str) -> None:
    """Move the files of a log out of recovery's way; `unreadable` is the one that keeps it from being read.

    :raises Locked: if its owner is alive, or somebody recovers it.
    """
    log = journal.log(unit)
    await log.lock()
    try:
        names, moved = await log.names(), set()
        for name in names:
            try:
                await put_stream(journal.driver, _aside(name), chunks_of(journal.driver, name))
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
    moves, aside = journal.driver.offers(Moves), _aside(name)
    assert moves is not None  # noqa: S101 -- the caller looked
    lease = await journal.driver.lock(aside)
    try:
        await moves.move(name, aside, (lease, lease))
    finally:
        await finish(lease.release())


async def units_aside(journal: Journal) -> list[str]:
    """Return the numbers of the transactions whose logs were set aside."""
    return list(dict.fromkeys(match[1] for name in await _names(journal) if (match := _NAME.match(name))))


async def remove_aside(journal: Journal, unit: str) -> None:
    """Remove a log that was set aside, for good."""
    names = [name for name in await _names(journal) if name.startswith(f"{ASIDE}{unit}.")]
    await journal.driver.delete(names, missing_ok=True)


async def _names(journal: Journal) -> list[str]:
    async with aclosing(journal.driver.list(ASIDE)) as entries:
        return [entry.path async for entry in entries]


def _aside(name: str) -> str:
    return ASIDE + name.removeprefix(f"{FOLDER}/")
