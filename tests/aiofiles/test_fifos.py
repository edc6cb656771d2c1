"""Opening a FIFO waits for its other end on the loop: a cancelled open leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import aiofiles
from aiofs.localio.opening import Fifo
from guards import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.both_loops


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Is set when the loop begins to wait for the other end of a FIFO."""
    begun, join = asyncio.Event(), Fifo.join

    async def joined(fifo: Fifo) -> bool:
        begun.set()
        return await join(fifo)

    monkeypatch.setattr(Fifo, "join", joined)
    return begun


@pytest.fixture(params=[False, True], ids=["workers", "executor"])
def executor(request: pytest.FixtureRequest) -> Iterator[ThreadPoolExecutor | None]:
    if not request.param:
        yield None
        return
    with ThreadPoolExecutor(1) as own:
        yield own


def opening(path: Path, mode: str, executor: ThreadPoolExecutor | None = None) -> asyncio.Future[Any]:
    return asyncio.ensure_future(aiofiles.open(path, mode, executor=executor).__aenter__())


@pytest.mark.parametrize("mode", ["r", "rb", "w", "ab"])
async def test_cancelled_opens_leave_no_thread_and_no_descriptor(
    fifo: Path, mode: str, executor: ThreadPoolExecutor | None
) -> None:
    opens = [opening(fifo, mode, executor) for _ in range(100)]
    _, waiting = await asyncio.wait(opens, timeout=0.1)
    assert len(waiting) == 100
    assert threading.active_count() < 40
    for each in opens:
        each.cancel()
    await asyncio.wait(opens)
    assert all(each.cancelled() for each in opens)
    async with asyncio.timeout(10):
        while any(str(fifo) in line for line in descriptors()):  # noqa: ASYNC110 -- workers close what came too late
            await asyncio.sleep(0.001)


async def test_a_reader_is_there_as_soon_as_somebody_may_write(fifo: Path) -> None:
    """Who opens it for writing and waits for an answer before anything is written is not kept waiting."""
    reading = opening(fifo, "rb")
    await asyncio.wait([reading], timeout=0.02)
    assert not reading.done()
    writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)
    async with asyncio.timeout(10):
        file = await reading
    os.write(writer, b"bytes")
    os.close(writer)
    assert await file.read() == b"bytes"
    assert file.name == str(fifo)
    await file.close()


async def test_a_reader_whose_writer_came_and_went(fifo: Path) -> None:
    reading = opening(fifo, "r")
    await asyncio.wait([reading], timeout=0.02)
    writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)
    os.write(writer, "größer\n".encode())
    os.close(writer)
    async with asyncio.timeout(10):
        file = await reading
    assert await file.read() == "größer\n"
    await file.close()


@pytest.mark.parametrize("mode", ["w", "a"])
async def test_a_writer_waits_for_a_reader(fifo: Path, mode: str) -> None:
    writing = opening(fifo, mode)
    await asyncio.wait([writing], timeout=0.02)
    assert not writing.done()
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    async with asyncio.timeout(10):
        file = await writing
    await file.write("text")
    await file.close()
    assert os.read(reader, 10) == b"text"
    os.close(reader)


async def test_a_fifo_that_is_removed_while_a_writer_waits(fifo: Path, waits: asyncio.Event) -> None:
    writing = opening(fifo, "wb")
    async with asyncio.timeout(10):
        await waits.wait()
        fifo.unlink()
        with pytest.raises(FileNotFoundError):
            await writing


@pytest.mark.may_block
async def test_a_file_that_takes_its_place_while_a_writer_waits(fifo: Path, waits: asyncio.Event) -> None:
    writing = opening(fifo, "wb")
    async with asyncio.timeout(10):
        await waits.wait()
        (fifo.parent / "file").touch()
        (fifo.parent / "file").replace(fifo)
        file = await writing
    await file.write(b"bytes")
    await file.close()
    assert fifo.read_bytes() == b"bytes"
