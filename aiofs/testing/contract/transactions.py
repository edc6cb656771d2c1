"""Behaviours 79 to 93, and more: several changes happen all or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.testing.contract.suite import Suite
from aiofs.testing.harness import PATIENCE, cancelled_everywhere
from aiofs.testing.needs import needs
from aiofs.transactions.checking import fsck
from aiofs.transactions.errors import Unfinished
from aiofs.transactions.kills import Nursery, seed, state_of
from aiofs.transactions.recovery import Recovered
from aiofs.transactions.stepped import Stepped, Steps
from aiofs.transactions.system import TransactionalFileSystem, recover, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from aiofs.system import FileLikeSystem
    from aiofs.testing.harness import Harness

OLD = {"a": b"old a", "b": b"old b", "c": b"old c", "gone": b"to go"}
NEW = {"a": b"new a", "b": b"new b", "c": b"new c", "d/e": b"new e"}


class Stop(Exception):
    """What the block of a user may raise."""


class Isolation(Suite):
    """Who sees what of a transaction, and when."""

    async def test_79_all_visible_after(self, store: Harness) -> None:
        """Leaving the block publishes everything, and leaves nothing else."""
        await _seed(store)
        async with store.no_leftovers(), transaction(store.fs) as tx:
            await _change(tx)
        assert tx.state == "committed"
        assert await _files(store) == NEW
        await tx.commit()

    async def test_80_nothing_visible_before(self, store: Harness) -> None:
        """Until then nobody else sees anything of it."""
        await _seed(store)
        other = store.fresh()
        async with transaction(store.fs) as tx:
            await _change(tx)
            assert await _files(store) == OLD
            assert await other.read_bytes("a") == OLD["a"]
            assert await other.exists("gone")
            assert not await other.exists("d/e")
            assert [name async for name in other.ls("d")] == []
        assert await other.read_bytes("a") == NEW["a"]

    async def test_81_reads_its_own_writes(self, store: Harness) -> None:
        """Within the block there is what it wrote, for every way to look."""
        await _seed(store)
        async with transaction(store.fs) as tx:
            await _change(tx)
            assert await _all(tx) == NEW
            assert [name async for name in tx.ls(recursive=False)] == ["a", "b", "c", "d/"]
            assert (await tx.stat("d/e")).size == 5
            assert not await tx.exists("gone")
            with pytest.raises(FileNotFoundError):
                await tx.read_bytes("gone")
            async with tx.open("a", "r+") as file:
                assert await file.read() == NEW["a"]
                await file.seek(0)
                await file.write(b"NEW")
            async with tx.open("a", "a") as file:
                await file.write(b", more")
            assert await tx.read_bytes("a") == b"NEW a, more"
            assert await tx.read_bytes("a", 3, 5) == b" a"
            async with tx.open("text", "w", encoding="utf-8") as text:
                await text.write("zwölf\n")
            assert await tx.read_text("text") == "zwölf\n"
            await tx.copy("a", "copied")
            await tx.move("text", "moved/text")
            with pytest.raises(FileExistsError):
                await tx.open("copied", "x")
        assert await _files(store) == {
            **NEW,
            "a": b"NEW a, more",
            "copied": b"NEW a, more",
            "moved/text": "zwölf\n".encode(),
        }

    async def test_82_exception_leaves_nothing(self, store: Harness) -> None:
        """A block that raises, or is rolled back, changes nothing and leaves nothing."""
        await _seed(store)
        async with store.no_leftovers():
            with pytest.raises(Stop):
                async with transaction(store.fs) as tx:
                    await _change(tx)
                    raise Stop
            async with transaction(store.fs, auto_commit=False) as tx:
                await _change(tx)
            async with transaction(store.fs) as tx:
                await _change(tx)
                await tx.rollback()
                await tx.rollback()
                with pytest.raises(ValueError, match="rolled back"):
                    await tx.read_bytes("a")
            async with transaction(store.fs):
                pass
        assert await _files(store) == OLD
        await store.write_at_once("a")

    async def test_83_cancel(self, store: Harness) -> None:
        """Cancelled at any moment, it leaves everything as it was or everything done, and nothing else."""
        await _seed(store)

        async def work() -> None:
            async with transaction(store.fs) as tx:
                await _change(tx)

        async def check() -> None:
            assert await store.leftovers() == []
            assert await _files(store) in (OLD, NEW)
            await store.fs.rm(*await store.names())
            await _seed(store)

        await cancelled_everywhere(work, check, tries=16)

    async def test_84_rm_and_rewrite_same_path(self, store: Harness) -> None:
        """A path may be removed and written again, as often as one likes; the last word counts."""
        await _seed(store)
        async with store.no_leftovers(), transaction(store.fs) as tx:
            await tx.rm("a")
            await tx.write_bytes("a", b"again")
            await tx.write_bytes("a", b"and again")
            await tx.write_bytes("b", b"for nothing")
            await tx.rm("b")
            await tx.write_bytes("new", b"for nothing")
            await tx.rm("new")
            with pytest.raises(FileNotFoundError):
                await tx.rm("new")
            await tx.rm("new", missing_ok=True)
        assert await _files(store) == {"a": b"and again", "c": OLD["c"], "gone": OLD["gone"]}

    async def test_85_two_stores(self, store: Harness) -> None:
        """Changes in several stores happen all or not at all."""
        await _seed(store)
        other = FileSystem(MemoryDriver())
        await other.write_bytes("here", b"old")
        stores = {"first": store.fs, "second": other}
        for journal in (None, other):
            with pytest.raises(Stop):
                async with transaction(stores, journal=journal) as tx:
                    await _change(tx["first"])
                    await tx["second"].write_bytes("here", b"new")
                    raise Stop
            assert await _files(store) == OLD
            assert await other.read_bytes("here") == b"old"
        async with store.no_leftovers(), transaction(stores) as tx:
            await _change(tx["first"])
            await tx["second"].write_bytes("here", b"new")
            await tx["second"].write_bytes("there", await tx["first"].read_bytes("a"))
        assert await _files(store) == NEW
        assert await _all(other) == {"here": b"new", "there": NEW["a"]}

    async def test_91_lock_conflict(self, store: Harness) -> None:
        """What somebody else writes is refused at open; the rest of the transaction can go on, or leaves nothing."""
        await _seed(store)
        async with store.fs.open("b", "w") as held:
            await held.write(b"held")
            with pytest.raises(BlockingIOError) as caught:
                async with transaction(store.fresh()) as tx:
                    await tx.write_bytes("a", b"new")
                    await tx.write_bytes("b", b"new")
            assert caught.value.filename == "b"
            async with transaction(store.fresh()) as tx:
                await tx.write_bytes("c", b"new")
                with pytest.raises(BlockingIOError):
                    await tx.rm("b")
                with pytest.raises(BlockingIOError):
                    await store.fresh().open("c", "w")
            await held.abort()
        assert await _files(store) == {**OLD, "c": b"new"}
        assert await store.leftovers() == []

    async def test_92_savepoint_or_nested(self, store: Harness) -> None:
        """A savepoint is what one can go back to, by its block or by hand."""
        await _seed(store)
        async with transaction(store.fs) as tx:
            await tx.write_bytes("a", b"kept")
            with pytest.raises(Stop):
                async with tx.savepoint():
                    await tx.write_bytes("a", b"lost")
                    await tx.rm("b")
                    await tx.write_bytes("new", b"lost")
                    raise Stop
            assert await _all(tx) == {**OLD, "a": b"kept"}
            mark = tx.savepoint()
            await tx.write_bytes("c", b"lost")
            mark.rollback()
            async with tx.savepoint():
                await tx.write_bytes("d", b"kept")
        assert await _files(store) == {**OLD, "a": b"kept", "d": b"kept"}
        assert await store.leftovers() == []

    async def test_93_large_and_many(self, store: Harness) -> None:
        """Many files, and files of several parts, some of them changed a little."""
        large = bytes(range(256)) * (store.part_size // 100)
        await store.put("large", large)
        async with store.no_leftovers(), transaction(store.fs) as tx:
            for number in range(60):
                await tx.write_bytes(f"many/{number:03}", b"%d" % number)
            async with tx.open("large", "r+") as file:
                await file.seek(len(large) // 2)
                await file.write(b"changed")
            async with tx.open("large", "a") as file:
                await file.write(large)
            await tx.copy("large", "copied")
        half = len(large) // 2
        expected = large[:half] + b"changed" + large[half + 7 :] + large
        assert await store.get("large") == expected
        assert await store.get("copied") == expected
        assert len(await store.names()) == 62

    async def test_201_lost_update(self, store: Harness) -> None:
        """A file that the transaction read and then writes must not have changed between; nothing is published then."""
        await _seed(store)
        for mode in ("w", "x"):
            name = "a" if mode == "w" else "fresh"
            with pytest.raises((BlockingIOError, FileExistsError)) as caught:
                async with transaction(store.fs) as tx:
                    await tx.write_bytes("b", b"new")
                    with suppress(FileNotFoundError):
                        await tx.read_bytes(name)
                    await tx.exists(name)
                    await store.put(name, b"somebody else's")
                    await tx.write_bytes(name, b"mine")
            assert caught.value.filename == name
            assert await store.get(name) == b"somebody else's"
        assert await store.get("b") == OLD["b"]

    async def test_202_diff(self, store: Harness) -> None:
        """A transaction can say what it would do."""
        await _seed(store)
        async with transaction(store.fs) as tx:
            await _change(tx)
            changes = [(change.path, change.kind, change.size) for change in await tx.diff()]
        assert changes == [
            ("a", "replace", 5),
            ("b", "replace", 5),
            ("c", "replace", 5),
            ("d/e", "create", 5),
            ("gone", "remove", None),
        ]

    async def test_203_open_handles(self, store: Harness) -> None:
        """A transaction is not committed while one of its files is open for writing; it is rolled back instead."""
        await _seed(store)
        with pytest.raises(BlockingIOError) as caught:
            async with transaction(store.fs) as tx:
                await tx.write_bytes("b", b"new")
                file = await tx.open("a", "w")
                with pytest.raises(BlockingIOError):
                    await tx.open("a", "r+")
        assert caught.value.filename == "a"
        await file.abort()
        assert await _files(store) == OLD
        assert await store.leftovers() == []

    async def test_204_code_for_plain_systems(self, store: Harness) -> None:
        """Code that knows nothing of transactions takes part in the one around it."""
        await _seed(store)
        tfs = TransactionalFileSystem(store.fs)
        with pytest.raises(Stop):
            async with tfs.transaction():
                await _change(tfs)
                assert await _all(tfs) == NEW
                raise Stop
        assert await _all(tfs) == OLD
        async with tfs.transaction():
            await asyncio.create_task(_change(tfs))
            with pytest.raises(ValueError, match="savepoint"):
                async with tfs.transaction():
                    pytest.fail("a transaction was begun within another one")
            assert await _files(store) == OLD
        assert await _files(store) == NEW
        await tfs.write_bytes("outside", b"at once")
        assert await store.get("outside") == b"at once"


class Refusals(Suite):
    """What happens when a store does not do its part."""

    async def test_86_refused_publish_compensates(self, store: Harness) -> None:
        """If one file cannot be published, those that were are put back, and the refusal is raised."""
        await _seed(store)
        for after, name in ((False, "c"), (False, "gone"), (True, "d/e")):
            fs, steps = _stepped(store)
            _refuse(steps, name, after=after)
            async with store.no_leftovers():
                with pytest.raises(OSError, match="trouble") as caught:
                    async with transaction(fs, journal=FileSystem(MemoryDriver())) as tx:
                        await _change(tx)
                    if after:
                        raise steps.failed[0]  # only its answer was lost: all was published nevertheless
                assert caught.value.filename == name
                assert tx.state == ("committed" if after else "rolled back")
            assert await _files(store) == (NEW if after else OLD)
        await store.write_at_once("a")

    async def test_87_failed_compensation(self, store: Harness) -> None:
        """If that fails too, both are told, the journal stays, and `recover` puts the rest back later."""
        await _seed(store)
        async with _unfinished(store) as (fs, steps):
            with pytest.raises(ExceptionGroup) as caught:
                async with transaction(fs) as tx:
                    await _change(tx)
            assert tx.state == "unfinished"
            told = list(_leaves(caught.value))
            assert any(isinstance(error, Unfinished) for error in told)
            assert set(steps.failed) <= set(told)
        report = await _recovered(store)
        assert len(report.undone) == 1
        assert await _files(store) == OLD
        assert await store.leftovers() == []

    async def test_89_recover_twice_and_at_once(self, store: Harness) -> None:
        """Any number of recoverers at the same time, or one after another, do what one would."""
        await _seed(store)
        async with _unfinished(store) as (fs, _):
            with pytest.raises(ExceptionGroup):
                async with transaction(fs) as tx:
                    await _change(tx)
        await asyncio.gather(*(recover(store.fresh()) for _ in range(4)))
        await _recovered(store)
        assert not (await recover(store.fresh())).ended
        assert await _files(store) == OLD
        assert await store.leftovers() == []

    async def test_90_no_swallowed_error(self, store: Harness) -> None:
        """Whatever call to the store fails, the user is told, and it is all or nothing."""
        await _seed(store)
        number = 0
        while True:
            number += 7 if store.lease else 1  # on servers, some of the calls
            fs, steps = _stepped(store)
            steps.fail(number)
            tx = transaction(fs)
            told: BaseException | None = None
            try:
                async with tx:
                    await _change(tx)
            except (OSError, ExceptionGroup) as error:
                told = error
            if not steps.failed:
                break
            assert told is not None, steps.taken[number - 1]
            assert set(steps.failed) <= set(_leaves(told))
            await steps.heal()
            await _recovered(store)
            assert await _files(store) == (NEW if tx.state == "committed" else OLD)
            assert await store.leftovers() == []
            await store.fs.rm(*await store.names())
            await _seed(store)
        assert number > 20

    async def test_205_somebody_elses_work_stays(self, store: Harness) -> None:
        """What somebody else changed after it was published is not put back over; that is told."""
        await _seed(store)
        async with _unfinished(store) as (fs, _):
            with pytest.raises(ExceptionGroup):
                async with transaction(fs) as tx:
                    await _change(tx)
        version = (await store.fresh().stat("a")).version
        if await store.get("a") == NEW["a"]:
            with suppress(BlockingIOError):
                await store.put("a", b"somebody else's")
        changed = (await store.fresh().stat("a")).version != version
        report = await _recovered(store)
        if changed:
            assert [getattr(error, "filename", None) for error in report.overtaken] == ["a"]
        assert await _files(store) == {**OLD, **({"a": b"somebody else's"} if changed else {})}

    async def test_206_failed_part_spoils(self, store: Harness) -> None:
        """A write that failed for want of room spoils the transaction, even if the block survives it."""
        await _seed(store)
        with pytest.raises(OSError, match="a part of this transaction failed"):
            async with transaction(store.fs) as tx:
                await tx.write_bytes("a", b"new")
                tx._unit.spoil(OSError(errno.ENOSPC, "no room for it"))  # noqa: SLF001 -- a full disk is hard to have
        assert await _files(store) == OLD


@needs("resume", "shared locks")
class Crashes(Suite):
    """Processes that are killed."""

    @pytest.mark.timeout(300)
    async def test_88_kill_9_then_recover(self, store: Harness, nursery: Nursery) -> None:
        """Killed at any step, the transaction is recovered to all or nothing by another process, with no orphan."""
        connect = _Single(store.spawn or store.connect)
        await _seed_for_kills(store)
        before = await state_of({"": store.fresh()})
        whole = await asyncio.to_thread(nursery.run, connect, "commit", 0)
        after = await state_of({"": store.fresh()})
        assert before != after
        outcomes = set()
        for number in range(1, whole.steps + 1, max(1, whole.steps // (4 if store.lease else 8))):
            await store.fs.rm(*await store.names())
            await _seed_for_kills(store)
            await asyncio.to_thread(nursery.run, connect, "commit", number)
            await _recovered(store)
            state = await state_of({"": store.fresh()})
            assert state in (before, after), number
            await _locks_run_out(store)
            assert await store.leftovers() == [], number
            outcomes.add(state == after)
        assert outcomes == {True, False}


class TransactionContract(Isolation, Refusals, Crashes):
    """All behaviours of transactions. Used like `Contract`, for any store that has passed that."""


class _Single:
    """Opens a store without a name; can be pickled if the store's opener can."""

    def __init__(self, connect: Any) -> None:
        self._connect = connect

    def __call__(self) -> Mapping[str, FileLikeSystem]:
        return {"": self._connect()}


