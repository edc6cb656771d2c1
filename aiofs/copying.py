"""Copying and renaming within one store: by the store itself where it can, through this process where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.driver import ChecksRemoval, Copies, Moves
from aiofs.reading import whole_chunks
from aiofs.shield import finish
from aiofs.writing import Parts, commit

if TYPE_CHECKING:
    from aiofs.driver import Driver, Lease


async def copy_file(driver: Driver, source: str, target: str, lease: Lease) -> None:
    """Make the file `target`, which `lease` is for, the same as `source`."""
    copies = driver.offers(Copies)
    if copies is not None:
        await copies.copy(source, target, lease)
    else:
        await _copy_through(driver, source, target, lease)


async def move_file(driver: Driver, source: str, target: str, leases: tuple[Lease, Lease]) -> None:
    """Give the file the name `target`; the leases are for both names."""
    moves = driver.offers(Moves)
    if moves is not None:
        await moves.move(source, target, leases)
        return
    checks = driver.offers(ChecksRemoval)
    if checks is not None:
        await checks.check_may_remove(source)
    await copy_file(driver, source, target, leases[1])
    await driver.delete([source], leases=[leases[0]])


async def _copy_through(driver: Driver, source: str, target: str, lease: Lease) -> None:
    stream = await driver.read(source)
    try:
        session = await driver.begin(target, lease, metadata=stream.entry.kept(driver.capabilities))
        try:
            parts = Parts(session, driver.part_size)
            async for data in whole_chunks(stream):
                await parts.append(data)
            await parts.finish()
            await commit(session, lease, target)
        finally:
            await finish(session.abort())
    finally:
        await finish(stream.aclose())
