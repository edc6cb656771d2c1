"""What is special about Timeout: no call takes longer than it may, and what was under way leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import math
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.errors import TimedOut
from aiofs.filesystem import FileSystem
from aiofs.layers import Prefix, Timeout
from aiofs.testing import Chaos

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiofs.driver import Entry, Lease
    from aiofs.testing.chaos import Verb

SHORT = 0.01
"""Seconds after which a call that would wait for ever is cancelled."""
LONG = 60.0


async def read_all(fs: FileSystem) -> None:
    await fs.read_bytes("file")


async def seek_back(fs: FileSystem) -> None:
    async with fs.open("file") as file:
        await file.read(1)
        await file.seek(3 << 20)
        await file.read(1)


async def write(fs: FileSystem) -> None:
    await fs.write_bytes("file", bytes(3 << 20))


async def look(fs: FileSystem) -> None:
    await fs.stat("file")


async def remove(fs: FileSystem) -> None:
    await fs.rm("file")


async def list_all(fs: FileSystem) -> None:
    await fs.ls()


CALLS: list[tuple[Verb, Callable[[FileSystem], Awaitable[None]]]] = [
    ("stat", look),
    ("read", read_all),
    ("chunk", read_all),
    ("seek", seek_back),
    ("begin", write),
    ("write", write),
    ("commit", write),
    ("delete", remove),
    ("list", list_all),
    ("lock", write),
]


@pytest.mark.parametrize(("verb", "act"), CALLS, ids=[verb for verb, _ in CALLS])
async def test_a_call_that_never_ends_is_cancelled(verb: Verb, act: Callable[[FileSystem], Awaitable[None]]) -> None:
    store = FileSystem(MemoryDriver())
    await store.write_bytes("file", bytes(4 << 20))
    chaos = Chaos()
    fs = store.over(chaos, Timeout(SHORT))
    gate = chaos.stall(verb)
    with pytest.raises(TimedOut, match=f"{verb} took longer than 0.01 seconds") as caught:
        await act(fs)
    assert gate.reached.is_set()
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.filename in {"file", ""}  # a listing is about a prefix
    assert ("it may have been done" in str(caught.value)) == (verb in {"write", "commit", "delete"})
    assert not +chaos.open
    assert await store.ls() == ["file"]
    await store.write_bytes("file", b"the lock is free")
    assert await fs.read_bytes("file") == b"the lock is free"


async def test_an_abort_that_never_ends_does_not_hold_up_the_writer() -> None:
    chaos = Chaos()
    fs = FileSystem(MemoryDriver()).over(chaos, Timeout(SHORT))
    chaos.stall("write")
    chaos.stall("abort")
    with pytest.raises(TimedOut):
        await fs.write_bytes("file", b"bytes")


async def test_a_publication_that_took_too_long_may_have_happened() -> None:
    store = FileSystem(MemoryDriver())
    chaos = Chaos()
    fs = store.over(chaos, Timeout(SHORT))
    chaos.stall("commit", after=True)
    with pytest.raises(TimedOut, match="it may have been done or not"):
        await fs.write_bytes("file", b"bytes")
    assert await store.read_bytes("file") == b"bytes"
    assert MemoryDriver.capabilities.certain
    assert not fs.driver.capabilities.certain


async def test_what_handles_whole_files_has_a_limit_of_its_own() -> None:
    chaos = Chaos()
    fs = FileSystem(MemoryDriver()).over(chaos, Timeout(SHORT, whole=LONG))
    gate = chaos.stall("commit")
    writing = asyncio.ensure_future(fs.write_bytes("file", b"bytes"))
    await gate.reached.wait()
    await asyncio.sleep(3 * SHORT)
    assert not writing.done()
    gate.open()
    assert (await writing).size == 5
    chaos.stall("read")
    with pytest.raises(TimedOut):
        await fs.read_bytes("file")


async def test_the_store_s_own_errors_pass() -> None:
    chaos = Chaos()
    fs = FileSystem(MemoryDriver()).over(chaos, Timeout(LONG))
    own: list[OSError] = [TimedOut.of("file", "as the store says"), TimeoutError("plain"), ConnectionError("broken")]
    for error in own:
        chaos.fail("stat", error)
        with pytest.raises(type(error)) as caught:
            await fs.stat("file")
        assert caught.value is error


async def test_a_cancellation_stays_a_cancellation() -> None:
    chaos = Chaos()
    fs = FileSystem(MemoryDriver()).over(chaos, Timeout(LONG))
    gate = chaos.stall("begin")
    writing = asyncio.ensure_future(fs.write_bytes("file", b"bytes"))
    await gate.reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await fs.write_bytes("file", b"the lock is free")


async def test_a_limit_around_the_call_is_not_taken_for_this_one() -> None:
    chaos = Chaos()
    fs = FileSystem(MemoryDriver()).over(chaos, Timeout(LONG))
    chaos.stall("stat")
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(SHORT):
            await fs.stat("file")
    assert not isinstance(caught.value, TimedOut)


class SlowCopies(MemoryDriver):
    """A store that never ends to copy."""

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        await asyncio.Event().wait()
        raise NotImplementedError


async def test_powers_have_the_limit_too() -> None:
    fs = FileSystem(SlowCopies()).over(Timeout(SHORT))
    await fs.write_bytes("file", b"bytes")
    with pytest.raises(TimedOut, match="copy took longer") as caught:
        await fs.copy("file", "copied")
    assert caught.value.filename in {"file", "copied"}
    assert await fs.ls() == ["file"]


async def test_leases_are_those_of_the_store() -> None:
    """A store renews its locks below the layer, for as long as they are held."""
    driver = MemoryDriver()
    lease = await FileSystem(driver).over(Timeout(SHORT)).driver.lock("file")
    assert driver.locks.holds("file")
    assert type(lease) is type(await driver.lock("other"))
    assert FileSystem(driver).over(Timeout(SHORT)).driver.keeper_of("file") == driver.keeper_of("file")


async def test_transactions_and_prepared_writes(tmp_path: Path) -> None:
    store = aiofs.OSFileSystem(tmp_path)
    fs = store.over(Timeout(LONG))
    await fs.write_bytes("old", b"old")
    async with aiofs.transaction(fs) as tx:
        await tx.write_bytes("new", b"new")
        await tx.copy("new", "copied")
        await tx.rm("old")
    assert await store.ls() == ["copied", "new"]


async def test_partial_writes_pass() -> None:
    store = aiofs.MemoryFileSystem()
    fs = store.over(Timeout(LONG))
    assert fs.driver.capabilities.partial
    async with fs.open("file", "w", partial="") as file:
        await file.write(b"bytes")
        token = (await file.checkpoint()).token
        await file.leave()
    async with fs.open("file", "w", partial=token) as file:
        await file.write(b" and more")
    assert await store.read_bytes("file") == b"bytes and more"


def test_blocking_code() -> None:
    with aiofs.MemoryFileSystem().over(Timeout(LONG)).blocking as fs:
        fs.write_bytes("file", b"bytes")
        assert list(fs.ls()) == ["file"]


async def test_files_are_those_of_the_store() -> None:
    store = aiofs.MemoryFileSystem()
    fs = store.over(Prefix("folder/"), Timeout(LONG))
    assert fs.driver.locate("file") == store.at("folder").driver.locate("file")
    copied = pickle.loads(pickle.dumps(fs))
    await copied.write_bytes("file", b"bytes")


@pytest.mark.parametrize("limit", [0, -1, math.nan, math.inf])
def test_a_limit_must_be_a_time(limit: float) -> None:
    with pytest.raises(ValueError, match=r"seconds=.*: give a number greater than 0"):
        Timeout(limit)
    with pytest.raises(ValueError, match=r"whole=.*: give a number greater than 0"):
        Timeout(1, whole=limit)


@pytest.mark.parametrize("limit", [None, "1", True])
def test_a_limit_must_be_a_number(limit: Any) -> None:
    with pytest.raises(TypeError, match=r"seconds=.*: give a number greater than 0"):
        Timeout(limit)


def test_it_shows_its_limits() -> None:
    assert repr(Timeout(30)) == "Timeout(seconds=30, whole=None)"
