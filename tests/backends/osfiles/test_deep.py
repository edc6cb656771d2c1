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
    async def calls(depth: int) -> int:
        faults = Faults()
        names = ["a/" * level + "file" for level in (depth // 2, depth)]
        for name in names:
            await fs.write_bytes(name, b"")
        with faults.at_work():
            assert len([level async for level in fs.walk("a")]) == depth
            assert len(await fs.ls("a")) == 2
            await fs.rm(*names)
        return len(faults.taken)

    short, twice = await calls(200), await calls(400)
    assert twice < 3 * short


@pytest.mark.may_block
async def test_walk_tells_of_folders_that_have_files(tmp_path: Path) -> None:
    """Also if the files are far below; it leaves out empty folders, folders behind links and aiofs's own names."""
    fs = OSFileSystem(tmp_path)
    for name in ("a/b/c/file", "a/x", "z/file", "a/d/e/f/file"):
        await fs.write_bytes(name, b"")
    for empty in ("a/b/empty/below", "empty/below/.aiofs-journal", "a/d/y"):
        (tmp_path / empty).mkdir(parents=True)
    (tmp_path / "empty" / "below" / ".aiofs-journal" / "log").touch()
    (tmp_path / "a" / "folder link").symlink_to("b")
    (tmp_path / "z" / "link").symlink_to("../a/x")
    (tmp_path / "z" / "out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "z" / "fifo")
    below = [("a", ["b", "d"], ["x"]), ("a/b", ["c"], []), ("a/b/c", [], ["file"]), ("a/d", ["e"], [])]
    below += [("a/d/e", ["f"], []), ("a/d/e/f", [], ["file"])]
    assert [level async for level in fs.walk()] == [("", ["a", "z"], []), *below, ("z", [], ["file", "link"])]
    assert [level async for level in fs.at("a").walk()] == [("", *below[0][1:])] + [
        (folder.removeprefix("a/"), *found) for folder, *found in below[1:]
    ]
    assert [level async for level in fs.at("z").walk("missing")] == []
    assert [level async for level in fs.walk("empty")] == []
    seen = []
    async for folder, folders, _ in fs.walk():
        seen.append(folder)
        if "b" in folders:
            folders.remove("b")  # as of os.walk
    assert seen == ["", "a", "a/d", "a/d/e", "a/d/e/f", "z"]


async def test_a_deep_file_in_a_transaction(fs: OSFileSystem) -> None:
    async with transaction(fs) as tx:
        await tx.write_bytes(f"{DEEP}/file", b"other bytes")
        assert await tx.ls() == ["beside", f"{DEEP}/file"]
    assert await fs.read_bytes(f"{DEEP}/file") == b"other bytes"
