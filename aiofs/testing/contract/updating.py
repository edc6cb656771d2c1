"""Behaviours 240 to 249: `update`, which loses no change of others."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.errors import Unsupported
from aiofs.testing.harness import Stop, needs
from aiofs.testing.kills import Child
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness
    from aiofs.testing.kills import ChildProcesses

OLD, NEW, THEIRS = b"the old bytes", b"new", b"theirs"
TASKS, TIMES = 6, 3
LONG = 120.0
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))


def plus_one(old: bytes) -> bytes:
    """Return the number that comes next."""
    return b"%d" % (int(old) + 1)


@needs("writable", "conditional")
class Updating:
    """`update`, which loses no change of others."""

    async def test_240_changes_the_file(self, store: Harness) -> None:
        """`update` makes what a function returns for the old bytes the new ones, and returns the new entry."""
        await store.put("file", b"7")
        entry = await store.fs.update("file", plus_one)
        assert await store.get("file") == b"8"
        there = await store.fs.stat("file")
        assert (entry.path, entry.size, entry.version) == ("file", 1, there.version)

        async def doubled(old: bytes) -> bytes:
            await asyncio.sleep(0)
            return old * 2

        await store.fs.at("folder").update("file", doubled, create=b"ab")
        assert await store.get("folder/file") == b"abab"
        await store.fs.update("text", lambda old: old + "ö\r\n", create="", encoding="latin-1")
        assert await store.get("text") == b"\xf6\r\n"

    async def test_241_missing_file(self, store: Harness) -> None:
        """For a missing file the function gets `create`, and the file is made; without it: FileNotFoundError."""
        with pytest.raises(FileNotFoundError) as caught:
            await store.fs.update("file", plus_one)
        assert caught.value.filename == "file"
        assert await store.names() == []
        await store.fs.update("file", plus_one, create=b"0")
        await store.fs.update("empty", lambda old: old, create=b"")
        assert await store.get("file") == b"1"
        assert await store.get("empty") == b""

    async def test_242_same_bytes(self, store: Harness) -> None:
        """If the function returns the same bytes, nothing is written, and no lock is needed."""
        await store.put("file", OLD)
        before = await store.fs.stat("file")
        async with store.fresh().open("file", "r+"):
            for same in (bytes, bytearray):
                assert (await store.fs.update("file", same, wait=0)).version == before.version
        assert await store.fs.stat("file") == before

    async def test_243_somebody_came_between(self, store: Harness) -> None:
        """If somebody changes the file meanwhile, the function is called again with what they wrote."""
        await store.put("file", OLD)
        other, seen = store.fresh(), list[bytes]()

        async def change(old: bytes) -> bytes:
            seen.append(old)
            if len(seen) == 1:
                await other.write_bytes("file", THEIRS)
            return old + NEW

        await store.fs.update("file", change)
        assert seen == [OLD, THEIRS]
        assert await store.get("file") == THEIRS + NEW
        seen.clear()
        await store.fs.rm("file")
        await store.fs.update("file", change, create=OLD)
        assert seen == [OLD, THEIRS]
        assert await store.get("file") == THEIRS + NEW

    async def test_244_tasks_count(self, store: Harness) -> None:
        """Tasks that count in one file, over several connections, lose no step."""

        async def count() -> None:
            system = store.fresh()
            for _ in range(TIMES):
                await system.update("file", plus_one, create=b"0", wait=LONG)

        async with store.no_leftovers():
            await asyncio.gather(*(count() for _ in range(TASKS)))
        assert await store.get("file") == b"%d" % (TASKS * TIMES)

    async def test_245_in_vain(self, store: Harness) -> None:
        """If `wait` seconds were not enough, a BlockingIOError is raised; `wait=0` tries once."""
        await store.put("file", b"1")
        async with store.fresh().open("file", "r+"):
            for wait in (0, 0.05):
                with pytest.raises(BlockingIOError) as caught:
                    await store.fs.update("file", plus_one, wait=wait)
                assert caught.value.filename == "file"
                assert getattr(caught.value, "retryable", True)
        calls = 0
        other = store.fresh()

        async def too_slow(old: bytes) -> bytes:
            nonlocal calls
            calls += 1
            await other.write_bytes("file", THEIRS)
            return old + NEW

        with pytest.raises(BlockingIOError) as caught:
            await store.fs.update("file", too_slow, wait=0)
        assert calls == 1
        assert getattr(caught.value, "retryable", True)
        assert await store.get("file") == THEIRS

    async def test_246_failing_change(self, store: Harness) -> None:
        """If the function raises, or the call is cancelled, the file stays, and nobody is kept out."""
        await store.put("file", OLD)

        def fail(_old: bytes) -> bytes:
            raise Stop

        async def hang(_old: bytes) -> bytes:
            await asyncio.Event().wait()
            return NEW

        async with store.no_leftovers():
            with pytest.raises(Stop):
                await store.fs.update("file", fail)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.fs.update("file", hang), 0.05)
        fs: Any = store.fs
        for wrong in (len, str, print, OLD):
            with pytest.raises(TypeError):
                await fs.update("file", wrong)
        assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_247_in_a_transaction(self, store: Harness) -> None:
        """Within a transaction `update` changes the file as the transaction sees it."""
        await store.put("file", b"1")
        async with transaction(store.fs) as tx:
            await tx.update("file", plus_one)
            await tx.update("file", plus_one)
            await tx.update("new", plus_one, create=b"0")
            assert await store.get("file") == b"1"
        assert await store.get("file") == b"3"
        assert await store.get("new") == b"1"
        with pytest.raises(BlockingIOError):
            async with transaction(store.fs) as tx:
                await tx.read_bytes("file")
                await store.put("file", b"7")
                await tx.update("file", plus_one)
        assert await store.get("file") == b"7"


@needs("writable", "conditional", "shared locks")
class UpdatingInProcesses:
    """`update` in several processes."""

    @pytest.mark.timeout(3600 if FULL else 300)  # each step of all processes waits for the others
    async def test_248_processes_count(self, store: Harness, child_processes: ChildProcesses) -> None:
        """Processes that count in one file lose no step: 16 of them, 200 steps each, in a full run."""
        processes, times = (16, 200) if FULL else (2, 5)
        children = [Child.of(store, child_processes) for _ in range(processes)]
        try:
            for child in children:
                await child.__aenter__()
            await asyncio.gather(*(child.call("count", "file", str(times)) for child in children))
        finally:
            for child in children:
                await child.__aexit__(None, None, None)
        assert await store.get("file") == b"%d" % (processes * times)


@needs("writable", "unconditional")
class Refused:
    """A store that does not compare versions."""

    async def test_249_refused_by_name(self, store: Harness) -> None:
        """Where a store does not compare versions in the step that publishes, `update` is refused before any I/O."""
        await store.put("file", b"1")
        for fs in (store.fs, store.fs.at("folder")):
            with pytest.raises(Unsupported, match="update"):
                await fs.update("file", plus_one, create=b"0")
        assert await store.get("file") == b"1"
        assert await store.names() == ["file"]
