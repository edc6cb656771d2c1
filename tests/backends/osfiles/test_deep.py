"""Folders in folders, deeper than Python calls functions and than a process may have files open."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from aiofs import OSFileSystem, fsck, transaction
from disks.faults import Faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEPTH = sys.getrecursionlimit() + 300
DEEP = "/".join(["d"] * DEPTH)


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[OSFileSystem]:
    fs = OSFileSystem(tmp_path, durable=False)
    await fs.write_bytes(f"{DEEP}/file", b"deep")
    await fs.write_bytes("beside", b"not deep")
    yield fs
    await fs.rm(*[name async for name in fs.ls()])  # pytest, which removes old folders, cannot go so deep


async def test_a_deep_file_is_found(fs: OSFileSystem) -> None:
    assert await fs.read_bytes(f"{DEEP}/file") == b"deep"
    assert await fs.ls() == ["beside", f"{DEEP}/file"]
    assert await fs.ls(after="c") == [f"{DEEP}/file"]
    assert await fs.glob("**/file") == [f"{DEEP}/file"]
    assert [entry.path async for entry in fs.scan(recursive=False)] == ["beside", "d/"]
    assert await fsck(fs) == []


async def test_files_on_the_way_are_listed_in_their_order(fs: OSFileSystem) -> None:
    """The walk comes back to folders that it has closed meanwhile."""
    levels = [1, 2, DEPTH // 2, DEPTH - 1]
    names = ["/".join(["d"] * level) + "/x" for level in levels]
    for name in names:
        await fs.write_bytes(name, b"")
    assert await fs.ls() == ["beside", f"{DEEP}/file", *reversed(names)]


async def test_a_deep_file_moves_and_goes_with_its_folders(fs: OSFileSystem, tmp_path: Path) -> None:
    other = DEEP.replace("d", "e")
    await fs.move(f"{DEEP}/file", f"{other}/file")
    assert sorted(os.listdir(tmp_path)) == ["beside", "e"]
    await fs.rm(f"{other}/file")
    assert os.listdir(tmp_path) == ["beside"]


@pytest.mark.may_block
async def test_what_it_costs_grows_with_the_depth_and_not_faster(fs: OSFileSystem) -> None:
    async def calls(path: str) -> int:
        faults = Faults()
        await fs.write_bytes(path, b"")
        with faults.at_work():
            await fs.rm(path)
        return len(faults.taken)

    short, twice = await calls("/".join(["a"] * 300) + "/file"), await calls("/".join(["a"] * 600) + "/file")
    assert twice < 3 * short


async def test_a_deep_file_in_a_transaction(fs: OSFileSystem) -> None:
    async with transaction(fs) as tx:
        await tx.write_bytes(f"{DEEP}/file", b"other bytes")
        assert await tx.ls() == ["beside", f"{DEEP}/file"]
    assert await fs.read_bytes(f"{DEEP}/file") == b"other bytes"
