"""Behaviours 79 to 93, and more: several changes are all published, or none."""

from __future__ import annotations

import asyncio
import errno
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.errors import Unfinished
from aiofs.filesystem import FileSystem
from aiofs.testing.harness import PATIENCE, needs
from aiofs.testing.kills import ChildProcesses, seed, state_of
from aiofs.testing.steps import Stepped, Steps
from aiofs.transactions.fsck import fsck
from aiofs.transactions.recovery import Recovered
from aiofs.transactions.transaction import recover, transaction

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


@asynccontextmanager
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
        await store.pause()


async def locks_run_out(store: Harness) -> None:
    """Remove the locks of a killed process as soon as they have run out, if the store keeps them that long."""
    deadline = time.monotonic() + store.lease + PATIENCE
    while store.lease and await store.leftovers() and time.monotonic() < deadline:
        findings = await fsck(store.fresh(), fix=True)
        assert all("lock" in finding.kind for finding in findings), findings
        await store.pause()


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, the other failures that it names, and their causes."""
    yield error
    for other in vars(error).get("others", ()):
        yield from leaves(other)
    if error.__cause__ is not None:
        yield from leaves(error.__cause__)


class Refusals:
    """What happens when a store fails."""

    async def test_86_refused_publish_compensates(self, store: Harness) -> None:
        """If one file cannot be published, the files that were published are put back, and the error is raised."""
        await seed_old(store)
        for after, name in ((False, "c"), (False, "gone"), (True, "d/e")):
            fs, steps = stepped(store)
            refuse(steps, name, after=after)
            async with store.no_leftovers():
                with pytest.raises(OSError, match="trouble") as caught:
                    async with transaction(fs, journal=FileSystem(MemoryDriver())) as tx:
                        await change(tx)
                    if after:
                        raise steps.failed[0]  # only its answer was lost: all was published nevertheless
                assert caught.value.filename == name
                assert tx.state == ("committed" if after else "rolled back")
            assert await files_of(store) == (NEW if after else OLD)
        await store.write_at_once("a")

    async def test_87_failed_compensation(self, store: Harness) -> None:
        """If that fails too, the error names both failures, and `recover` puts the rest back later from the journal."""
        await seed_old(store)
        async with unfinished(store) as (fs, steps):
            with pytest.raises(Unfinished) as caught:
                async with transaction(fs) as tx:
                    await change(tx)
            assert tx.state == "unfinished"
            assert set(steps.failed) <= set(leaves(caught.value))
            assert caught.value.__notes__
        report = await recovered(store)
        assert len(report.undone) == 1
        assert await files_of(store) == OLD
        assert await store.leftovers() == []

    async def test_89_recover_twice_and_at_once(self, store: Harness) -> None:
        """Several recoveries, at the same time or one after another, have the result of one."""
        await seed_old(store)
        async with unfinished(store) as (fs, _):
            with pytest.raises(Unfinished):
                async with transaction(fs) as tx:
                    await change(tx)
        await asyncio.gather(*(recover(store.fresh()) for _ in range(4)))
        await recovered(store)
        assert not (await recover(store.fresh())).ended
        assert await files_of(store) == OLD
        assert await store.leftovers() == []

    async def test_90_no_swallowed_error(self, store: Harness) -> None:
        """If any call of the store fails, the caller gets the error, and all files are changed or none."""
        await seed_old(store)
        number = 0
        while True:
            number += 7 if store.lease else 1  # on servers, some of the calls
            fs, steps = stepped(store)
            steps.fail(number)
            tx = transaction(fs)
            told: BaseException | None = None
            try:
                async with tx:
                    await change(tx)
            except OSError as error:
                told = error
            if not steps.failed:
                break
            assert told is not None, steps.taken[number - 1]
            assert set(steps.failed) <= set(leaves(told))
            await steps.heal()
            await recovered(store)
            assert await files_of(store) == (NEW if tx.state == "committed" else OLD)
            assert await store.leftovers() == []
            await store.fs.rm(*await store.names())
            await seed_old(store)
        assert number > 20

    async def test_205_somebody_elses_work_stays(self, store: Harness) -> None:
        """A file that somebody changed after it was published is not put back; the error says so."""
        await seed_old(store)
        async with unfinished(store) as (fs, _):
            with pytest.raises(Unfinished):
                async with transaction(fs) as tx:
                    await change(tx)
        version = (await store.fresh().stat("a")).version
        if await store.get("a") == NEW["a"]:
            with suppress(BlockingIOError):
                await store.put("a", b"somebody else's")
        changed = (await store.fresh().stat("a")).version != version
        report = await recovered(store)
        if changed:
            assert [getattr(error, "filename", None) for error in report.overtaken] == ["a"]
        assert await files_of(store) == {**OLD, **({"a": b"somebody else's"} if changed else {})}

    async def test_206_failed_part_spoils(self, store: Harness) -> None:
        """A write that failed on a full disk rolls back the transaction, even if the block caught the error."""
        await seed_old(store)
        with pytest.raises(OSError, match="a part of this transaction failed"):
            async with transaction(store.fs) as tx:
                await tx.write_bytes("a", b"new")
                tx._unit.spoil(OSError(errno.ENOSPC, "no room for it"))  # noqa: SLF001 -- a full disk is hard to have
        assert await files_of(store) == OLD


@needs("resume", "shared locks")
class Crashes:
    """Killed processes."""

    @pytest.mark.timeout(300)
    async def test_88_kill_9_then_recover(self, store: Harness, child_processes: ChildProcesses) -> None:
        """A transaction that is killed at any step is recovered by another process to all or nothing."""
        connect = Single(store.spawn or store.connect)
        await seed_for_kills(store)
        before = await state_of({"": store.fresh()})
        whole = await asyncio.to_thread(child_processes.run, connect, "commit", 0)
        after = await state_of({"": store.fresh()})
        assert before != after
        outcomes = set()
        for number in range(1, whole.steps + 1, max(1, whole.steps // (4 if store.lease else 8))):
            await store.fs.rm(*await store.names())
            await seed_for_kills(store)
            await asyncio.to_thread(child_processes.run, connect, "commit", number)
            await recovered(store)
            state = await state_of({"": store.fresh()})
            assert state in (before, after), number
            await locks_run_out(store)
            assert await store.leftovers() == [], number
            outcomes.add(state == after)
        assert outcomes == {True, False}
