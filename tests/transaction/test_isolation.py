"""What a transaction read, and somebody changed since, is not overwritten, however it is opened then."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import TYPE_CHECKING, Literal

import pytest

from aiofs.errors import Spoiled
from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from pathlib import Path

    from aiofs.filesystem import FileSystem


@pytest.fixture(params=["memory", "os"])
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> FileSystem:
    return MemoryFileSystem() if request.param == "memory" else OSFileSystem(tmp_path, durable=False)


@pytest.mark.parametrize("mode", ["wb", "r+b", "ab"])
async def test_a_file_that_changed_before_it_was_opened(fs: FileSystem, mode: Literal["wb", "r+b", "ab"]) -> None:
    await fs.write_bytes("account", b"100")
    with pytest.raises(BlockingIOError):
        async with transaction(fs) as tx:
            assert await tx.read_bytes("account") == b"100"
            await fs.write_bytes("account", b"200")
            async with tx.open("account", mode) as account:
                await account.write(b"110")
    assert await fs.read_bytes("account") == b"200"


async def test_a_file_that_changed_before_it_was_removed(fs: FileSystem) -> None:
    await fs.write_bytes("account", b"0")
    with pytest.raises(BlockingIOError):
        async with transaction(fs) as tx:
            assert await tx.read_bytes("account") == b"0"
            await fs.write_bytes("account", b"200")
            await tx.rm("account")
    assert await fs.read_bytes("account") == b"200"


async def test_a_file_that_changed_between_two_looks(fs: FileSystem) -> None:
    await fs.write_bytes("account", b"100")
    with pytest.raises(BlockingIOError):
        async with transaction(fs) as tx:
            assert await tx.read_bytes("account") == b"100"
            await fs.write_bytes("account", b"200")
            assert await tx.exists("account")
            await tx.write_bytes("account", b"110")
    assert await fs.read_bytes("account") == b"200"


async def move_on(fs: FileSystem, number: int) -> None:
    """Give both accounts the same new number, in one transaction."""
    async with transaction(fs) as tx:
        for name in ("ann", "bob"):
            await tx.write_bytes(name, b"%d" % number)


async def test_a_reader_who_writes_one_of_the_files_may_see_two_moments(fs: FileSystem) -> None:
    """Which is why the page says that it has to write all that it reads."""
    await move_on(fs, 1)
    async with transaction(fs) as tx:
        ann = await tx.read_bytes("ann")
        await move_on(fs, 2)
        bob = await tx.read_bytes("bob")
        await tx.write_bytes("bob", bob)
    assert (ann, bob) == (b"1", b"2")


@pytest.mark.parametrize("name", ["ann", "bob"])
async def test_a_reader_who_writes_all_that_it_reads_sees_one_moment(fs: FileSystem, name: str) -> None:
    await move_on(fs, 1)
    other = "bob" if name == "ann" else "ann"
    with pytest.raises(BlockingIOError):
        async with transaction(fs) as tx:
            first = await tx.read_bytes(name)
            await move_on(fs, 2)
            second = await tx.read_bytes(other)
            await tx.write_bytes(name, first)
            await tx.write_bytes(other, second)
    assert await fs.read_bytes("ann") == await fs.read_bytes("bob") == b"2"


async def test_readers_beside_writers_see_one_moment(fs: FileSystem) -> None:
    """Writers and readers at the same time; a reader that is refused tries again."""
    chance, seen = random.Random(1), []
    await move_on(fs, 0)

    async def read() -> None:
        while True:
            try:
                async with transaction(fs) as tx:
                    found = {name: await tx.read_bytes(name) for name in chance.sample(["ann", "bob"], 2)}
                    for name, data in found.items():
                        await tx.write_bytes(name, data)
            except BlockingIOError:
                await asyncio.sleep(chance.random() / 500)
            else:
                seen.append(found)
                return

    async def write(number: int) -> None:
        while True:
            try:
                return await move_on(fs, number)
            except BlockingIOError:
                await asyncio.sleep(chance.random() / 500)

    for number in range(0, 12, 3):
        await asyncio.gather(read(), *(write(number + each) for each in range(3)), read())
    assert len(seen) == 8
    assert all(found["ann"] == found["bob"] for found in seen)


@pytest.mark.parametrize("mode", ["w", "r+", "a"])
async def test_a_handle_that_is_dropped_keeps_its_transaction_from_committing(
    fs: FileSystem, mode: Literal["w", "r+", "a"]
) -> None:
    await fs.write_bytes("file", b"old")
    with pytest.raises(Spoiled, match="a part of this transaction failed") as caught:
        async with transaction(fs) as tx:
            await tx.write_bytes("other", b"new")
            file = await tx.open("file", mode)
            await file.write(b"new")
            with pytest.warns(ResourceWarning, match="was never closed"):  # noqa: PT031 -- both make it
                del file
                gc.collect()
    assert caught.value.filename == "file"
    assert await fs.ls() == ["file"]
    assert await fs.read_bytes("file") == b"old"
