"""Power cuts: whatever a transaction had done, all is as before or as after once it is recovered.

And it is as after, once the transaction had said so. `AIOFS_TEST_FULL=1` tries a cut after every call into the system,
and of many of them one after every call of the recovery; an ordinary run takes some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs.stores import OSFileSystem
from aiofs.testing.kills import change, seed, state_of
from aiofs.transactions.transaction import Transaction, recover, transaction
from disks.cuts import FULL, Cuts, Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiofs.filesystem import FileSystem
    from aiofs.testing.kills import State
    from aiofs.transactions.transaction import FileTransaction

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(7200 if FULL else 600)]


def stores_in(top: Path, names: tuple[str, ...]) -> dict[str, OSFileSystem]:
    return {name: OSFileSystem(top / (name or "only")) for name in names}


def place_in(tx: FileTransaction | Transaction, name: str) -> FileSystem:
    return tx[name] if isinstance(tx, Transaction) else tx


async def end_of(disk: Disk, names: tuple[str, ...]) -> tuple[State, list[str]]:
    """Recover, and return what is there then, and what is wrong beside that."""
    stores = stores_in(disk.top, names)
    with disk.recorder.at_work():
        report = await recover(stores.get("", stores))
        disk.recorder.report()
        state = await state_of(stores)
    kept = [path.name for path in disk.top.rglob(".aiofs-ready-*")]
    return state, [*map(repr, report.failed), *report.live, *kept]


@pytest.mark.parametrize("names", [("",), ("first", "second")], ids=["one store", "two stores"])
async def test_a_transaction_is_there_or_not(tmp_path: Path, names: tuple[str, ...]) -> None:
    top = tmp_path / "recorded"
    stores = stores_in(top, names)
    await seed(stores)
    cuts = Cuts.begin(top)
    states = [await state_of(stores)]
    with cuts.recorder.at_work():
        async with transaction(stores.get("", stores)) as tx:
            await change(tx, list(names))
        cuts.recorder.report()
        states.append(await state_of(stores))
        async with transaction(stores.get("", stores)) as tx:  # of one file: there is nothing to put back
            await place_in(tx, names[0]).write_bytes("appended", b"by the next transaction")
        cuts.recorder.report()
        states.append(await state_of(stores))
    wrong = []
    for number, disk in enumerate(cuts.disks(tmp_path, at_most=12 if len(names) == 1 else 6)):
        allowed = (*states, states[-1])[disk.done : disk.done + 2]
        found, troubles = await end_of(disk, names)
        wrong += [f"{disk}: {trouble}" for trouble in troubles]
        if found not in allowed:
            wrong.append(f"{disk}: {found}")
        elif number % (3 if FULL else 29) == 0:
            (folder := tmp_path / f"again-{number}").mkdir()
            for second in again(cuts, disk, folder):
                state, troubles = await end_of(second, names)
                wrong += [f"{disk}; again: {second}: {trouble}" for trouble in troubles]
                if state not in ([found] if second.done > disk.done else allowed):
                    wrong.append(f"{disk}; again: {second}: {state}")
    assert not wrong, "\n".join(wrong)


def again(cuts: Cuts, disk: Disk, folder: Path) -> Iterator[Disk]:
    """Yield what is left of a disk when the power is cut while it is recovered."""
    after = cuts.after(disk)
    begun = len(after.events) - len(disk.recorder.events)
    yield from (second for second in after.disks(folder, at_most=5) if second.moment >= begun)