async def _seed(store: Harness) -> None:
    for path, data in OLD.items():
        await store.put(path, data)


async def _seed_for_kills(store: Harness) -> None:
    await seed({"": store.fs})


async def _change(fs: FileLikeSystem) -> None:
    """Turn OLD into NEW."""
    for path, data in NEW.items():
        await fs.write_bytes(path, data)
    await fs.rm("gone")


async def _all(fs: FileLikeSystem) -> dict[str, bytes]:
    return {name: await fs.read_bytes(name) async for name in fs.ls()}


async def _files(store: Harness) -> dict[str, bytes]:
    return await _all(store.fresh())


def _stepped(store: Harness) -> tuple[FileLikeSystem, Steps]:
    """Return a second connection whose calls can be made to fail."""
    steps = Steps()
    return store.dressed(store.connect()).over(Stepped(steps)), steps


def _refuse(steps: Steps, path: str, *, after: bool = False) -> None:
    """Let the publication of a path fail, whether it is published by a session or removed by the driver."""
    steps.fail_at(f"commit {path}", after=after)
    if path == "gone":
        steps.fail_at(f"delete {path}", after=after)


@contextlib.asynccontextmanager
async def _unfinished(store: Harness) -> AsyncIterator[tuple[FileLikeSystem, Steps]]:
    """Give a connection on which publishing fails, and then putting back as well; heal it afterwards."""
    fs, steps = _stepped(store)
    _refuse(steps, "gone")
    for path in OLD:
        steps.fail_at(f"lock {path}", nth=2)  # the first is when it is written, the second to put it back
    yield fs, steps
    await steps.heal()


async def _recovered(store: Harness) -> Recovered:
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


async def _locks_run_out(store: Harness) -> None:
    """Remove the locks of a dead process, as soon as they have run out; where they end with it there are none."""
    deadline = time.monotonic() + store.lease + PATIENCE
    while store.lease and await store.leftovers() and time.monotonic() < deadline:
        findings = await fsck(store.fresh(), fix=True)
        assert all("lock" in finding.kind for finding in findings), findings
        await asyncio.sleep(0.05)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield all that was told by one exception, in its groups and as their causes."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
    if error.__cause__ is not None:
        yield from _leaves(error.__cause__)
