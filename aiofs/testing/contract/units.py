"""What the behaviours of transactions begin with, change, break and find."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from aiofs.testing.harness import PATIENCE
from aiofs.testing.kills import seed
from aiofs.testing.steps import Stepped, Steps
from aiofs.transactions.fsck import fsck
from aiofs.transactions.recovery import Recovered
from aiofs.transactions.transaction import recover

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from aiofs.system import FileLikeSystem
    from aiofs.testing.harness import Harness

OLD = {"a": b"old a", "b": b"old b", "c": b"old c", "gone": b"to go"}
NEW = {"a": b"new a", "b": b"new b", "c": b"new c", "d/e": b"new e"}


class Single:
    """Opens a store without a name; can be pickled if the store's opener can."""

    def __init__(self, connect: Any) -> None:
        self._connect = connect

    def __call__(self) -> Mapping[str, FileLikeSystem]:
        """Open it."""
        return {"": self._connect()}


async def seed_old(store: Harness) -> None:
    """Put OLD there."""
    for path, data in OLD.items():
        await store.put(path, data)


async def seed_for_kills(store: Harness) -> None:
    """Put there what the transaction of the kill matrix changes."""
    await seed({"": store.fs})


async def change(fs: FileLikeSystem) -> None:
    """Turn OLD into NEW."""
    for path, data in NEW.items():
        await fs.write_bytes(path, data)
    await fs.rm("gone")


async def all_of(fs: FileLikeSystem) -> dict[str, bytes]:
    """Return what is in a file system."""
    return {name: await fs.read_bytes(name) async for name in fs.ls()}


async def files_of(store: Harness) -> dict[str, bytes]:
    """Return what anybody else finds in the store."""
    return await all_of(store.fresh())


def stepped(store: Harness) -> tuple[FileLikeSystem, Steps]:
    """Return a second connection whose calls can be made to fail."""
    steps = Steps()
    return store.dressed(store.connect()).over(Stepped(steps)), steps


def refuse(steps: Steps, path: str, *, after: bool = False) -> None:
    """Let the publication of a path fail, whether it is published by a session or removed by the driver."""
    steps.fail_at(f"commit {path}", after=after)
    if path == "gone":
        steps.fail_at(f"delete {path}", after=after)


@contextlib.asynccontextmanager
async def unfinished(store: Harness) -> AsyncIterator[tuple[FileLikeSystem, Steps]]:
    """Give a connection on which publishing fails, and then putting back as well; heal it afterwards."""
    fs, steps = stepped(store)
    refuse(steps, "gone")
    for path in OLD:
        steps.fail_at(f"lock {path}", nth=2)  # the first is when it is written, the second to put it back
    yield fs, steps
    await steps.heal()


async def recovered(store: Harness) -> Recovered:
    """Recover as soon as the locks of the dead have run out."""
    deadline = time.monotonic() + store.lease + PATIENCE
    found = Recovered()
    while True:
        report = await recover(store.fresh())
        found.finished += report.finished
        found.undone += report.undone
        found.overtaken += report.overtaken
        if not report.live:
            return found
        assert time.monotonic() < deadline, report
        await asyncio.sleep(0.05)


async def locks_run_out(store: Harness) -> None:
    """Remove the locks of a dead process, as soon as they have run out; where they end with it there are none."""
    deadline = time.monotonic() + store.lease + PATIENCE
    while store.lease and await store.leftovers() and time.monotonic() < deadline:
        findings = await fsck(store.fresh(), fix=True)
        assert all("lock" in finding.kind for finding in findings), findings
        await asyncio.sleep(0.05)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield all that was told by one exception: itself, what else went wrong with it, and their causes."""
    yield error
    for other in vars(error).get("others", ()):
        yield from leaves(other)
    if error.__cause__ is not None:
        yield from leaves(error.__cause__)
