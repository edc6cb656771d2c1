"""Behaviours 79 to 93, and more: several changes are all published, or none."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.testing.contract.isolation import Isolation
from aiofs.testing.contract.suite import Suite
from aiofs.testing.contract.units import (
    NEW,
    OLD,
    Single,
    change,
    files_of,
    leaves,
    locks_run_out,
    recovered,
    refuse,
    seed_for_kills,
    seed_old,
    stepped,
    unfinished,
)
from aiofs.testing.kills import ChildProcesses, state_of
from aiofs.testing.needs import needs
from aiofs.transactions.errors import Unfinished
from aiofs.transactions.transaction import recover, transaction

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness


class Refusals(Suite):
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
class Crashes(Suite):
    """Killed processes."""

    @pytest.mark.timeout(300)
    async def test_88_kill_9_then_recover(self, store: Harness, nursery: ChildProcesses) -> None:
        """A transaction that is killed at any step is recovered by another process to all or nothing."""
        connect = Single(store.spawn or store.connect)
        await seed_for_kills(store)
        before = await state_of({"": store.fresh()})
        whole = await asyncio.to_thread(nursery.run, connect, "commit", 0)
        after = await state_of({"": store.fresh()})
        assert before != after
        outcomes = set()
        for number in range(1, whole.steps + 1, max(1, whole.steps // (4 if store.lease else 8))):
            await store.fs.rm(*await store.names())
            await seed_for_kills(store)
            await asyncio.to_thread(nursery.run, connect, "commit", number)
            await recovered(store)
            state = await state_of({"": store.fresh()})
            assert state in (before, after), number
            await locks_run_out(store)
            assert await store.leftovers() == [], number
            outcomes.add(state == after)
        assert outcomes == {True, False}


class TransactionContract(Isolation, Refusals, Crashes):
    """All behaviours of transactions. It is used like `Contract`, for stores that pass `Contract`."""
