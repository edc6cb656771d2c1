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
    """Opens one store, without a name. It can be pickled if `connect` can."""

    def __init__(self, connect: Any) -> None:
        self._connect = connect

    def __call__(self) -> Mapping[str, FileLikeSystem]:
        """Open the store."""
        return {"": self._connect()}


async def seed_old(store: Harness) -> None:
    """Write the files of OLD."""
    for path, data in OLD.items():
        await store.put(path, data)


async def seed_for_kills(store: Harness) -> None:
    """Write the files that the transaction of the kill matrix changes."""
    await seed({"": store.fs})


async def change(fs: FileLikeSystem) -> None:
    """Change the files from OLD to NEW."""
    for path, data in NEW.items():
        await fs.write_bytes(path, data)
    await fs.rm("gone")


async def all_of(fs: FileLikeSystem) -> dict[str, bytes]:
    """Return all files of a file system."""
    return {name: await fs.read_bytes(name) async for name in fs.ls()}


async def files_of(store: Harness) -> dict[str, bytes]:
    """Return all files as another connection sees them."""
    return await all_of(store.fresh())


def stepped(store: Harness) -> tuple[FileLikeSystem, Steps]:
    """Return another connection, and what makes its calls fail."""
    steps = Steps()
    return store.dressed(store.connect()).over(Stepped(steps)), steps


def refuse(steps: Steps, path: str, *, after: bool = False) -> None:
    """Make the publication of a path fail, whether it is written by a session or removed by the driver."""
    steps.fail_at(f"commit {path}", after=after)
    if path == "gone":
        steps.fail_at(f"delete {path}", after=after)


@contextlib.asynccontextmanager
async def unfinished(store: Harness) -> AsyncIterator[tuple[FileLikeSystem, Steps]]:
    """Give a connection on which publishing fails, and putting back too; it works again afterwards."""
    fs, steps = stepped(store)
    refuse(steps, "gone")
    for path in OLD:
        steps.fail_at(f"lock {path}", nth=2)  # the first is when it is written, the second to put it back
    yield fs, steps
    await steps.heal()


async def recovered(store: Harness) -> Recovered:
    """Recover as soon as the locks of killed processes have run out."""
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
    """Remove the locks of a killed process as soon as they have run out, if the store keeps them that long."""
    deadline = time.monotonic() + store.lease + PATIENCE
    while store.lease and await store.leftovers() and time.monotonic() < deadline:
        findings = await fsck(store.fresh(), fix=True)
        assert all("lock" in finding.kind for finding in findings), findings
        await asyncio.sleep(0.05)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, the other failures that it names, and their causes."""
    yield error
    for other in vars(error).get("others", ()):
        yield from leaves(other)
    if error.__cause__ is not None:
        yield from leaves(error.__cause__)
