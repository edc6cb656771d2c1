"""Behaviours 53 and 54: writers in other processes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.child import Child
from aiofs.testing.needs import needs

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness
    from aiofs.testing.kills import ChildProcesses

PATIENCE = 10.0


@needs("writable", "shared locks")
class Processes:
    """Writers in other processes."""

    async def test_53_shared_lock(self, store: Harness, nursery: ChildProcesses) -> None:
        """Writers in two processes exclude each other, and each sees what the other committed."""
        async with Child.of(store, nursery) as child:
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

    async def test_53_rm_excluded(self, store: Harness, nursery: ChildProcesses) -> None:
        """A file that another process is writing cannot be removed."""
        await store.put("file", b"old")
        async with Child.of(store, nursery) as child:
            await child.call("open", "file", "r+")
            with pytest.raises(BlockingIOError):
                await store.fs.rm("file")
            await child.call("close")
            await store.fs.rm("file")

    async def test_54_dead_holder(self, store: Harness, nursery: ChildProcesses) -> None:
        """The lock of a killed writer is free when its lease ends, and nothing of its file is left."""
        await store.put("file", b"old")
        async with Child.of(store, nursery) as child:
            await child.call("open", "file", "w")
            await child.call("write", "half a file " * 1000)
            child.kill()
            await child.gone()
        assert await store.get("file") == b"old"
        await _written_within(store, "file", store.lease + PATIENCE)
        assert await store.leftovers() == []

    async def test_54_late_commit(self, store: Harness, nursery: ChildProcesses) -> None:
        """A writer that slept longer than its lease cannot overwrite the file of the next writer."""
        await store.put("file", b"old")
        async with Child.of(store, nursery) as child:
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

    async def test_131_killed_at_every_step(self, store: Harness, nursery: ChildProcesses) -> None:
        """A writer that is killed at any step leaves the old or the new bytes, and the next writer can write."""
        old, new = b"old" * 1000, "new" * store.part_size
        steps = (("lock", "after"), ("write", "after"), ("commit", "before"), ("commit", "after"))
        for step, when in steps:
            await store.put(f"{when} {step}", old)
            async with Child.of(store, nursery) as child:
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
