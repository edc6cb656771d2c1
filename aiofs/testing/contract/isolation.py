"""Behaviours 79 to 93, and more: what is visible of a transaction, and when."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.errors import Unsupported
from aiofs.filesystem import FileSystem
from aiofs.testing.contract.transactions import (
    NEW,
    OLD,
    all_of,
    change,
    files_of,
    seed_old,
)
from aiofs.testing.harness import Stop, cancelled_everywhere
from aiofs.transactions.transaction import TransactionalFileSystem, transaction

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness


class Isolation:
    """What is visible of a transaction, and when."""

    async def test_79_all_visible_after(self, store: Harness) -> None:
        """Leaving the block publishes all changes, and leaves nothing else in the store."""
        await seed_old(store)
        async with store.no_leftovers(), transaction(store.fs) as tx:
            await change(tx)
        assert tx.state == "committed"
        assert await files_of(store) == NEW
        await tx.commit()

    async def test_80_nothing_visible_before(self, store: Harness) -> None:
        """Before that, the changes are not visible outside of the transaction."""
        await seed_old(store)
        other = store.fresh()
        async with transaction(store.fs) as tx:
            await change(tx)
            assert await files_of(store) == OLD
            assert await other.read_bytes("a") == OLD["a"]
            assert await other.exists("gone")
            assert not await other.exists("d/e")
            assert [name async for name in other.ls("d")] == []
        assert await other.read_bytes("a") == NEW["a"]

    async def test_81_reads_its_own_writes(self, store: Harness) -> None:
        """Within the block, every method sees the files as the transaction wrote them."""
        await seed_old(store)
        async with transaction(store.fs) as tx:
            await change(tx)
            assert await all_of(tx) == NEW
            assert [name async for name in tx.ls(recursive=False)] == ["a", "b", "c", "d/"]
            assert (await tx.stat("d/e")).size == 5
            assert not await tx.exists("gone")
            with pytest.raises(FileNotFoundError):
                await tx.read_bytes("gone")
            async with tx.open("a", "r+") as file:
                assert await file.read() == NEW["a"]
                await file.seek(0)
                await file.write(b"NEW")
            async with tx.open("a", "a") as file:
                await file.write(b", more")
            assert await tx.read_bytes("a") == b"NEW a, more"
            assert await tx.read_bytes("a", 3, 5) == b" a"
            async with tx.open("text", "w", encoding="utf-8") as text:
                await text.write("zwölf\n")
            assert await tx.read_text("text") == "zwölf\n"
            await tx.copy("a", "copied")
            await tx.move("text", "moved/text")
            with pytest.raises(FileExistsError):
                await tx.open("copied", "x")
        assert await files_of(store) == {
            **NEW,
            "a": b"NEW a, more",
            "copied": b"NEW a, more",
            "moved/text": "zwölf\n".encode(),
        }

    async def test_82_exception_leaves_nothing(self, store: Harness) -> None:
        """A block that raises, or is rolled back, changes nothing and leaves nothing in the store."""
        await seed_old(store)
        async with store.no_leftovers():
            with pytest.raises(Stop):
                async with transaction(store.fs) as tx:
                    await change(tx)
                    raise Stop
            async with transaction(store.fs, auto_commit=False) as tx:
                await change(tx)
            async with transaction(store.fs) as tx:
                await change(tx)
                await tx.rollback()
                await tx.rollback()
                with pytest.raises(ValueError, match="rolled back"):
                    await tx.read_bytes("a")
            async with transaction(store.fs):
                pass
        assert await files_of(store) == OLD
        await store.write_at_once("a")

    async def test_83_cancel(self, store: Harness) -> None:
        """A transaction that is cancelled at any moment has changed nothing or everything, and leaves nothing else."""
        await seed_old(store)

        async def work() -> None:
            async with transaction(store.fs) as tx:
                await change(tx)

        async def check() -> None:
            assert await store.leftovers() == []
            assert await files_of(store) in (OLD, NEW)
            await store.fs.rm(*await store.names())
            await seed_old(store)

        await cancelled_everywhere(work, check, tries=16, every=store.every_moment)

    async def test_84_rm_and_rewrite_same_path(self, store: Harness) -> None:
        """A path can be removed and written again any number of times; the last change is published."""
        await seed_old(store)
        async with store.no_leftovers(), transaction(store.fs) as tx:
            await tx.rm("a")
            await tx.write_bytes("a", b"again")
            await tx.write_bytes("a", b"and again")
            await tx.write_bytes("b", b"for nothing")
            await tx.rm("b")
            await tx.write_bytes("new", b"for nothing")
            await tx.rm("new")
            with pytest.raises(FileNotFoundError):
                await tx.rm("new")
            await tx.rm("new", missing_ok=True)
        assert await files_of(store) == {"a": b"and again", "c": OLD["c"], "gone": OLD["gone"]}

    async def test_85_two_stores(self, store: Harness) -> None:
        """Changes in several stores are all published, or none is."""
        await seed_old(store)
        other = FileSystem(MemoryDriver())
        await other.write_bytes("here", b"old")
        stores = {"first": store.fs, "second": other}
        for journal in (None, other):
            with pytest.raises(Stop):
                async with transaction(stores, journal=journal) as tx:
                    await change(tx["first"])
                    await tx["second"].write_bytes("here", b"new")
                    raise Stop
            assert await files_of(store) == OLD
            assert await other.read_bytes("here") == b"old"
        async with store.no_leftovers(), transaction(stores) as tx:
            await change(tx["first"])
            await tx["second"].write_bytes("here", b"new")
            await tx["second"].write_bytes("there", await tx["first"].read_bytes("a"))
        assert await files_of(store) == NEW
        assert await all_of(other) == {"here": b"new", "there": NEW["a"]}

    async def test_91_lock_conflict(self, store: Harness) -> None:
        """A file that somebody else writes is refused at `open`; the transaction can continue, or roll back."""
        await seed_old(store)
        async with store.fs.open("b", "w") as held:
            await held.write(b"held")
            with pytest.raises(BlockingIOError) as caught:
                async with transaction(store.fresh()) as tx:
                    await tx.write_bytes("a", b"new")
                    await tx.write_bytes("b", b"new")
            assert caught.value.filename == "b"
            async with transaction(store.fresh()) as tx:
                await tx.write_bytes("c", b"new")
                with pytest.raises(BlockingIOError):
                    await tx.rm("b")
                with pytest.raises(BlockingIOError):
                    await store.fresh().open("c", "w")
            await held.abort()
        assert await files_of(store) == {**OLD, "c": b"new"}
        assert await store.leftovers() == []

    async def test_92_savepoint_or_nested(self, store: Harness) -> None:
        """A transaction can be rolled back to a savepoint, by a block or by a call."""
        await seed_old(store)
        async with transaction(store.fs) as tx:
            await tx.write_bytes("a", b"kept")
            with pytest.raises(Stop):
                async with tx.savepoint():
                    await tx.write_bytes("a", b"lost")
                    await tx.rm("b")
                    await tx.write_bytes("new", b"lost")
                    raise Stop
            assert await all_of(tx) == {**OLD, "a": b"kept"}
            mark = tx.savepoint()
            await tx.write_bytes("c", b"lost")
            mark.rollback()
            async with tx.savepoint():
                await tx.write_bytes("d", b"kept")
        assert await files_of(store) == {**OLD, "a": b"kept", "d": b"kept"}
        assert await store.leftovers() == []

    async def test_93_large_and_many(self, store: Harness) -> None:
        """A transaction can change many files, files of several parts, and small pieces of them."""
        large = bytes(range(256)) * (store.part_size // 100)
        await store.put("large", large)
        async with store.no_leftovers(), transaction(store.fs) as tx:
            for number in range(60):
                await tx.write_bytes(f"many/{number:03}", b"%d" % number)
            async with tx.open("large", "r+") as file:
                await file.seek(len(large) // 2)
                await file.write(b"changed")
            async with tx.open("large", "a") as file:
                await file.write(large)
            await tx.copy("large", "copied")
        half = len(large) // 2
        expected = large[:half] + b"changed" + large[half + 7 :] + large
        assert await store.get("large") == expected
        assert await store.get("copied") == expected
        assert len(await store.names()) == 62

    async def test_201_lost_update(self, store: Harness) -> None:
        """If a file changed between being read and being written by the transaction, nothing is published."""
        await seed_old(store)
        for mode in ("w", "x"):
            name = "a" if mode == "w" else "fresh"
            with pytest.raises((BlockingIOError, FileExistsError)) as caught:
                async with transaction(store.fs) as tx:
                    await tx.write_bytes("b", b"new")
                    with suppress(FileNotFoundError):
                        await tx.read_bytes(name)
                    await tx.exists(name)
                    await store.put(name, b"somebody else's")
                    await tx.write_bytes(name, b"mine")
            assert caught.value.filename == name
            assert await store.get(name) == b"somebody else's"
        assert await store.get("b") == OLD["b"]

    async def test_202_diff(self, store: Harness) -> None:
        """A transaction can list the changes that it will publish."""
        await seed_old(store)
        async with transaction(store.fs) as tx:
            await change(tx)
            changes = [(change.path, change.kind, change.size) for change in await tx.diff()]
        assert changes == [
            ("a", "replace", 5),
            ("b", "replace", 5),
            ("c", "replace", 5),
            ("d/e", "create", 5),
            ("gone", "remove", None),
        ]

    async def test_203_open_handles(self, store: Harness) -> None:
        """A transaction that ends while one of its files is open for writing is rolled back, not committed."""
        await seed_old(store)
        with pytest.raises(BlockingIOError) as caught:
            async with transaction(store.fs) as tx:
                await tx.write_bytes("b", b"new")
                file = await tx.open("a", "w")
                with pytest.raises(BlockingIOError, match="same transaction"):
                    await tx.open("a", "r+")
        assert caught.value.filename == "a"
        assert "handle of this transaction" in str(caught.value)
        assert getattr(caught.value, "retryable", None) is False
        await file.abort()
        assert await files_of(store) == OLD
        assert await store.leftovers() == []

    async def test_204_code_for_plain_systems(self, store: Harness) -> None:
        """Code that was written for plain file systems works within a transaction."""
        await seed_old(store)
        tfs = TransactionalFileSystem(store.fs)
        with pytest.raises(Stop):
            async with tfs.transaction():
                await change(tfs)
                assert await all_of(tfs) == NEW
                raise Stop
        assert await all_of(tfs) == OLD
        async with tfs.transaction():
            await asyncio.create_task(change(tfs))
            with pytest.raises(ValueError, match="savepoint"):
                async with tfs.transaction():
                    pytest.fail("a transaction was begun within another one")
            assert await files_of(store) == OLD
        assert await files_of(store) == NEW
        await tfs.write_bytes("outside", b"at once")
        assert await store.get("outside") == b"at once"

    async def test_257_lock_in_a_transaction(self, store: Harness) -> None:
        """A transaction refuses locks with names before any request, and goes on; it may be inside of such a lock."""
        fs, chaos = store.troubled()
        async with store.fs.lock("job") as lease:
            async with transaction(fs) as tx:
                before = chaos.calls.total()
                for system in (tx, tx.at("folder")):
                    with pytest.raises(Unsupported, match="around the transaction") as caught:
                        async with system.lock("job"):
                            pytest.fail("a transaction took a lock with a name")
                    assert caught.value.filename in {"job", "folder/job"}
                assert chaos.calls.total() == before
                await tx.write_bytes("a", b"new")
            await lease.check()
        assert await store.get("a") == b"new"
        tfs = TransactionalFileSystem(store.fs)
        async with tfs.lock("job"), tfs.transaction():
            with pytest.raises(Unsupported):
                async with tfs.lock("job"):
                    pytest.fail("a transaction took a lock with a name")
