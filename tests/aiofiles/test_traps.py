"""The traps of serving files from memory on a loop: each of these fails on an implementation that does not see it."""

from __future__ import annotations

import asyncio
import builtins
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import aiofiles
from aiofs.localio import devices, pread
from aiofs.localio.files import LocalFile, UpdateFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.may_block


@pytest.fixture
def short_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Of each page-cache read, on any file system, have only the first page at hand; count them."""
    real, seen = os.preadv, []

    def preadv(descriptor: int, buffers: list[Any], offset: int, flags: int = 0) -> int:
        if flags:
            seen.append(descriptor)
            buffers = [memoryview(buffers[0])[:4096]]
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    devices.forget(tmp_path.stat().st_dev)
    yield seen
    devices.forget(tmp_path.stat().st_dev)


@pytest.mark.parametrize("mode", ["rb", "r"])
@pytest.mark.both_loops
async def test_a_short_read_is_not_the_end(tmp_path: Path, mode: str, short_reads: list[int]) -> None:
    text = "".join(f"line {number}\n" for number in range(5000))
    (tmp_path / "file").write_text(text)
    for _ in range(2):
        async with aiofiles.open(tmp_path / "file", mode) as file:
            whole = await file.read()
        async with aiofiles.open(tmp_path / "file", mode) as file:
            lines = [line async for line in file]
        assert whole == (text if mode == "r" else text.encode())
        assert whole[:0].join(lines) == whole
    assert short_reads


@pytest.mark.parametrize("read", [lambda file: file.readline(), lambda file: file.read(7), anext])
async def test_after_a_short_read_text_is_written_where_it_always_is(
    tmp_path: Path, read: Any, short_reads: list[int]
) -> None:
    path = tmp_path / "file"
    for _ in range(2):
        path.write_text("a line\n" * 1000)
        async with aiofiles.open(path, "r+") as file:
            assert await read(file) == "a line\n"
            await file.write("the text layer has read up to here")
        assert path.read_text() == "a line\n" * 1000 + "the text layer has read up to here"
    assert short_reads


async def test_a_short_read_by_descriptor_is_not_the_end(tmp_path: Path, short_reads: list[int]) -> None:
    (tmp_path / "file").write_bytes(bytes(20_000))
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        size = 0
        while piece := await pread(descriptor, 60_000, size):
            size += len(piece)
    finally:
        os.close(descriptor)
    assert size == 20_000
    assert short_reads


class Pulse:
    """How long the loop was kept from going round, in seconds of this thread's work: others may take the processor."""

    def __init__(self) -> None:
        self.holds: list[float] = []
        self._stop = False

    async def beat(self) -> None:
        last = time.thread_time()
        while not self._stop:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.holds.append(now - last)
            last = now

    def stop(self) -> None:
        self._stop = True


async def read_lines(path: Path) -> None:
    async with aiofiles.open(path, "rb") as file:
        async for _line in file:
            pass


async def read_text_lines(path: Path) -> None:
    async with aiofiles.open(path) as file:
        async for _line in file:
            pass


async def read_bit_by_bit(path: Path) -> None:
    async with aiofiles.open(path, "rb") as file:
        while await file.read(20):
            pass


async def read_at_random(path: Path) -> None:
    async with aiofiles.open(path, "rb") as file:
        for number in range(20_000):
            await file.seek(number * 977 % 1_000_000)
            await file.read(8)


async def read_in_chunks(path: Path) -> None:
    for _ in range(40):
        async with aiofiles.open(path, "rb") as file:
            while await file.read(65_536):
                pass


async def open_often(path: Path) -> None:
    small = path.with_name("small")
    small.write_text("small")
    for _ in range(2000):
        async with aiofiles.open(small, "rb") as file:
            await file.read()


async def write_bit_by_bit(path: Path) -> None:
    async with aiofiles.open(path.with_name("written"), "wb") as file:
        for _ in range(100_000):
            await file.write(b"0123456789")


