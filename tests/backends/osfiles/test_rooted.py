"""No name leads out of the root, even while somebody turns its folders into links under our feet."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.stores import OSFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiofs.filesystem import FileSystem

ROUNDS = 400 if os.environ.get("AIOFS_TEST_FULL") else 120
SECRET = b"what nobody may see or change"


@contextlib.contextmanager
def turning(root: Path, outside: Path) -> Iterator[None]:
    """Make `root/folder` a folder and a link to `outside`, in turns and as fast as that goes."""
    stop = threading.Event()

    def turn() -> None:
        spare = root.parent / "spare"
        link = root.parent / "link"
        while not stop.is_set():
            link.symlink_to(outside, target_is_directory=True)
            with contextlib.suppress(OSError):
                os.rename(root / "folder", spare)
            with contextlib.suppress(OSError):
                os.rename(link, root / "folder")
            with contextlib.suppress(OSError):
                (root / "folder").unlink()
            with contextlib.suppress(OSError):
                os.rename(spare, root / "folder")
            with contextlib.suppress(OSError):
                link.unlink()

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def use(fs: FileSystem, number: int) -> None:
    """Do all there is to do with a name in the folder; whether it succeeds is not the question."""
    for name in ("folder/secret", f"folder/new {number % 7}"):
        for mode in ("r", "r+", "w", "a"):
            with contextlib.suppress(OSError):
                async with fs.open(name, mode) as file:
                    if mode in {"r", "r+"}:
                        assert SECRET not in await file.read()
                    if mode != "r":
                        await file.write(b"changed")
        with contextlib.suppress(OSError):
            await fs.rm(name)
    with contextlib.suppress(OSError):
        await fs.copy("folder/secret", "copy")
    with contextlib.suppress(OSError):
        await fs.move("folder/secret", "moved")
    with contextlib.suppress(OSError):
        assert "folder/deep/secret" not in await fs.ls()


@pytest.mark.may_block
async def test_the_working_folder_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays what it was at the first use."""
    monkeypatch.chdir(tmp_path)
    roots: list[Any] = ["", ".", b".", b"folder/.."]  # bytes work too, as for `open`
    for root in roots:
        fs = OSFileSystem(root)
        await fs.write_bytes("file", b"bytes")
        assert (tmp_path / "file").read_bytes() == b"bytes"
        assert str(fs.driver) == f"files below {os.fsdecode(root) or '.'}"
        await fs.rm("file")


@pytest.mark.may_block
async def test_not_even_in_a_race(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "folder").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    for secret in (outside / "secret", outside / "deep" / "secret"):
        secret.write_bytes(SECRET)
    async with OSFileSystem(root, durable=False) as fs:
        with turning(root, outside):
            for number in range(ROUNDS // 8):
                await asyncio.gather(*(use(fs, number * 8 + offset) for offset in range(8)))
        for name in await fs.ls():
            assert await fs.read_bytes(name) != SECRET
    there = {str(path.relative_to(outside)) for path in outside.rglob("*")}
    assert there == {"secret", "deep", "deep/secret"}
    assert (outside / "secret").read_bytes() == (outside / "deep" / "secret").read_bytes() == SECRET
