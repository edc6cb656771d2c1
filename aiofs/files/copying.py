"""Copying and renaming within one store: by the store itself where it can, through this process where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.driver import ChecksRemoval, Copies, Moves
from aiofs.kit import copy_through
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from aiofs.driver import Driver, Lease


async def copy_file(driver: Driver, source: str, target: str, lease: Lease, match: str | None = None) -> None:
    """Make the file `target`, which `lease` is for, the same as `source`; `match` is about `target`."""
    copies = driver.offers(Copies)
    if copies is not None:
        await copies.copy(source, target, lease, match=match)
    else:
        await copy_through(driver, source, target, lease, match)


async def move_file(
    driver: Driver, source: str, target: str, leases: tuple[Lease, Lease], match: str | None = None
) -> None:
    """Give the file the name `target`; the leases are for both names, and `match` is about `target`.

    A store that renames by itself compares no version, so with `match` the file is copied, and then removed. If
    other processes do not see our locks, only the version that was there before the copy is removed.

    :raises Conflict: if somebody changed `source` meanwhile. Both files stay; `target` has old or new bytes.
    """
    moves = driver.offers(Moves) if match is None else None
    if moves is not None:
        await moves.move(source, target, leases)
        return
    checks = driver.offers(ChecksRemoval)
    if checks is not None:
        await checks.check_may_remove(source)
    alone = driver.capabilities.locks == "process" and driver.capabilities.conditional
    version = (await driver.stat(source)).version if alone else None
    await copy_file(driver, source, target, leases[1], match)
    # A removal that reached the store late, after the lock was released, could remove what others wrote since.
    await finish(driver.delete([source], leases=[leases[0]], match=version))