async def write_text_bit_by_bit(path: Path) -> None:
    async with aiofiles.open(path.with_name("written"), "w") as file:
        for _ in range(100_000):
            await file.write("0123456789")


async def read_by_descriptor(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for number in range(20_000):
            await pread(descriptor, 64, number)
    finally:
        os.close(descriptor)


BUSY = [
    *(read_lines, read_text_lines, read_bit_by_bit, read_at_random, read_in_chunks, open_often),
    *(write_bit_by_bit, write_text_bit_by_bit, read_by_descriptor),
]


LONG = 0.005
"""Who never looks at the clock takes longer by far. The goal is a millisecond, and the benchmark's to measure."""


@pytest.mark.parametrize("work", BUSY)
async def test_the_loop_goes_round_while_a_file_is_served_from_memory(tmp_path: Path, work: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a line of some length\n" * 100_000)
    await work(path)
    assert await longest_hold(work, path) < LONG


async def longest_hold(work: Any, path: Path) -> float:
    """Return for how long the loop is held now and then: others slow this processor down, and may a few times."""
    pulse = Pulse()
    beating = asyncio.create_task(pulse.beat())
    await work(path)
    pulse.stop()
    await beating
    return sorted(pulse.holds)[-5]


@pytest.mark.parametrize("work", [read_lines, read_at_random, write_bit_by_bit])
async def test_every_task_goes_on(tmp_path: Path, work: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a line of some length\n" * 100_000)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(work(path))


async def test_closing_waits_for_what_a_cancelled_task_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"mine" * 50_000)
    (tmp_path / "other").write_bytes(b"other" * 50_000)
    begun, go_on, read = threading.Event(), threading.Event(), []

    def readall(file: LocalFile) -> bytes:
        begun.set()
        assert go_on.wait(10)
        assert not file.closed
        read.append(os.pread(file.fileno(), 4, 0))
        return b""

    async with aiofiles.open(tmp_path / "file", "rb") as file:
        monkeypatch.setattr(LocalFile, "readall", lambda raw: readall(raw) if raw.waits else raw._starve())
        reading = asyncio.create_task(file.read())
        assert await asyncio.to_thread(begun.wait, 10)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        closing = asyncio.create_task(file.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not closing.done()
        assert not file.closed
        with builtins.open(tmp_path / "other", "rb"):
            go_on.set()
            await closing
    assert file.closed
    assert read == [b"mine"]


async def test_reading_by_descriptor_is_over_when_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    begun, go_on, read = threading.Event(), threading.Event(), []
    real = os.pread

    def slow(descriptor: int, size: int, offset: int) -> bytes:
        begun.set()
        assert go_on.wait(10)
        read.append(real(descriptor, size, offset))
        return read[0]

    monkeypatch.setattr(os, "pread", slow)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        reading = asyncio.create_task(pread(descriptor, 200_000, 0))
        assert await asyncio.to_thread(begun.wait, 10)
        reading.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not reading.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
    finally:
        os.close(descriptor)
    assert read == [b"mine"]


def in_child(work: Any) -> int:
    """Run `work` in a forked child; return how that ended."""
    child = os.fork()
    if not child:
        try:
            signal.alarm(20)
            work()
        except BaseException:  # noqa: BLE001 - the parent sees the status
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def use_all() -> None:
        async with aiofiles.open(path, "w") as file:
            await file.write("written\n")
        async with aiofiles.open(path) as file:
            assert await file.read() == "written\n"

    asyncio.run(use_all())
    asyncio.run(use_all())
    assert in_child(lambda: asyncio.run(use_all())) == 0
    asyncio.run(use_all())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_gathered_is_written_once_after_a_fork(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def write() -> None:
        async with aiofiles.open(path, "wb") as file:
            for _ in range(1000):
                await file.write(b"0123456789" * 5)
            raw = file._local
            assert isinstance(raw, UpdateFile)
            assert raw.pending
            assert in_child(raw.close) == 0
            assert path.stat().st_size == 0

    asyncio.run(write())
    assert path.read_bytes() == b"0123456789" * 5000
