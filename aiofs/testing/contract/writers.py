"""Behaviours 46 to 54: one writer at a time, no lost updates, and writers in other processes."""

from __future__ import annotations

import asyncio
import errno
import time
from typing import TYPE_CHECKING

import pytest

from aiofs.driver import ABSENT
from aiofs.testing.harness import PATIENCE, needs
from aiofs.testing.kills import Child

if TYPE_CHECKING:
    from aiofs.filesystem import FileSystem
    from aiofs.testing.harness import Harness
    from aiofs.testing.kills import ChildProcesses

OLD = b"the old bytes"


@needs("writable")
class Writers:
    """One writer at a time, and no lost updates."""

    async def test_46_second_writer(self, store: Harness) -> None:
        """A second writer gets a BlockingIOError at `open` that names the path, in all modes."""
        await store.put("file", OLD)
        for first in ("w", "r+", "a"):
            async with store.fs.open("file", first) as file:
                for system in (store.fs, store.fresh()):
                    for second in ("w", "r+", "a"):
                        with pytest.raises(BlockingIOError) as caught:
                            await system.open("file", second)
                        assert caught.value.filename == "file"
                        assert getattr(caught.value, "retryable", True)
                await file.write(b"mine")
            await store.put("file", OLD)
        async with store.fs.open("new", "x"):
            with pytest.raises((BlockingIOError, FileExistsError)):
                await store.fs.open("new", "x")

    async def test_47_rm_while_writing(self, store: Harness) -> None:
        """So does `rm` of a file that somebody is writing, and it removes nothing."""
        await store.put("file", OLD)
        await store.put("other", OLD)
        async with store.fs.open("file", "w") as file:
            await file.write(b"new")
            for system in (store.fs, store.fresh()):
                with pytest.raises(BlockingIOError) as caught:
                    await system.rm("other", "file")
                assert caught.value.filename == "file"
            assert await store.names() == ["file", "other"]
        assert await store.get("file") == b"new"

    async def test_48_readers_never_blocked(self, store: Harness) -> None:
        """Readers can open and read the old version while somebody writes."""
        await store.put("file", OLD)
        async with store.fs.open("file", "r+") as file:
            await file.write(b"new")
            for system in (store.fs, store.fresh()):
                assert await system.read_bytes("file") == OLD
                async with system.open("file") as reader:
                    assert await reader.read() == OLD
                assert (await system.stat("file")).path == "file"

    async def test_49_other_paths_free(self, store: Harness) -> None:
        """Twenty writers can write twenty files at the same time."""
        barrier = asyncio.Barrier(20)

        async def write(number: int) -> None:
            async with store.fs.open(f"folder/{number}", "w") as file:
                await file.write(b"%d " % number)
                await barrier.wait()
                await file.write(b"%d" % number)

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(write(number))
        for number in range(20):
            assert await store.get(f"folder/{number}") == b"%d %d" % (number, number)

    async def test_50_lock_freed(self, store: Harness) -> None:
        """The lock is free after a commit, an abort, a failed commit, and a release that failed."""
        async with store.fs.open("file", "w") as file:
            await file.write(OLD)
        async with store.fs.open("file", "w") as file:
            await file.abort()
        fs, chaos = store.troubled()
        chaos.fail("commit", OSError(errno.EIO, "the store broke off"))
        with pytest.raises(OSError, match="broke off"):
            async with fs.open("file", "w") as file:
                await file.write(b"new")
        async with store.fs.open("file", "r+") as file:
            pass
        async with store.fs.open("file", "a") as file:
            pass
        await store.write_at_once("file")
        assert await store.leftovers() == []

    async def test_51_create_race(self, store: Harness) -> None:
        """If twenty tasks create the same file, exactly one succeeds, and its bytes are there."""
        systems = [store.fs, store.fresh(), store.fresh()]
        for turn in range(3):
            name = f"race {turn}"
            results = await asyncio.gather(
                *(_create(systems[number % 3], name, number) for number in range(20)), return_exceptions=True
            )
            winners = [result for result in results if not isinstance(result, BaseException)]
            losers = [result for result in results if isinstance(result, BaseException)]
            assert len(winners) == 1
            assert all(isinstance(loser, FileExistsError | BlockingIOError) for loser in losers), losers
            assert await store.get(name) == b"creator %d" % winners[0]

    @needs("conditional")
    async def test_52_lost_update(self, store: Harness) -> None:
        """`r+` and `a` fail if the file was changed meanwhile, and do not overwrite the change."""
        for mode in ("r+", "a"):
            await store.put("file", OLD)
            with pytest.raises(BlockingIOError) as caught:
                async with store.fs.open("file", mode) as file:
                    await file.write(b"mine")
                    await store.meddle_with("file", b"theirs, behind the back of all locks")
            assert caught.value.filename == "file"
            assert await store.get("file") == b"theirs, behind the back of all locks"
            await store.write_at_once("file")

    @needs("conditional")
    async def test_52_created_meanwhile(self, store: Harness) -> None:
        """`x` fails if somebody made the file meanwhile, and does not overwrite it."""
        with pytest.raises((FileExistsError, BlockingIOError)) as caught:
            async with store.fs.open("file", "x") as file:
                await file.write(b"mine")
                await store.meddle_with("file", b"theirs")
        assert caught.value.filename == "file"
        assert await store.get("file") == b"theirs"

    @needs("conditional")
    async def test_106_match_at_commit(self, store: Harness) -> None:
        """A session that was begun for a version, or for a missing file, is published only in that case."""
        await store.put("file", b"one")
        stale = (await store.driver.stat("file")).version
        await store.put("file", b"two")
        for match in (stale, ABSENT):
            lease = await store.driver.lock("file")
            try:
                with pytest.raises((BlockingIOError, FileExistsError)):
                    session = await store.driver.begin("file", lease, match=match)
                    try:
                        await session.write(b"three")
                        await session.commit()
                    finally:
                        await session.abort()
            finally:
                await lease.release()
            assert await store.get("file") == b"two"
        await store.write_at_once("file")

    async def test_107_one_version_per_reader(self, store: Harness) -> None:
        """A reader gets one version of the file, or an error, and never bytes of two versions."""
        old, new = b"o" * 3_000_000, b"n" * 3_000_000
        await store.put("file", old)
        reader = await store.fs.open("file")
        try:
            data = await reader.read(100_000)
            await store.put("file", new)
            try:
                while piece := await reader.read(100_000):
                    data += piece
                await reader.seek(10)
                assert await reader.read(1_000_000) == old[:1_000_000]
            except OSError:
                assert not store.can.pinned, "the store says that it keeps a version for its readers"
                assert set(data) == {ord("o")}
            else:
                assert data == old
        finally:
            await reader.close()
        assert await store.fs.read_bytes("file") == new

    async def test_108_writers_and_readers_at_once(self, store: Harness) -> None:
        """Readers see only whole versions while a writer replaces the file again and again."""
        size = 300_000
        await store.put("file", b"0" * size)
        done = asyncio.Event()

        async def write() -> None:
            for turn in range(1, 9):
                async with store.fs.open("file", "w") as file:
                    await file.write(b"%d" % turn * size)
            done.set()

        async def read(system: FileSystem) -> None:
            while not done.is_set():
                await asyncio.sleep(0)  # a store in memory may answer without giving the loop a turn
                try:
                    data = await system.read_bytes("file")
                except BlockingIOError:
                    assert not store.can.pinned
                    continue
                assert len(data) == size
                assert len(set(data)) == 1

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(read(store.fs))
            group.create_task(read(store.fresh()))

    async def test_130_tasks_share_a_writer(self, store: Harness) -> None:
        """Tasks that share a handle for writing take turns: every write is whole, and none is lost."""
        size = store.part_size // 2 + 1
        for mode in ("w", "r+", "a"):
            await store.put("file", b"")
            async with store.fs.open("file", mode) as file:
                written = [bytes([number]) * size for number in range(7)]
                counts = await asyncio.gather(*(file.write(data) for data in written))
                assert counts == [size] * 7
                assert await file.tell() == 7 * size
            data = await store.get("file") or b""
            assert sorted(data[start : start + size] for start in range(0, len(data), size)) == written
        async with store.fs.open("file", "w", encoding="ascii") as file:
            await asyncio.gather(*(file.write(f"{number:07}\n" * 5000) for number in range(10)))
        data = await store.get("file") or b""
        assert data == b"".join(sorted(data[start : start + 40_000] for start in range(0, len(data), 40_000)))


