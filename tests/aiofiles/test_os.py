"""Folders and trees: what aiofiles lacks, or holds the loop with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs import aiofiles
from aiofs.aiofiles import os as aios
from aiofs.aiofiles import shutil

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/1", "a/2", "b/c/3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


async def test_scandir_in_all_manners(tree: Path) -> None:
    assert sorted(entry.name for entry in await aios.scandir(tree)) == ["a", "b"]
    assert sorted([entry.name async for entry in await aios.scandir(tree)]) == ["a", "b"]
    with await aios.scandir(str(tree)) as entries:
        assert next(entries).is_dir()
    assert list(entries) == []
    async with await aios.scandir(os.fsencode(tree)) as raw_entries:
        assert sorted([entry.name async for entry in raw_entries]) == [b"a", b"b"]
    with pytest.raises(FileNotFoundError):
        await aios.scandir(tree / "none")


@pytest.mark.parametrize("topdown", [True, False])
async def test_walk(tree: Path, topdown: bool) -> None:
    expected = sorted((top, sorted(folders), sorted(files)) for top, folders, files in os.walk(tree, topdown))
    found = [folder async for folder in aios.walk(tree, topdown)]
    assert sorted((top, sorted(folders), sorted(files)) for top, folders, files in found) == expected


async def test_a_pruned_walk(tree: Path) -> None:
    seen = []
    async for top, folders, _ in aios.walk(tree):
        seen.append(top)
        folders[:] = [name for name in folders if name != "b"]
    assert seen == [str(tree), str(tree / "a")]


async def test_a_walk_that_meets_an_error(tree: Path) -> None:
    errors: list[OSError] = []
    assert [folder async for folder in aios.walk(tree / "none", onerror=errors.append)] == []
    assert [type(error) for error in errors] == [FileNotFoundError]


async def test_trees_are_copied_moved_and_removed(tree: Path) -> None:
    await shutil.copytree(tree / "b", tree / "copy")
    await shutil.copy(tree / "a/1", tree / "copy/1")
    await shutil.move(tree / "copy", tree / "moved")
    assert (tree / "moved/c/3").read_text() == "b/c/3"
    assert (tree / "moved/1").read_text() == "a/1"
    await shutil.rmtree(tree / "moved")
    assert sorted(os.listdir(tree)) == ["a", "b"]
    assert (await shutil.disk_usage(tree)).total > 0


async def test_the_names_at_the_top(tree: Path) -> None:
    assert aiofs.open is aiofiles.open
    assert await aiofs.os.path.exists(tree / "a/1")
    assert aiofs.tempfile is aiofiles.tempfile
    assert aiofs.stdin_bytes is aiofiles.stdin_bytes
    await aiofs.os.remove(tree / "a/1")
    assert await aiofs.os.listdir(tree / "a") == ["2"]


async def test_temporary_files(tmp_path: Path) -> None:
    async with aiofiles.tempfile.NamedTemporaryFile("w+", dir=tmp_path) as file:
        await file.write("text")
        await file.seek(0)
        assert await file.read() == "text"
    async with aiofiles.tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        assert os.path.isdir(folder)
    async with aiofiles.tempfile.SpooledTemporaryFile(max_size=5) as spooled:
        await spooled.write(b"more than five")
        await spooled.seek(0)
        assert await spooled.read() == b"more than five"
    async with aiofiles.tempfile.TemporaryFile(dir=tmp_path) as unnamed:
        await unnamed.write(b"text")
    assert list(tmp_path.iterdir()) == []


def test_submodules_are_there_without_an_import_of_their_own() -> None:
    from aiofs import aiofiles  # noqa: PLC0415 -- as a program has it that changed this one line

    assert aiofiles.os.path is aiofiles.ospath
    assert callable(aiofiles.shutil.rmtree)
    with pytest.raises(AttributeError, match="no attribute 'sys'"):
        aiofiles.sys  # noqa: B018
