"""Several tasks share a transaction, or hand it on from one to the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.osfiles import snapshots

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("error", [None, RuntimeError()], ids=["committed", "rolled back"])
async def test_one_task_enters_and_another_leaves(error: RuntimeError | None) -> None:
    store = aiofs.MemoryFileSystem()
    fs = aiofs.TransactionalFileSystem(store)
    tx = fs.transaction()

    async def begin() -> None:
        await tx.__aenter__()
        await fs.write_bytes("new", b"")

    async def end() -> None:
        await tx.__aexit__(type(error) if error else None, error, None)

    await asyncio.create_task(begin())
    await asyncio.create_task(end())
    assert await store.ls() == ([] if error else ["new"])
    assert await aiofs.fsck(store) == []
    await store.write_bytes("new", b"unlocked")


async def test_many_locks_are_written_down_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "most_locks", lambda: 2)
    fs, journal = aiofs.OSFileSystem(tmp_path), aiofs.MemoryFileSystem()
    names = [f"{number:02}" for number in range(20)]
    async with aiofs.transaction(fs, journal=journal) as tx, asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(tx.write_text(name, name))
    assert [await fs.read_text(name) async for name in fs.ls()] == names
    assert await aiofs.fsck(fs, journal=journal) == []


async def test_going_back_ends_later_savepoints() -> None:
    fs = aiofs.MemoryFileSystem()
    async with aiofs.transaction(fs) as tx:
        first = tx.savepoint()
        await tx.write_bytes("file", b"forgotten")
        second = tx.savepoint()
        first.rollback()
        with pytest.raises(ValueError, match="went back to an earlier one"):
            second.rollback()
        await tx.write_bytes("other", b"forgotten as well")
        first.rollback()
        await tx.write_bytes("last", b"stays")
    assert await fs.ls() == ["last"]


async def test_one_that_was_not_entered() -> None:
    tx = aiofs.transaction(aiofs.MemoryFileSystem())
    with pytest.raises(ValueError, match="is new: it begins with its 'async with' block"):
        await tx.write_bytes("file", b"")
