"""A copy that a transaction makes, and a file with permissions of its own, are private from the first byte on."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest

import aiofs.backends.osfiles  # noqa: F401 -- before calls are watched: what the system can do is asked once
from aiofs.layers import Percent
from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.transactions.transaction import recover, transaction
from aiofs.urls import connect
from backends.osfiles.workers import forkserver, killed_with_a_copy_ready
from disks.calls import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aiofs.filesystem import FileSystem

SECRET = b"secret" * 20_000
OTHERS = 0o077

pytestmark = [
    pytest.mark.may_block,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no modes"),
]


@contextmanager
def looked_at_by_others(root: Path) -> Iterator[list[str]]:
    """Open whatever others may read after each call of the block, and give the names of those that show the secret."""
    shown: list[str] = []
    opened: dict[int, tuple[int, str]] = {}
    turn, open_file = Lock(), os.open

    def look(name: str, do: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        done = do(*args, **kwargs)
        if name in {"open", "replace", "link", "fchmod"}:
            with turn:
                for folder, _, files in os.walk(root):
                    for file in files:
                        keep(os.path.join(folder, file))
        return done

    def keep(path: str) -> None:
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            if status.st_mode & OTHERS and status.st_ino not in opened:
                opened[status.st_ino] = open_file(path, os.O_RDONLY), path

    try:
        with watched(look):
            yield shown
    finally:
        for fd, path in opened.values():
            if SECRET[:6] in os.pread(fd, len(SECRET), 0):
                shown.append(path)
            os.close(fd)


def modes(root: Path, *names: str) -> list[int]:
    """Return the modes of files."""
    return [stat.S_IMODE((root / name).stat().st_mode) for name in names]


@pytest.fixture(params=[0o755, 0o777], ids=["one user's folder", "a shared folder"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(request.param)
    for name, mode, data in (("private", 0o600, SECRET), ("open", 0o644, b"old"), ("tool", 0o755, b"run")):
        (root / name).write_bytes(data)
        (root / name).chmod(mode)
    return root


async def test_copies_and_moves(root: Path) -> None:
    """To new names and over files, of copies too, and of what is changed after it was copied."""
    with looked_at_by_others(root) as shown:
        async with transaction(OSFileSystem(root)) as tx:
            await tx.copy("private", "copy")
            await tx.copy("copy", "deep/second")
            await tx.copy("copy", "changed")
            async with tx.open("changed", "a") as file:
                await file.write(b" and more")
            await tx.copy("private", "open")
            await tx.copy("tool", "tool too")
            await tx.move("private", "moved")
    assert modes(root, "copy", "deep/second", "changed", "open", "moved") == [0o600] * 5
    assert modes(root, "tool too") == [0o755]
    assert (root / "moved").read_bytes() == SECRET
    assert shown == []


async def test_what_was_written_before_it_was_copied(root: Path) -> None:
    """New bytes of a private file are as private as that, and what is new is like any new file."""
    with looked_at_by_others(root) as shown:
        async with transaction(OSFileSystem(root)) as tx:
            await tx.write_bytes("private", SECRET + b"!")
            await tx.copy("private", "copy")
            await tx.write_bytes("new", b"for all")
            await tx.copy("new", "new too")
            await tx.rm("copy")
            await tx.copy("private", "copy")
    new, new_too, copy = modes(root, "new", "new too", "copy")
    assert copy == 0o600
    assert new == new_too
    assert shown == []


@pytest.mark.parametrize("locks", ["in the folder", "elsewhere"])
async def test_permissions_that_were_asked_for(root: Path, locks: str) -> None:
    """They hold from the first byte on, in transactions too, also for copies and for what replaces an open file."""
    fs = OSFileSystem(root, locks=None if locks == "in the folder" else MemoryFileSystem(), permissions=0o640)
    asked = fs.over(Percent())
    with looked_at_by_others(root) as shown:
        await asked.write_bytes("asked", SECRET, permissions=0o600)
        await asked.write_bytes("open", SECRET, permissions=0o600)
        async with transaction(asked) as tx:
            await tx.write_bytes("staged", SECRET, permissions=0o600)
            await tx.copy("staged", "copy")
            await tx.write_bytes("tool", SECRET, permissions=0o600)
            await tx.copy("tool", "tools")
            await tx.write_bytes("usual", b"for the group")
            await tx.copy("open", "opened")
            await tx.write_bytes("opened", b"for all", permissions=0o604)
    if locks == "elsewhere" and modes(root, "") == [0o777]:  # journals are for all who may write the folder
        shown = [path for path in shown if ".aiofs-journal" not in path]
    assert shown == []
    assert modes(root, "asked", "open", "staged", "copy", "tool", "tools") == [0o600] * 6
    assert modes(root, "usual", "opened") == [0o640, 0o604]
    assert not [path for path in root.rglob(".aiofs-*") if path.name != ".aiofs-journal"]


async def test_permissions_of_all_new_files(root: Path) -> None:
    """They are for new files only, are in the URL, and are neither for copies nor for the package's own files."""
    fs = OSFileSystem(root, permissions=0o664)
    assert fs.url_of().endswith("?permissions=664")
    same = connect(fs.url_of())
    umask = os.umask(0o077)
    try:
        await same.write_bytes("new", b"by the URL")
        await same.append_bytes("appended", b"text")
        await same.update("updated", lambda old: old + b"1", create=b"")
    finally:
        os.umask(umask)
    await same.write_bytes("open", b"new")
    await same.copy("private", "copy")
    async with fs.lock("jobs"):
        (number,) = root.rglob(".aiofs-number-*")
        assert not stat.S_IMODE(number.stat().st_mode) & OTHERS & ~stat.S_IMODE(root.stat().st_mode)
    assert modes(root, "new", "appended", "updated", "open", "copy") == [0o664, 0o664, 0o664, 0o644, 0o600]
    for wrong in ("660", True, 0o1777, -1):
        with pytest.raises((TypeError, ValueError), match="permissions"):
            OSFileSystem(root, permissions=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="permissions=rw"):
        connect(f"file://{root}?permissions=rw")


def layered(root: Path) -> FileSystem:
    """Return a file system that calls its files otherwise than the disk."""
    return OSFileSystem(root.parent).at("root").over(Percent())


async def test_below_layers_that_change_names(root: Path) -> None:
    with looked_at_by_others(root) as shown:
        async with transaction(layered(root)) as tx:
            await tx.copy("private", "copy")
    assert modes(root, "copy") == [0o600]
    assert shown == []


async def test_more_files_than_are_held_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that were left in the meantime are those of private copies, too."""
    monkeypatch.setattr("aiofs.backends.osfiles.locks.most_locks", lambda: 2)
    names = [f"copy-{number}" for number in range(5)]
    with looked_at_by_others(root) as shown:
        async with transaction(OSFileSystem(root)) as tx:
            for name in names:
                await tx.copy("private", name)
    assert modes(root, *names) == [0o600] * 5
    assert shown == []


async def test_a_process_that_dies_before_the_decision(root: Path) -> None:
    """What it had prepared is found by its journal, and removed."""
    child = forkserver.Process(target=killed_with_a_copy_ready, args=(root, "private", "copy"))
    child.start()
    child.join()
    assert child.exitcode == 1
    child.close()
    left = [path for path in root.iterdir() if path.name.startswith(".aiofs-ready")]
    assert len(left) == 1
    assert not left[0].stat().st_mode & OTHERS
    fs = OSFileSystem(root)
    assert (await recover(fs)).undone
    assert not left[0].exists()
    await fs.write_bytes("copy", b"free again")
