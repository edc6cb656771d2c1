"""Symbolic links: what is done to one in a transaction never happens to the file that it leads to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.layers import Log, Percent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiofs.filesystem import FileSystem

SYSTEMS: dict[str, Callable[[Path], FileSystem]] = {
    "plain": aiofs.OSFileSystem,
    "below at": lambda root: aiofs.OSFileSystem(root.parent).at(root.name),
    "layers": lambda root: aiofs.OSFileSystem(root).over(Percent(), Log()),
    "locks elsewhere": lambda root: aiofs.OSFileSystem(root, locks=aiofs.MemoryFileSystem()),
}
DONE: dict[str, Callable[[FileSystem], Awaitable[object]]] = {
    "rm": lambda fs: fs.rm("link"),
    "rm of both": lambda fs: fs.rm("link", "target"),
    "move": lambda fs: fs.move("link", "moved"),
}


@pytest.fixture(params=["target", "missing"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a folder with a file, and a link that leads to it or nowhere."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "target").write_bytes(b"precious")
    (root / "link").symlink_to(request.param)
    return root


def there(root: Path) -> list[str]:
    """Return what is in the folder but for what is ours."""
    return sorted(name for name in os.listdir(root) if not name.startswith(".aiofs-"))


@pytest.mark.may_block
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("done", DONE)
async def test_a_transaction_refuses_them_by_name(root: Path, system: str, done: str) -> None:
    """Nothing of the call is done; what else the transaction does can be committed."""
    fs = SYSTEMS[system](root)
    async with aiofs.transaction(fs) as unit:
        with pytest.raises(aiofs.Unsupported, match="symbolic link") as caught:
            await DONE[done](unit)
        assert caught.value.filename == "link"
        await unit.write_bytes("other", b"")
    assert there(root) == ["link", "other", "target"]
    assert (root / "link").is_symlink()
    assert (root / "target").read_bytes() == b"precious"


@pytest.mark.may_block
async def test_a_pattern_in_a_transaction(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(aiofs.Unsupported, match="symbolic link"):
        async with aiofs.transaction(aiofs.OSFileSystem(tmp_path)) as unit:
            await unit.rm(glob="*")
    assert there(tmp_path) == ["link", "target"]


@pytest.mark.may_block
async def test_outside_of_transactions(root: Path) -> None:
    """A removal is one of the link; a move is refused."""
    fs = aiofs.OSFileSystem(root)
    with pytest.raises(IsADirectoryError, match="not a regular file"):
        await DONE["move"](fs)
    await DONE["rm"](fs)
    assert there(root) == ["target"]
    assert await fs.read_bytes("target") == b"precious"


def tenants(tmp_path: Path) -> Path:
    """Return a root with the folders of two tenants; one of them made links to files of the other."""
    root = tmp_path / "root"
    for name in ("mine", "other"):
        (root / name / "deep").mkdir(parents=True)
        (root / name / "file").write_bytes(name.encode())
        (root / name / "deep" / "file").write_bytes(name.encode())
    mine = root / "mine"
    (mine / "relative").symlink_to("../other/file")
    (mine / "whole").symlink_to(root / "other" / "file")
    (mine / "twice").symlink_to("relative")
    (mine / "new").symlink_to("../other/new")
    (mine / "folder").symlink_to("../other")
    (mine / "back").symlink_to("../other/../mine/file")
    (mine / "deep" / "folder").symlink_to("../../other")
    (mine / "within").symlink_to("deep/../deep/file")
    (mine / "anywhere").symlink_to(mine / "deep" / "file")
    return root


OUT = ["relative", "whole", "twice", "new", "folder/file", "folder/new", "deep/folder/file", "back"]
FOLDERS: dict[str, Callable[[Path], FileSystem]] = {
    "at": lambda root: aiofs.OSFileSystem(root).at("mine"),
    "at below at": lambda root: aiofs.OSFileSystem(root.parent).at(f"{root.name}").at("mine"),
    "at over at": lambda root: aiofs.OSFileSystem(root.parent).at(f"{root.name}/mine"),
    "a layer between": lambda root: aiofs.OSFileSystem(root).over(Percent(), Log()).at("mine").over(Log()),
    "locks elsewhere": lambda root: aiofs.OSFileSystem(root, locks=aiofs.MemoryFileSystem()).at("mine"),
    "a root of its own": lambda root: aiofs.OSFileSystem(root / "mine"),
}


@pytest.mark.may_block
@pytest.mark.parametrize("folder", FOLDERS)
async def test_no_link_leads_out_of_a_folder_taken_for_itself(tmp_path: Path, folder: str) -> None:
    """Links that a tenant made in a folder lead nobody out of the folder."""
    root = tenants(tmp_path)
    fs = FOLDERS[folder](root)
    for name in OUT:
        for use in (fs.read_bytes(name), fs.write_bytes(name, b"changed"), fs.copy("file", name), fs.stat(name)):
            with pytest.raises(aiofs.AccessDenied, match="a link leads out of the") as caught:
                await use
            assert caught.value.filename == name
        with pytest.raises(aiofs.AccessDenied):
            async with aiofs.transaction(fs) as unit:
                await unit.write_bytes(name, b"changed")
    for name in ("within", "anywhere"):
        await fs.write_bytes(name, name.encode())
        assert await fs.read_bytes("deep/file") == await fs.read_bytes(name) == name.encode()
    assert await fs.ls() == ["anywhere", "deep/file", "file", "within"]
    assert {path.read_bytes() for path in (root / "other").rglob("file")} == {b"other"}
    assert sorted(os.listdir(root / "other")) == ["deep", "file"]


@pytest.mark.may_block
async def test_a_folder_within_a_transaction(tmp_path: Path) -> None:
    """It sees the changes of the transaction and goes back to savepoints with it; no link leads out of it."""
    root = tenants(tmp_path)
    async with aiofs.transaction(aiofs.OSFileSystem(root)) as unit:
        mine = unit.at("mine")
        await unit.write_bytes("mine/file", b"new")
        for use in (mine.read_bytes("relative"), mine.write_bytes("folder/new", b"changed"), mine.rm("folder/file")):
            with pytest.raises(aiofs.AccessDenied, match="a link leads out of the folder 'mine'"):
                await use
        with pytest.raises(ZeroDivisionError):
            async with unit.savepoint():
                await mine.write_bytes("later", b"lost")
                raise ZeroDivisionError
        assert not await mine.exists("later")
        await mine.write_bytes("kept", await mine.read_bytes("file"))
    assert (root / "mine" / "kept").read_bytes() == b"new"
    assert not (root / "mine" / "later").exists()
    assert sorted(os.listdir(root / "other")) == ["deep", "file"]


@pytest.mark.may_block
async def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """The root bounds links on the way to the folder; from there on, the folder bounds them."""
    root = tenants(tmp_path)
    whole = aiofs.OSFileSystem(root)
    (root / "current").symlink_to("mine")
    (root / "outside").symlink_to(tmp_path)
    fs = whole.at("current")
    (root / "mine" / "called so").symlink_to(root / "current" / "file")
    for name in ("file", "called so", "anywhere"):
        assert await fs.read_bytes(name) == b"mine"
    for use in (fs.read_bytes("folder/file"), whole.at("outside").read_bytes("root/mine/file")):
        with pytest.raises(aiofs.AccessDenied, match="a link leads out of the"):
            await use
    (root / "mine" / "inner").symlink_to("../other")
    with pytest.raises(aiofs.AccessDenied, match="a link leads out of the folder 'mine'"):
        await fs.at("inner").write_bytes("file", b"changed")
    assert await whole.at("mine/inner").read_bytes("file") == b"other"  # nobody bounded `mine`


@pytest.mark.may_block
async def test_a_folder_taken_for_itself_shares_names_and_locks(tmp_path: Path) -> None:
    whole = aiofs.OSFileSystem(tmp_path)
    fs = whole.at("new/er")
    assert str(fs.driver) == f"Prefix('new/er/', {whole.driver})"
    async with fs.open("file", "w") as file:
        await file.write(b"bytes")
        with pytest.raises(BlockingIOError):
            await whole.write_bytes("new/er/file", b"")
    assert await whole.ls() == ["new/er/file"]
    async with whole.open("new/er/file", "a"):
        with pytest.raises(BlockingIOError):
            await fs.rm("file")
    await fs.rm("file")
    assert os.listdir(tmp_path) == []


@pytest.mark.may_block
async def test_a_file_has_one_lock_by_whatever_root_it_is_reached(tmp_path: Path) -> None:
    below, rooted = aiofs.OSFileSystem(tmp_path).at("a/b"), aiofs.OSFileSystem(tmp_path / "a" / "b")
    for one, two in ((below, rooted), (rooted, below)):
        async with one.open("file", "w"):
            for refused in (two.write_bytes("file", b""), two.copy("other", "file"), two.rm("file")):
                with pytest.raises(BlockingIOError):
                    await refused
        async with one.lock("name"), two.lock("name"):
            pass  # names of locks begin at the root
    keeper = aiofs.MemoryFileSystem()
    below = aiofs.OSFileSystem(tmp_path, locks=keeper).at("a/b")
    rooted = aiofs.OSFileSystem(tmp_path / "a" / "b", locks=keeper)
    assert below / "file" != rooted / "file"
    with pytest.raises(aiofs.Conflict, match="was removed; nothing was overwritten"):
        async with below.open("file", "w") as file:
            await file.write(b"first")
            await rooted.write_bytes("file", b"second")
    assert await rooted.read_bytes("file") == b"second"


@pytest.mark.may_block
@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_file_is_moved_to_another_name_that_it_has(root: Path, system: str) -> None:
    """A rename of one hard link to another does nothing; the old name is gone all the same."""
    (root / "folder").mkdir()
    os.link(root / "target", root / "second")
    os.link(root / "target", root / "folder" / "target")
    fs = SYSTEMS[system](root)
    await fs.move("target", "second")
    assert there(root) == ["folder", "link", "second"]
    await fs.move("second", "folder/target")
    assert there(root) == ["folder", "link"]
    assert await fs.read_bytes("folder/target") == b"precious"


@pytest.mark.may_block
async def test_a_file_with_two_names_is_not_lost_where_two_folders_are_one(root: Path) -> None:
    """With locks elsewhere, the lock of the target does not show that both names are one."""
    os.link(root / "target", root / "second")
    (root / "folder").symlink_to(".")
    fs = SYSTEMS["locks elsewhere"](root)
    await fs.move("second", "folder/second")
    assert await fs.read_bytes("second") == b"precious"
