"""Several tasks share a transaction, or hand it on from one to the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.osfiles import locks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["memory", "local files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> aiofs.FileSystem:
    return aiofs.MemoryFileSystem() if request.param == "memory" else aiofs.OSFileSystem(tmp_path)


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


async def test_a_file_that_was_opened_before_a_transaction_is_none_of_it(store: aiofs.FileSystem) -> None:
    fs = aiofs.TransactionalFileSystem(store)
    await fs.write_bytes("file", b"old")
    file = await fs.open("file", "r+")
    async with fs.transaction() as tx:
        await file.write(b"new")
        await file.close()
        assert await store.read_bytes("file") == b"new"
        await tx.rollback()
    assert await store.read_bytes("file") == b"new"


async def test_a_file_that_was_opened_in_a_transaction_stays_in_it(store: aiofs.FileSystem) -> None:
    fs = aiofs.TransactionalFileSystem(store)
    await fs.write_bytes("file", b"old")
    given: asyncio.Future[aiofs.FileLike] = asyncio.get_running_loop().create_future()

    async def close() -> None:
        await (await given).close()

    closing = asyncio.create_task(close())  # so that it is outside
    async with fs.transaction():
        file = await fs.open("file", "r+")
        await file.write(b"new")
        given.set_result(file)
        await closing
        assert await store.read_bytes("file") == b"old"
    assert await store.read_bytes("file") == b"new"


async def test_a_file_that_outlasts_its_transaction_is_not_published(store: aiofs.FileSystem) -> None:
    fs = aiofs.TransactionalFileSystem(store)
    await fs.write_bytes("file", b"old")
    async with fs.transaction() as tx:
        file = await fs.open("file", "r+")
        await file.write(b"new")
        await tx.rollback()
    with pytest.raises(ValueError, match="this transaction is rolled back"):
        await file.close()
    assert await store.read_bytes("file") == b"old"


async def test_many_locks_are_written_down_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "most_locks", lambda: 2)
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
