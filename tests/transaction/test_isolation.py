"""What a transaction read, and somebody changed since, is not overwritten, however it is opened then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.transactions.system import transaction

if TYPE_CHECKING:
    from pathlib import Path

    from aiofs.filesystem import FileSystem


@pytest.fixture(params=["memory", "os"])
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> FileSystem:
    return MemoryFileSystem() if request.param == "memory" else OSFileSystem(tmp_path)


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
