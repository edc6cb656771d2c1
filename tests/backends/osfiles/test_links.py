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


@pytest.mark.may_block
async def test_at_is_a_folder_by_name(tmp_path: Path) -> None:
    """A link within the root is followed out of `at`, and not out of a root of its own."""
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("other/file", b"theirs")
    await fs.write_bytes("mine/file", b"mine")
    (tmp_path / "mine" / "link").symlink_to("../other/file")
    assert await fs.at("mine").read_bytes("link") == b"theirs"
    alone = aiofs.OSFileSystem(tmp_path / "mine")
    for use in (alone.read_bytes("link"), alone.write_bytes("link", b"mine")):
        with pytest.raises(aiofs.AccessDenied, match="out of the root"):
            await use
    assert await fs.read_bytes("other/file") == b"theirs"
