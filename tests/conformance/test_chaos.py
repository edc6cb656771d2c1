"""The layer that makes trouble makes the trouble it was told to, once, and else none."""

from __future__ import annotations

import asyncio
import errno
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.testing import Chaos
from aiofs.testing.kills import Child

if TYPE_CHECKING:
    from pathlib import Path

    from aiofs.testing.kills import ChildProcesses

BROKEN = OSError(errno.EIO, "the store broke off")


async def test_fails_at_the_nth_call() -> None:
    chaos = Chaos()
    fs = MemoryFileSystem().over(chaos)
    chaos.fail("commit", BROKEN, nth=2)
    await fs.write_bytes("a", b"1")
    with pytest.raises(OSError, match="broke off"):
        await fs.write_bytes("a", b"2")
    await fs.write_bytes("a", b"3")
    assert await fs.read_bytes("a") == b"3"
    assert chaos.calls["commit"] == 3


async def test_fails_after_it_was_done() -> None:
    chaos = Chaos()
    fs = MemoryFileSystem().over(chaos)
    chaos.fail("commit", BROKEN, after=True)
    with pytest.raises(OSError, match="broke off"):
        await fs.write_bytes("a", b"1")
    assert await fs.read_bytes("a") == b"1"


async def test_holds_a_call_until_it_is_let_through() -> None:
    chaos = Chaos()
    fs = MemoryFileSystem().over(chaos)
    await fs.write_bytes("a", b"1")
    gate = chaos.stall("read")
    reading = asyncio.create_task(fs.read_bytes("a"))
    await gate.reached.wait()
    assert not reading.done()
    assert await fs.read_bytes("a") == b"1"
    gate.open()
    assert await reading == b"1"


async def test_cuts_one_stream() -> None:
    chaos = Chaos()
    fs = MemoryFileSystem().over(chaos)
    await fs.write_bytes("a", b"0123456789")
    chaos.cut(4)
    with pytest.raises(OSError, match="end after 4 of 10"):
        await fs.read_bytes("a")
    assert await fs.read_bytes("a") == b"0123456789"


async def test_what_is_kept_from_its_caller_is_given_back() -> None:
    chaos = Chaos()
    fs = MemoryFileSystem().over(chaos)
    await fs.write_bytes("a", b"1")
    for verb in ("lock", "begin", "read"):
        chaos.fail(verb, BROKEN, after=True)
        with pytest.raises(OSError, match="broke off"):
            await fs.open("a", "r+" if verb == "read" else "w")
        await fs.write_bytes("a", b"1")


async def test_acts_before_a_call() -> None:
    chaos = Chaos()
    fs = MemoryFileSystem().over(chaos)
    seen = []

    async def look() -> None:
        seen.append(await fs.exists("a"))

    chaos.before("commit", look)
    chaos.before("release", look)
    await fs.write_bytes("a", b"1")
    assert seen == [False, True]


async def test_kills_the_process(tmp_path: Path, child_processes: ChildProcesses) -> None:
    connect = partial(OSFileSystem, tmp_path / "root")
    async with connect() as fs:
        await fs.write_bytes("a", b"old")
        for when, expected in (("before", b"old"), ("after", b"new")):
            async with Child(child_processes, connect) as child:
                await child.call("die at", "commit", when)
                assert await child.dies("write whole", "a", "new") == -signal.SIGKILL
            assert await fs.read_bytes("a") == expected
