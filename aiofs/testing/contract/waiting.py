"""Behaviours 210 to 219: waiting for other writers, with `wait`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import waiting
from aiofs.errors import Locked
from aiofs.testing.harness import needs
from aiofs.testing.kills import Child
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiofs.filesystem import FileSystem
    from aiofs.modes import BinaryMode
    from aiofs.testing.harness import Harness
    from aiofs.testing.kills import ChildProcesses

    Write = Callable[[FileSystem, float], Coroutine[Any, Any, object]]

OLD, NEW = b"the old bytes", b"new"
LONG, SHORT = 40.0, 0.05
WAITERS = 20


@needs("writable")
class Waiting:
    """Waiting for other writers, with `wait`."""

    async def test_210_waits_for_a_writer(self, store: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every call that writes or removes waits up to `wait` seconds for a writer, and is woken when it ends."""
        _never_ask_again(monkeypatch)
        for write in _writes("a/file"):
            await store.put("a/file", OLD)
            await _waits(store.fs, "a/file", write(store.fs, LONG))
        await store.put("a/file", OLD)
        await _waits(store.fs, "a/file", store.fs.at("a").write_bytes("file", NEW, wait=LONG))
        assert await store.get("a/file") == NEW
        await store.fs.rm("a/file")
        await _waits(store.fs, "a/file", _written(store.fs, "a/file", "x", LONG), publishes=False)
        assert await store.get("a/file") == NEW
        monkeypatch.undo()
        await _waits(store.fs, "a/file", store.fresh().append_bytes("a/file", NEW, wait=LONG))
        assert await store.get("a/file") == 2 * NEW

    async def test_211_in_order(self, store: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        """Twenty who wait for one file in a process all get their turn, in the order in which they came."""
        _never_ask_again(monkeypatch)
        done: list[int] = []
        await store.put("file", OLD)

        async def write(number: int) -> None:
            async with store.fs.open("file", "r+", wait=LONG) as file:
                await file.write(b"%02d" % number)
                done.append(number)

        async with store.no_leftovers():
            async with store.fs.open("file", "w"):
                writers = [asyncio.ensure_future(write(number)) for number in range(WAITERS)]
                await _some_turns()
                assert done == []
            await asyncio.wait_for(asyncio.gather(*writers), LONG / 2)
        assert done == list(range(WAITERS))

    async def test_212_in_vain(self, store: Harness) -> None:
        """When the time is up, a BlockingIOError names the path and, if that is known, who has the file."""
        await store.put("file", OLD)
        async with store.fs.open("file", "r+"):
            for system in (store.fs, store.fresh()):
                for write in _writes("file"):
                    for wait in (0, SHORT):
                        with pytest.raises(BlockingIOError) as caught:
                            await write(system, wait)
                        assert caught.value.filename == "file"
                        error = caught.value
                        assert isinstance(error, Locked)
                        assert (error.holder or "is being written") in str(error)
                        assert ("wait" in str(error)) == bool(wait)
        assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_213_cancelled_waiters(self, store: Harness) -> None:
        """A call that is cancelled while it waits leaves nothing behind, and the calls behind it get their turn."""
        await store.put("file", OLD)
        async with store.no_leftovers():
            async with store.fs.open("file", "w") as file:
                await file.write(OLD)
                first, second, third = (
                    asyncio.ensure_future(store.fs.write_bytes("file", b"%d" % number, wait=LONG))
                    for number in range(3)
                )
                await _some_turns()
                for task in (first, second):
                    task.cancel()
                await asyncio.wait([first, second])
                assert first.cancelled()
                assert second.cancelled()
            await asyncio.wait_for(third, LONG / 2)
        assert await store.get("file") == b"2"

    async def test_214_what_wait_cannot_be(self, store: Harness) -> None:
        """A `wait` that is less than 0 or not a number is refused before any I/O; so is `wait` of a reader."""
        fs: Any = store.fs
        wrongs: list[tuple[Any, type[Exception]]] = [(True, TypeError), ("1", TypeError), (None, TypeError)]
        wrongs += [(-1, ValueError), (float("nan"), ValueError)]
        for write in _writes("missing/file"):
            for wrong, error in wrongs:
                with pytest.raises(error, match="wait"):
                    await write(fs, wrong)
        with pytest.raises(ValueError, match="wait"):
            fs.open("missing", "r", wait=1)
        assert await store.names() == []

    async def test_215_closed_while_waiting(self, store: Harness) -> None:
        """Closing a file system does not wait for those who wait for locks: they raise ValueError."""
        await store.put("file", OLD)
        async with store.fs.open("file", "w") as file:
            await file.write(NEW)
            system = store.fresh()
            writers = [asyncio.ensure_future(system.write_bytes("file", OLD, wait=LONG)) for _ in range(3)]
            await _some_turns()
            await system.aclose()
            for outcome in await asyncio.gather(*writers, return_exceptions=True):
                assert isinstance(outcome, ValueError), outcome
        assert await store.get("file") == NEW

    async def test_216_waiting_in_a_transaction(self, store: Harness) -> None:
        """A transaction waits for other writers, and its tasks for each other; others wait for its end."""
        await store.put("file", OLD)
        async with transaction(store.fs) as tx:
            await _waits(store.fs, "file", tx.append_bytes("file", b"1", wait=LONG))
            await _waits(tx, "file", tx.append_bytes("file", b"2", wait=LONG), publishes=False)
            with pytest.raises(BlockingIOError):
                await store.fs.write_bytes("file", NEW, wait=SHORT)
            outside = asyncio.ensure_future(store.fs.append_bytes("file", b"3", wait=LONG))
            await _some_turns()
            await tx.append_bytes("file", b"!")
        await outside
        assert await store.get("file") == OLD + b"12!3"


@needs("writable", "shared locks")
class WaitingForProcesses:
    """Waiting for writers in other processes."""

    async def test_217_waits_for_a_process(self, store: Harness, child_processes: ChildProcesses) -> None:
        """A writer in another process is waited for, and waits too; all who wait get their turn."""
        await store.put("file", b"")
        async with Child.of(store, child_processes) as child:
            await child.call("open", "file", "a")
            writers = [asyncio.ensure_future(_written(store.fresh(), "file", "a", LONG)) for _ in range(3)]
            writers += [asyncio.ensure_future(_written(store.fs, "file", "a", LONG)) for _ in range(3)]
            await _some_turns()
            assert not any(task.done() for task in writers)
            await child.call("write", "the child's")
            await child.call("close")
            await asyncio.wait_for(asyncio.gather(*writers), LONG / 2)
            async with store.fs.open("file", "a") as file:
                theirs = asyncio.ensure_future(child.call("append waiting", "file", "!"))
                await _some_turns()
                await file.write(b"?")
            await theirs
        assert await store.get("file") == b"the child's" + 6 * NEW + b"?!"


def _never_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have those who wait woken by the end of a writer alone, and not by their own pauses."""
    monkeypatch.setattr(waiting, "SHORTEST_PAUSE", 2 * LONG)
    monkeypatch.setattr(waiting, "LONGEST_PAUSE", 2 * LONG)


async def _waits(fs: FileSystem, path: str, call: Coroutine[Any, Any, object], *, publishes: bool = True) -> None:
    """Check that the call waits while somebody is writing the path, and ends then."""
    file = await fs.open(path, "a")
    try:
        writer = asyncio.ensure_future(call)
        await _some_turns()
        assert not writer.done()
    finally:
        await (file.close() if publishes else file.abort())
    await asyncio.wait_for(writer, LONG / 2)


async def _some_turns() -> None:
    """Let tasks begin to wait."""
    for _ in range(50):
        await asyncio.sleep(0.001)


async def _written(fs: FileSystem, path: str, mode: BinaryMode, wait: float) -> None:
    async with fs.open(path, mode, wait=wait) as file:
        await file.write(NEW)


def _writes(path: str) -> list[Write]:
    """Return the calls that wait for those who write `path`."""

    async def move_away(fs: FileSystem, wait: float) -> None:
        await fs.move(path, "away", wait=wait)

    async def copy_over(fs: FileSystem, wait: float) -> None:
        await fs.copy("away", path, wait=wait)

    return [
        lambda fs, wait: _written(fs, path, "w", wait),
        lambda fs, wait: _written(fs, path, "a", wait),
        lambda fs, wait: _written(fs, path, "r+", wait),
        lambda fs, wait: fs.write_bytes(path, NEW, wait=wait),
        lambda fs, wait: fs.append_bytes(path, NEW, wait=wait),
        lambda fs, wait: fs.rm(path, wait=wait),
        lambda fs, wait: fs.rm(glob=path, wait=wait),
        move_away,
        copy_over,
    ]