async def _create(system: FileSystem, name: str, number: int) -> int:
    async with system.open(name, "x") as file:
        await file.write(b"creator %d" % number)
    return number


@needs("writable", "shared locks")
class Processes:
    """Writers in other processes."""

    async def test_53_shared_lock(self, store: Harness, child_processes: ChildProcesses) -> None:
        """Writers in two processes exclude each other, and each sees what the other committed."""
        async with Child.of(store, child_processes) as child:
            await child.call("open", "file", "w")
            for mode in ("w", "r+", "x", "a"):
                with pytest.raises((BlockingIOError, FileNotFoundError)):
                    await store.fs.open("file", mode)
            with pytest.raises(BlockingIOError) as caught:
                await store.fs.open("file", "w")
            assert caught.value.filename == "file"
            assert await store.get("file") is None
            await child.call("write", "from the child")
            await child.call("close")
            assert await store.get("file") == b"from the child"
            async with store.fs.open("file", "w") as file:
                await file.write(b"from the parent")
                answer = await child.ask("open", "file", "w")
                assert answer["error"] == "BlockingIOError"
                assert answer["filename"] == "file"
            assert await child.call("read", "file") == "from the parent"

    async def test_53_rm_excluded(self, store: Harness, child_processes: ChildProcesses) -> None:
        """A file that another process is writing cannot be removed."""
        await store.put("file", b"old")
        async with Child.of(store, child_processes) as child:
            await child.call("open", "file", "r+")
            with pytest.raises(BlockingIOError):
                await store.fs.rm("file")
            await child.call("close")
            await store.fs.rm("file")

    async def test_54_dead_holder(self, store: Harness, child_processes: ChildProcesses) -> None:
        """The lock of a killed writer is free when its lease ends, and nothing of its file is left."""
        await store.put("file", b"old")
        async with Child.of(store, child_processes) as child:
            await child.call("open", "file", "w")
            await child.call("write", "half a file " * 1000)
            child.kill()
            await child.gone()
        assert await store.get("file") == b"old"
        await _written_within(store, "file", store.lease + PATIENCE)
        assert await store.leftovers() == []

    async def test_54_late_commit(self, store: Harness, child_processes: ChildProcesses) -> None:
        """A writer that slept longer than its lease cannot overwrite the file of the next writer."""
        await store.put("file", b"old")
        async with Child.of(store, child_processes) as child:
            await child.call("open", "file", "w")
            await child.call("write", "the sleeper's")
            child.stop()
            if store.fenced:
                await _written_within(store, "file", store.lease + PATIENCE)
                child.go_on()
                answer = await child.ask("close")
                assert answer.get("error") == "BlockingIOError", answer
                assert await store.get("file") == b"next"
            else:
                with pytest.raises(BlockingIOError):
                    await store.fs.open("file", "w")
                child.go_on()
                await child.call("close")
                assert await store.get("file") == b"the sleeper's"
        await store.write_at_once("file")

    async def test_131_killed_at_every_step(self, store: Harness, child_processes: ChildProcesses) -> None:
        """A writer that is killed at any step leaves the old or the new bytes, and the next writer can write."""
        old, new = b"old" * 1000, "new" * store.part_size
        steps = (("lock", "after"), ("write", "after"), ("commit", "before"), ("commit", "after"))
        for step, when in steps:
            await store.put(f"{when} {step}", old)
            async with Child.of(store, child_processes) as child:
                await child.call("die at", step, when)
                await child.dies("write whole", f"{when} {step}", new)
        for step, when in steps:
            there = await store.get(f"{when} {step}")
            assert there == (new.encode() if (step, when) == ("commit", "after") else old), f"{when} {step}"
            await _written_within(store, f"{when} {step}", store.lease + PATIENCE)
        await store.sweep()
        assert await store.leftovers() == []


async def _written_within(store: Harness, path: str, seconds: float) -> None:
    """Write a file as soon as its lock is free.

    :raises BlockingIOError: if it still is not, when the time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            await store.write_at_once(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return
