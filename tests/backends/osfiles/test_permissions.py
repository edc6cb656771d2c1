"""Modes of files and folders: what may be passed, what is kept, and what is refused in which words."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiofs
import aiofs.backends.osfiles  # before privileges are dropped: Python itself may be where nobody else can read
import aiofs.transactions.fsck
from backends.osfiles.workers import forkserver, killed_before_publishing

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Be somebody to whom modes apply."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder of whoever has no privileges, in folders that everybody may pass."""
    with tempfile.TemporaryDirectory(prefix="aiofs-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        root = path / "root"
        root.mkdir()
        if os.geteuid() == 0:
            os.chown(root, NOBODY, -1)
        yield root
        for below in (root, *root.rglob("*")):
            if below.is_dir():
                below.chmod(0o755)


async def test_a_journal_of_somebody_else_hides_no_file(root: Path) -> None:
    """Who may not read it may list the files beside it, but not the journal."""
    with without_privileges():
        fs = aiofs.OSFileSystem(root)
        await fs.write_bytes("folder/file", b"")
    (root / ".aiofs-journal").mkdir()
    (root / ".aiofs-journal").chmod(0)
    with without_privileges():
        assert await fs.ls() == ["folder/file"]
        assert await fs.ls(recursive=False) == ["folder/"]
        assert await fs.glob("**") == ["folder/file"]
        assert [folder async for folder, _, _ in fs.walk()] == ["", "folder"]
        for act in (aiofs.recover, aiofs.fsck):
            with pytest.raises(PermissionError, match="the journal of transactions in this file system") as caught:
                await act(fs)
            assert caught.value.filename == str(fs.driver)


@pytest.mark.parametrize("mode", [0o111, 0o311], ids=["passed", "written"])
async def test_a_folder_that_may_only_be_passed(root: Path, mode: int) -> None:
    """What is below it is reached by name; only listing it is refused."""
    with without_privileges():
        fs = aiofs.OSFileSystem(root)
        await fs.write_bytes("folder/below/file", b"old")
        (root / "folder").chmod(mode)
        assert await fs.exists("folder/below/file")
        assert await fs.read_bytes("folder/below/file") == b"old"
        async with fs.open("folder/below/file", "a") as file:
            await file.write(b" and new")
        await fs.copy("folder/below/file", "folder/below/copy")
        await fs.rm("folder/below/file")
        assert await fs.ls("folder/below") == ["folder/below/copy"]
        with pytest.raises(PermissionError) as caught:
            await fs.ls()
        assert caught.value.filename == "folder"


async def test_a_folder_that_may_be_written_but_not_read(root: Path) -> None:
    """Files can be left in it, durably."""
    with without_privileges():
        fs = aiofs.OSFileSystem(root)
        (root / "inbox").mkdir(0o333)
        (root / "inbox").chmod(0o333)
        await fs.write_bytes("inbox/letter", b"hello")
        assert await fs.read_bytes("inbox/letter") == b"hello"
        await fs.move("inbox/letter", "inbox/opened")
        await fs.rm("inbox/opened")
        assert not await fs.exists("inbox/opened")


async def test_a_root_that_may_only_be_passed(root: Path) -> None:
    with without_privileges():
        (root / "file").write_bytes(b"bytes")
        root.chmod(0o111)
        fs = aiofs.OSFileSystem(root)
        assert await fs.read_bytes("file") == b"bytes"
        with pytest.raises(PermissionError):
            await fs.ls()


async def test_a_copy_has_the_permissions_of_its_source(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("script", b"#!")
    (tmp_path / "script").chmod(0o6750)
    await fs.write_bytes("there", b"")
    for target in ("new", "there"):
        await fs.copy("script", target)
        assert stat.S_IMODE((tmp_path / target).stat().st_mode) == 0o750, "without setuid and setgid"


async def test_files_that_may_not_be_written_are_replaced_and_keep_their_mode(root: Path) -> None:
    """As with `rename`, it is the folder that must be writable."""
    with without_privileges():
        fs = aiofs.OSFileSystem(root)
        await fs.write_bytes("file", b"old")
        (root / "file").chmod(0o444)
        async with fs.open("file", "r+") as file:
            await file.write(b"new")
        assert await fs.read_bytes("file") == b"new"
        assert stat.S_IMODE((root / "file").stat().st_mode) == 0o444


@pytest.mark.may_block
async def test_what_a_killed_writer_of_such_a_file_left(root: Path) -> None:
    """Its staging file has the file's mode already, and is taken over all the same."""
    fs = aiofs.OSFileSystem(root)
    for name in ("removed", "swept", "taken over"):
        with without_privileges():
            await fs.write_bytes(name, b"old")
            (root / name).chmod(0o444)
        process = forkserver.Process(target=killed_before_publishing, args=(root, name, NOBODY))
        process.start()
        process.join()
    assert len(list(root.iterdir())) == 6, "three files, and what was to replace them"
    with without_privileges():
        async with fs.open("taken over", "a") as file:
            await file.write(b" and new")
        await fs.rm("removed")
        assert len(await aiofs.fsck(fs, fix=True)) == 1
        assert await fs.read_bytes("taken over") == b"old and new"
    assert sorted(path.name for path in root.iterdir()) == ["swept", "taken over"]


async def test_a_prepared_write_of_such_a_file_is_finished_by_whoever_comes(root: Path) -> None:
    with without_privileges():
        fs = aiofs.OSFileSystem(root)
        await fs.write_bytes("file", b"old")
        (root / "file").chmod(0o444)
        lease = await fs.driver.lock("file")
        session = await fs.driver.begin("file", lease)
        await session.write(b"new")
        token = await session.prepare()
        await lease.release()
        with pytest.raises(aiofs.Locked):
            await fs.write_bytes("file", b"another's")
        await (await fs.driver.resume(token)).commit()
        assert await fs.read_bytes("file") == b"new"
        assert stat.S_IMODE((root / "file").stat().st_mode) == 0o444


async def test_a_root_that_cannot_be_made(root: Path) -> None:
    """It is the root that is named, with what is wrong about it."""
    with without_privileges():
        root.chmod(0o555)
        fs = aiofs.OSFileSystem(root / "below" / "it")
        with pytest.raises(PermissionError, match=r"the root .*below/it.* cannot be made") as denied:
            await fs.write_bytes("file", b"")
        assert denied.value.filename == "file"
        assert await fs.ls() == []


async def test_a_root_where_there_can_be_none(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to("missing")
    fs = aiofs.OSFileSystem(tmp_path / "nowhere" / "root")
    with pytest.raises(aiofs.StoreMissing, match=r"the root .*nowhere/root' is missing and cannot be made") as caught:
        await fs.write_bytes("file", b"")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "file")


async def test_what_is_no_file(tmp_path: Path) -> None:
    """There is no file where a listing shows none; whoever opens it all the same is told what is there."""
    fs = aiofs.OSFileSystem(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("missing")
    assert await fs.ls() == []
    for name in ("fifo", "loop", "nowhere", "loop/below", "fifo/below"):
        assert not await fs.exists(name)
    (tmp_path / "file").write_bytes(b"bytes")
    for use in (
        *(fs.read_bytes("fifo"), fs.write_bytes("fifo", b""), fs.stat("fifo"), fs.rm("file", "fifo")),
        *(fs.rm("fifo", missing_ok=True), fs.copy("fifo", "x"), fs.copy("file", "fifo")),
        *(fs.move("fifo", "x"), fs.move("file", "fifo")),
    ):
        with pytest.raises(IsADirectoryError, match="this is a FIFO, and not a regular file") as refused:
            await use
        assert refused.value.filename == "fifo"
    with pytest.raises(IsADirectoryError, match="this is a FIFO"):
        async with aiofs.transaction(fs) as unit:
            await unit.rm("fifo")
    assert sorted(os.listdir(tmp_path)) == [".aiofs-journal", "fifo", "file", "loop", "nowhere"]
    with pytest.raises(FileNotFoundError, match=os.strerror(errno.ELOOP)):
        await fs.read_bytes("loop")


async def test_a_link_out_of_the_root_is_refused_even_the_answer_whether_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "root").mkdir()
    for target in ("secret", "missing"):
        (tmp_path / "root" / target).symlink_to(tmp_path / target)
        with pytest.raises(PermissionError, match="a link leads out of the root"):
            await aiofs.OSFileSystem(tmp_path / "root").exists(target)
