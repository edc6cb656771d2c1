"""Behaviours 250 to 259: locks with names, for work beside files."""

from __future__ import annotations

import asyncio
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.errors import Conflict, Locked
from aiofs.testing.harness import PATIENCE, Stop, cancelled_everywhere, needs
from aiofs.testing.kills import Child

if TYPE_CHECKING:
    from aiofs.filesystem import FileSystem
    from aiofs.testing.harness import Harness
    from aiofs.testing.kills import ChildProcesses


@needs("writable")
class NamedLocks:
    """Locks with names, within one process."""

    async def test_250_one_holder(self, store: Harness) -> None:
        """A lock with a name has one holder: another one gets a BlockingIOError that names it, until the block ends."""
        other = store.fresh()
        async with store.fs.lock("jobs/nightly") as lease:
            assert lease.name == "jobs/nightly"
            with pytest.raises(Locked) as caught:
                async with other.lock("jobs/nightly"):
                    pytest.fail("two holders have the same lock")
            assert caught.value.filename == "jobs/nightly"
            async with other.lock("jobs/weekly"), other.lock("jobs"), other.lock("jobs/nightly/more"):
                pass
        with pytest.raises(Stop):
            async with other.lock("jobs/nightly"):
                raise Stop
        async with store.fs.lock("jobs/nightly"):
            pass

    async def test_250_wait_for_a_lock(self, store: Harness) -> None:
        """With `wait`, the next holder gets the lock when it is released; when the time is up, the error names it."""
        other = store.fresh().at("jobs")
        order: list[str] = []

        async def wait_for_it() -> int | None:
            async with other.lock("nightly", wait=60) as lease:
                order.append("next")
                return lease.fence

        async with store.fs.lock("jobs/nightly") as lease:
            with pytest.raises(Locked, match=r"0\.05 seconds") as caught:
                async with other.lock("nightly", wait=0.05):
                    pytest.fail("two holders have the same lock")
            assert caught.value.filename == "nightly"
            for wait in (-1, float("nan"), "1", None):
                with pytest.raises((TypeError, ValueError), match="wait="):
                    other.lock("nightly", wait=wait)  # type: ignore[arg-type]
            waiter = asyncio.ensure_future(wait_for_it())
            await asyncio.sleep(0)
            order.append("first")
        fence = await waiter
        assert order == ["first", "next"]
        assert _grew(store, [lease.fence, fence])

    async def test_251_no_file(self, store: Harness) -> None:
        """The name of a lock is no file: it is not listed, and it neither locks the file of this name nor needs it."""
        async with store.fs.lock("a"), store.fs.lock("folder/b"):
            assert await store.names() == []
            assert await store.fs.ls(recursive=False) == []
            assert not await store.fs.exists("a")
            await store.put("a", b"file")
            async with store.fs.open("a", "a") as file:
                await file.write(b", more")
            assert await store.get("a") == b"file, more"
            assert await store.fs.ls(recursive=False) == ["a"]
            await store.fs.move("a", "folder")
            await store.fs.rm("folder")
        assert await store.names() == []
        async with store.fs.open("a", "w") as file, store.fs.lock("a"):
            await file.write(b"file")
        async with store.fs.lock("a/below the file"):
            assert await store.names() == ["a"]

    async def test_251_not_swept(self, store: Harness) -> None:
        """Sweeping does not remove a lock that is held, nor the number of one that was held in the last days."""
        other = store.fresh()
        async with store.fs.lock("job") as lease:
            await store.sweep()
            await lease.check()
            with pytest.raises(Locked):
                async with other.lock("job"):
                    pytest.fail("two holders have the same lock")
        left = await _swept(store)
        assert left == [], "sweeping found something where nothing was left"
        async with other.lock("job") as later:
            assert _grew(store, [lease.fence, later.fence])

    async def test_252_fence_grows(self, store: Harness) -> None:
        """If the store declares fences, the fence of each holder is larger than all before; else it is None."""
        fences = []
        for connection in (store.fs, store.fresh(), store.fs, store.fresh()):
            async with connection.lock("job") as lease:
                fences.append(lease.fence)
                async with connection.lock("job/other"):
                    pass
        with pytest.raises(Stop):
            async with store.fs.lock("job") as lease:
                fences.append(lease.fence)
                raise Stop
        async with store.fs.lock("job") as lease:
            fences.append(lease.fence)
            assert repr(lease) == f"<HeldLock 'job', fence {lease.fence}>"
        assert _grew(store, fences)

    async def test_253_lock_names(self, store: Harness) -> None:
        """The name of a lock follows the rules for paths: another one raises ValueError before any request."""
        fs, chaos = store.troubled()
        names: list[Any] = ["", "/a", "a/", "a//b", "../a", "a/./b", "a\0b", ".aiofs-stage/x", "\ud800"]
        for name in names:
            with pytest.raises(ValueError, match=r"path|lock"):
                fs.lock(name)
        with pytest.raises(TypeError):
            fs.lock(b"a")  # type: ignore[arg-type]
        assert not chaos.calls
        async with fs.lock(PurePosixPath("a") / "b") as lease:
            assert lease.name == "a/b"
        odd = "ü ber/100%:*?[x]"
        if not store.cannot_hold(odd):
            async with fs.lock(odd) as lease:
                assert lease.name == odd
                with pytest.raises(Locked) as caught:
                    async with store.fs.lock(odd):
                        pytest.fail("two holders have the same lock")
                assert caught.value.filename == odd

    async def test_254_lost(self, store: Harness) -> None:
        """A holder that lost the lock finds out from `lost`, from `check`, and when it leaves the block."""
        fs, chaos = store.troubled()
        with pytest.raises(Conflict) as caught:
            async with fs.lock("job") as lease:
                await lease.check()
                assert not lease.lost
                await chaos.leases[-1].release()
                async with store.fs.lock("job") as later:
                    with pytest.raises(Conflict) as refused:
                        await lease.check()
                    assert refused.value.filename == "job"
                    assert lease.lost
                    await later.check()
        assert caught.value.filename == "job"
        assert _grew(store, [lease.fence, later.fence])
        with pytest.raises(Conflict):
            await later.check()
        with pytest.raises(Conflict):  # nothing but the end of the block asks
            async with fs.lock("job"):
                await chaos.leases[-1].release()

    async def test_255_lock_at_a_folder(self, store: Harness) -> None:
        """The lock `b` of `at("a")` is the lock `a/b` of the whole file system."""
        folder = store.fs.at("a")
        async with folder.lock("b") as inner:
            for same in (store.fresh().lock("a/b"), store.fresh().at("a").lock("b")):
                with pytest.raises(Locked):
                    async with same:
                        pytest.fail("two holders have the same lock")
            with pytest.raises(Locked) as caught:
                async with folder.lock("b"):
                    pytest.fail("two holders have the same lock")
            assert caught.value.filename == "b"
            async with store.fs.lock("b"):
                pass
        async with store.fs.lock("a/b") as outer:
            assert _grew(store, [inner.fence, outer.fence])

    async def test_256_cancelled(self, store: Harness) -> None:
        """A task that is cancelled at any moment leaves no lock behind."""

        async def work() -> None:
            async with store.fs.lock("job") as lease:
                await lease.check()

        async def check() -> None:
            async with store.fresh().lock("job"):
                pass

        await cancelled_everywhere(work, check, tries=16, every=store.every_moment)


