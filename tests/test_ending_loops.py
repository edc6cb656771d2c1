"""An event loop ends, as `asyncio.run` ends it, while tasks are at work: they leave nothing that stays in the way."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Use = Callable[[aiofs.FileSystem], Awaitable[object]]

TURNS = 60  # of the loop, in which all is done in memory
NAMES = ("one", "two")
OLD, NEW = b"old", bytes(1 << 17)


async def _write(fs: aiofs.FileSystem) -> None:
    for name in NAMES:
        await fs.write_bytes(name, NEW)


async def _edit(fs: aiofs.FileSystem) -> None:
    for name in NAMES:
        async with fs.open(name, "r+") as file:
            await file.write(NEW)


async def _commit(fs: aiofs.FileSystem) -> None:
    async with aiofs.transaction(fs) as tx:
        await _write(tx)


async def _roll_back(fs: aiofs.FileSystem) -> None:
    async with aiofs.transaction(fs) as tx:
        await _write(tx)
        await tx.rollback()


async def _fill(fs: aiofs.FileSystem) -> None:
    for name in NAMES:
        await fs.write_bytes(name, OLD)


async def _begin(use: Use, fs: aiofs.FileSystem, turns: int) -> None:
    task = asyncio.ensure_future(use(fs))
    for _ in range(turns):
        await asyncio.sleep(0)
    del task


async def _look(fs: aiofs.FileSystem) -> list[bytes]:
    await aiofs.recover(fs)
    assert await aiofs.fsck(fs) == []
    found = [await fs.read_bytes(name) for name in NAMES]
    await _fill(fs)  # all locks are free
    return found


@pytest.mark.parametrize("use", [_write, _edit, _commit, _roll_back])
def test_every_lock_is_free_and_every_transaction_can_be_recovered(use: Use) -> None:
    outcomes = set()
    for turns in range(TURNS):
        fs = aiofs.MemoryFileSystem()
        asyncio.run(_fill(fs))
        asyncio.run(_begin(use, fs, turns))
        found = asyncio.run(_look(fs))
        assert set(found) <= {OLD, NEW}
        if use is _commit:
            assert len(set(found)) == 1
        outcomes.update(found)
    assert outcomes == ({OLD} if use is _roll_back else {OLD, NEW})


def test_a_cancelled_call_in_a_thread_is_awaited_all_the_same() -> None:
    troubles: list[dict[str, Any]] = []
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait()
        ended.set()

    async def outlast() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            may_end.set()
            await hop(ended.wait)

    async def begin() -> list[asyncio.Task[None]]:
        asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
        tasks = [asyncio.create_task(hop(work)), asyncio.create_task(outlast())]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        return tasks

    tasks = asyncio.run(begin())
    assert all(task.cancelled() for task in tasks)
    assert troubles == []
