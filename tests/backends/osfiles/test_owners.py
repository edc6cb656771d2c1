"""Whose a file is, and who may read it, outlives a change by somebody else; nothing grants more on the way."""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.osfiles import driver as os_driver
from aiofs.backends.osfiles import staging, writing
from backends.osfiles.users import ALICE, BOB, as_user, folder_of, hidden, needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aiofs.filesystem import FileSystem

ACCESS_LIST = "system.posix_acl_access"


def access_list(user: int) -> bytes:
    """An access list by which one more user may read and write, and the file's group may not."""
    entries = [
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 6, user),
        (0x04, 0, 0xFFFFFFFF),
        (0x10, 6, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


async def overwrite(fs: FileSystem) -> None:
    await fs.write_bytes("file", b"new")


async def append(fs: FileSystem) -> None:
    async with fs.open("file", "a") as file:
        await file.write(b"new")


async def edit(fs: FileSystem) -> None:
    async with fs.open("file", "r+") as file:
        await file.write(b"new")


async def transact(fs: FileSystem) -> None:
    async with aiofs.transaction(fs) as unit:
        await unit.write_bytes("file", b"new")
        await unit.write_bytes("other", b"new")


async def copy(fs: FileSystem) -> None:
    await fs.copy("source", "file")


async def move(fs: FileSystem) -> None:
    await fs.move("file", "moved")
    await fs.move("moved", "file")


CHANGES = [overwrite, append, edit, transact]
Change = "Callable[[FileSystem], Awaitable[None]]"


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder of Alice's with a program of hers, that runs as herself."""
    with folder_of(ALICE, 0o755) as folder:
        (folder / "file").write_bytes(b"old")
        os.chown(folder / "file", ALICE, ALICE)
        (folder / "file").chmod(0o4755)
        (folder / "source").write_bytes(b"new")
        yield folder


@needs_root
@pytest.mark.parametrize("change", [*CHANGES, move])
async def test_a_file_that_root_changed_is_still_its_owners(root: Path, change: Change) -> None:
    await change(aiofs.OSFileSystem(root))
    status = (root / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ALICE, ALICE, 0o4755)
    assert [path.name for path in hidden(root) if path.name != ".aiofs-journal"] == []


@needs_root
async def test_a_copy_over_a_file_leaves_it_to_its_owner(root: Path) -> None:
    (root / "source").chmod(0o4755)
    await copy(aiofs.OSFileSystem(root))
    status = (root / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ALICE, ALICE, 0o755)


@needs_root
async def test_an_owner_can_read_the_private_file_that_root_changed(root: Path) -> None:
    (root / "file").chmod(0o600)
    fs = aiofs.OSFileSystem(root)
    for change in CHANGES:
        await change(fs)
        with as_user(ALICE):
            assert (await fs.read_bytes("file")).endswith(b"new")


@needs_root
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
async def test_what_a_refused_transaction_put_back_is_its_owners(
    root: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    fs = aiofs.OSFileSystem(root)
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    with pytest.raises(OSError, match="Is a directory"):
        async with aiofs.transaction(fs) as unit:
            await unit.write_bytes("file", b"new")
            await unit.write_bytes("other", b"new")
            monkeypatch.setattr(os_driver.Stage, "publish", _refuse_other(os_driver.Stage.publish))
    assert (root / "file").read_bytes() == b"old"
    status = (root / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ALICE, ALICE, 0o4755)


def _no_links(*_args: object, **_kwargs: object) -> None:
    raise PermissionError(1, "no links here")


def _refuse_other(publish: Callable[..., object]) -> Callable[..., object]:
    def refusing(stage: os_driver.Stage, match: str | None, *, durable: bool) -> object:
        if stage.path == "other":
            raise IsADirectoryError(21, "Is a directory", "other")
        return publish(stage, match, durable=durable)

    return refusing


@needs_root
@pytest.mark.parametrize("change", [overwrite, append, edit, transact])
async def test_where_the_owner_cannot_be_kept_nothing_runs_as_them_and_their_group_gets_no_more(change: Change) -> None:
    with folder_of(ALICE, 0o777) as root:
        (root / "file").write_bytes(b"old")
        os.chown(root / "file", ALICE, ALICE)
        (root / "file").chmod(0o6774)
        with as_user(BOB):
            await change(aiofs.OSFileSystem(root))
        status = (root / "file").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (BOB, BOB, 0o744)


@pytest.mark.parametrize("change", CHANGES)
async def test_attributes_and_access_lists_are_kept(tmp_path: Path, change: Change) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    try:
        os.setxattr(file, "user.colour", b"red")
        os.setxattr(file, ACCESS_LIST, access_list(BOB))
    except OSError as error:
        pytest.skip(f"the file system of the tests keeps no attributes: {error}")
    await change(aiofs.OSFileSystem(tmp_path))
    assert os.getxattr(file, "user.colour") == b"red"
    assert os.getxattr(file, ACCESS_LIST) == access_list(BOB)


async def test_a_group_that_a_list_shut_out_does_not_come_in_by_the_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a list, the mode says what all of it may do at most: the list lost, it would say that of the group."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    try:
        os.setxattr(file, ACCESS_LIST, access_list(BOB))
    except OSError as error:
        pytest.skip(f"the file system of the tests keeps no access lists: {error}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o660

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    await aiofs.OSFileSystem(tmp_path).write_bytes("file", b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_folder_that_gives_lists_gives_none_to_a_file_that_has_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o640)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", access_list(BOB))
    except OSError as error:
        pytest.skip(f"the file system of the tests keeps no access lists: {error}")
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("file", b"new")
    assert ACCESS_LIST not in os.listxattr(tmp_path / "file")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    await fs.write_bytes("made", b"new")
    assert os.getxattr(tmp_path / "made", ACCESS_LIST) == access_list(BOB)


@pytest.fixture
def granted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each file granted to others in the moment in which bytes came into it."""
    seen: list[int] = []
    for module in (staging, writing, os_driver):
        for name in ("write_at", "copy_bytes"):
            if (original := getattr(module, name, None)) is not None:
                monkeypatch.setattr(module, name, _watched(original, name, seen))
    return seen


def _watched(original: Callable[..., object], name: str, seen: list[int]) -> Callable[..., object]:
    def watched(*args: int) -> object:
        seen.append(os.fstat(args[1 if name == "copy_bytes" else 0]).st_mode & 0o077)
        return original(*args)

    return watched


@pytest.mark.parametrize("change", [*CHANGES, copy])
@pytest.mark.parametrize("mode", [0o700, 0o777], ids=["own folder", "shared folder"])
async def test_no_stage_shows_the_bytes_of_a_private_file(
    tmp_path: Path, granted: list[int], change: Change, mode: int
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(mode)
    for name in ("file", "source"):
        (tmp_path / "root" / name).write_bytes(b"old")
        (tmp_path / "root" / name).chmod(0o600)
    (tmp_path / "root" / "other").write_bytes(b"old")
    (tmp_path / "root" / "other").chmod(0o600)
    await change(aiofs.OSFileSystem(tmp_path / "root"))
    assert granted
    assert set(granted) == {0}


async def test_a_private_file_is_copied_by_a_stage_that_nobody_else_could_have_opened(
    tmp_path: Path, granted: list[int]
) -> None:
    (tmp_path / "source").write_bytes(b"secret")
    (tmp_path / "source").chmod(0o600)
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.copy("source", "new")
    assert granted == [0]
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert hidden(tmp_path) == []


async def test_new_files_have_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        await aiofs.OSFileSystem(tmp_path).write_bytes("file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


async def test_a_journal_is_for_those_who_may_write_its_folder(tmp_path: Path) -> None:
    """Where the files are in another store, it has their bytes."""
    seen: list[int] = []

    memory, journal = aiofs.MemoryFileSystem(), aiofs.OSFileSystem(tmp_path)
    async with aiofs.transaction(memory, journal=journal) as unit:
        await unit.write_bytes("small", b"secret")
        await unit.write_bytes("large", bytes(1 << 17))
        seen += [path.stat().st_mode & 0o077 for path in tmp_path.rglob("*") if path.is_file()]
    assert seen
    assert set(seen) == {0}