@needs("writable", "shared locks")
class LocksOfProcesses:
    """Locks with names that other processes hold."""

    async def test_258_killed_holder(self, store: Harness, child_processes: ChildProcesses) -> None:
        """A lock excludes other processes; that of a killed holder is free when its lease ends, and the fence grows."""
        async with Child.of(store, child_processes) as child:
            first = await child.call("lock", "job")
            with pytest.raises(Locked) as caught:
                async with store.fs.lock("job"):
                    pytest.fail("two processes hold the same lock")
            assert caught.value.filename == "job"
            child.kill()
            await child.gone()
        second = await _fence_within(store.fs, "job", store.lease + PATIENCE)
        async with Child.of(store, child_processes) as child:
            assert _grew(store, [first, second, await child.call("lock", "job")])

    async def test_259_sleeping_holder(self, store: Harness, child_processes: ChildProcesses) -> None:
        """A holder that slept longer than its lease finds out, and the next holder has a larger fence."""
        async with Child.of(store, child_processes) as child:
            fence = await child.call("lock", "job")
            await child.call("check lock")
            child.stop()
            if store.fenced:
                later = await _fence_within(store.fs, "job", store.lease + PATIENCE)
                assert _grew(store, [fence, later])
            else:
                with pytest.raises(Locked):
                    async with store.fs.lock("job"):
                        pytest.fail("two processes hold the same lock")
            child.go_on()
            answer = await child.ask("check lock")
            assert answer.get("error") == ("BlockingIOError" if store.fenced else None), answer


def _grew(store: Harness, fences: list[int | None]) -> bool:
    """Whether the fences are as the store declares: each larger than the one before, or none at all."""
    numbers = [fence for fence in fences if fence is not None]
    if not store.can.fences:
        return not numbers
    return len(numbers) == len(fences) and numbers == sorted(set(numbers))


async def _swept(store: Harness) -> list[str]:
    """Sweep, and return what there was to sweep."""
    found = await store.findings()
    await store.sweep()
    return found


async def _fence_within(fs: FileSystem, name: str, seconds: float) -> int | None:
    """Hold a lock as soon as it is free, and return its fence.

    :raises BlockingIOError: if it still is not free when the time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            async with fs.lock(name) as lease:
                return lease.fence
        except Locked:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
