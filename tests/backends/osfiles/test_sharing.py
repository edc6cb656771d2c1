"""Users who share a folder keep each other out, end what the other left, and use nothing that the other planted."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.osfiles.names import BEFORE, LEASED, PART, READY, READY_SHARED, STAGE, digest_of
from backends.osfiles.users import ALICE, BOB, as_user, folder_of, hidden, killed, needs_root

if TYPE_CHECKING:
    from pathlib import Path

EITHER = [(ALICE, BOB), (BOB, ALICE), (0, ALICE), (ALICE, 0)]


def lock(folder: Path) -> Path:
    return folder / (STAGE + digest_of("file"))


@needs_root
@pytest.mark.parametrize(("first", "second"), EITHER)
@pytest.mark.parametrize("there", [True, False], ids=["there", "new"])
async def test_two_users_keep_each_other_out(first: int, second: int, there: bool) -> None:
    with folder_of(ALICE, 0o755 if 0 in {first, second} else 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        if there:
            (root / "file").write_bytes(b"old")
            os.chown(root / "file", ALICE, ALICE)
            (root / "file").chmod(0o600)
        with as_user(first):
            file = await fs.open("file", "w")
            await file.write(b"first")
        with as_user(second):
            with pytest.raises(BlockingIOError, match="this file is being written"):
                await fs.write_bytes("file", b"second")
            with pytest.raises(BlockingIOError):
                await fs.rm("file")
        with as_user(first):
            await file.close()
        assert (root / "file").read_bytes() == b"first"
        with as_user(second):
            await fs.write_bytes("file", b"second")
        assert (root / "file").read_bytes() == b"second"
        assert hidden(root) == []


@needs_root
@pytest.mark.may_block
@pytest.mark.parametrize(("first", "second"), EITHER)
async def test_one_takes_over_what_the_others_killed_process_left(first: int, second: int) -> None:
    with folder_of(ALICE, 0o755 if 0 in {first, second} else 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        for name in ("file", "gone", "swept"):
            (root / name).write_bytes(b"old")
            os.chown(root / name, ALICE, ALICE)
            (root / name).chmod(0o600)
            killed(root, name, first)
        assert len(hidden(root)) >= 3
        with as_user(second):
            await fs.write_bytes("file", b"second")
            await fs.rm("gone")
            await aiofs.fsck(fs, fix=True)
        assert (root / "file").read_bytes() == b"second"
        assert [path for path in hidden(root) if path.name != ".aiofs-journal"] == []


@needs_root
@pytest.mark.may_block
async def test_a_folder_that_lets_nobody_take_over_names_the_owner_and_the_file() -> None:
    with folder_of(0, 0o1777) as root:
        killed(root, "file", ALICE)
        with as_user(BOB):
            expected = re.escape(f"user {ALICE} left '{lock(root).name}' beside this file")
            with pytest.raises(PermissionError, match=expected) as refused:
                await aiofs.OSFileSystem(root).write_bytes("file", b"")
            assert refused.value.filename == "file"
        with as_user(ALICE):
            await aiofs.OSFileSystem(root).write_bytes("file", b"alive")
        assert hidden(root) == []


@needs_root
async def test_a_folder_that_became_shared_while_its_owner_writes() -> None:
    """The lock is of the kind that nobody else may open; whether it is held nobody else can tell."""
    with folder_of(ALICE, 0o700) as root:
        fs = aiofs.OSFileSystem(root)
        (root / "file").write_bytes(b"old")
        os.chown(root / "file", ALICE, ALICE)
        with as_user(ALICE):
            file = await fs.open("file", "r+")
        root.chmod(0o777)
        with as_user(BOB), pytest.raises(BlockingIOError, match=f"user {ALICE}"):
            await fs.write_bytes("file", b"bob's")
        with as_user(ALICE):
            await file.write(b"new")
            await file.close()
        assert (root / "file").read_bytes() == b"new"


@needs_root
async def test_a_folder_that_became_private_while_others_write() -> None:
    with folder_of(ALICE, 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        with as_user(BOB):
            file = await fs.open("file", "w")
        root.chmod(0o755)
        with as_user(ALICE), pytest.raises(BlockingIOError):
            await fs.write_bytes("file", b"alice's")
        with as_user(BOB), pytest.raises(PermissionError):
            await file.close()
        with as_user(ALICE):
            await fs.write_bytes("file", b"alice's")
            assert await aiofs.fsck(fs, fix=True)
        assert hidden(root) == []


@needs_root
@pytest.mark.parametrize("victim", [0, ALICE])
@pytest.mark.parametrize("way", ["direct", "transaction"])
async def test_a_planted_stage_is_not_used(victim: int, way: str) -> None:
    with folder_of(ALICE, 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        with as_user(BOB):
            lock(root).touch()
            lock(root).chmod(0o666)
            planted = os.open(lock(root), os.O_RDWR)
        try:
            with as_user(victim):
                if way == "direct":
                    await fs.write_bytes("file", b"bytes")
                else:
                    async with aiofs.transaction(fs) as unit:
                        await unit.write_bytes("file", b"bytes")
            assert (root / "file").stat().st_uid == victim
            assert os.fstat(planted).st_size == 0, "nothing came into the file that was planted"
        finally:
            os.close(planted)


@pytest.mark.parametrize("what", ["fifo", "link", "folder", "two links"])
async def test_what_is_no_lock_of_ours_is_named(tmp_path: Path, what: str) -> None:
    fs = aiofs.OSFileSystem(tmp_path / "root")
    await fs.write_bytes("file", b"old")
    victim = tmp_path / "victim"
    victim.write_bytes(b"victim")
    name = lock(tmp_path / "root")
    _plant(name, what, victim)
    with pytest.raises(PermissionError, match=rf"'{name.name}' beside this file.*it is not used; remove it") as refused:
        await fs.write_bytes("file", b"new")
    assert refused.value.filename == "file"
    assert victim.read_bytes() == b"victim"
    assert (tmp_path / "root" / "file").read_bytes() == b"old"


@pytest.mark.parametrize("what", ["fifo", "link", "folder"])
async def test_what_is_no_prepared_write_keeps_nobody_out(tmp_path: Path, what: str) -> None:
    fs = aiofs.OSFileSystem(tmp_path / "root")
    await fs.write_bytes("file", b"old")
    (tmp_path / "victim").write_bytes(b"victim")
    _plant(tmp_path / "root" / (READY + digest_of("file")), what, tmp_path / "victim")
    await fs.write_bytes("file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert hidden(tmp_path / "root") == []


@pytest.mark.parametrize("what", ["fifo", "link", "link to nothing", "folder", "socket"])
async def test_fsck_names_what_is_planted(tmp_path: Path, what: str) -> None:
    """It stays, and the finding says what to do: only the user who made it knows its purpose."""
    root, victim = tmp_path / "root", tmp_path / "root" / "victim"
    (root / "a").mkdir(parents=True)
    victim.write_bytes(b"victim")
    names = [root / "a" / (kind + digest_of("file")) for kind in (STAGE, PART, READY, READY_SHARED, LEASED, BEFORE)]
    for name in names:
        _plant(name, what, root / ("missing" if what == "link to nothing" else "victim"))
    words = {"fifo": "FIFO", "link": "symbolic link", "link to nothing": "symbolic link"}.get(what, what)
    for locks in (None, aiofs.MemoryFileSystem()):
        found = await aiofs.fsck(aiofs.OSFileSystem(root, locks=locks), fix=True)
        assert sorted(finding.path for finding in found) == sorted(f"a/{name.name}" for name in names)
        for finding in found:
            assert not finding.live
            assert not finding.fixed
            assert finding.kind.startswith(f"{words} in the place of a ")
            assert "remove it by hand" in finding.why
    assert all(os.path.lexists(name) for name in names)
    assert victim.read_bytes() == b"victim"


@pytest.mark.parametrize("what", ["fifo", "two links"])
async def test_fsck_names_what_is_in_the_place_of_a_journal(tmp_path: Path, what: str) -> None:
    (tmp_path / "victim").touch()
    (tmp_path / "root").mkdir()
    _plant(tmp_path / "root" / ".aiofs-journal", what, tmp_path / "victim")
    (found,) = await aiofs.fsck(aiofs.OSFileSystem(tmp_path / "root"), fix=True)
    words = "FIFO" if what == "fifo" else "regular file"
    assert (found.path, found.kind, found.fixed) == (".aiofs-journal", f"{words} in the place of a journal", False)


def _plant(name: Path, what: str, victim: Path) -> None:
    if what == "socket":
        os.mknod(name, stat.S_IFSOCK | 0o600)
    elif what == "fifo":
        os.mkfifo(name)
    elif what.startswith("link"):
        name.symlink_to(victim)
    elif what == "folder":
        name.mkdir()
    else:
        os.link(victim, name)


@needs_root
async def test_a_planted_prepared_write_does_not_lock_a_path_for_ever() -> None:
    with folder_of(ALICE, 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        (root / "file").write_bytes(b"old")
        os.chown(root / "file", ALICE, ALICE)
        for prefix, mode in ((READY, 0o600), (READY, 0o666), (READY_SHARED, 0o600), (READY_SHARED, 0o666)):
            name = root / (prefix + digest_of("file"))
            with as_user(BOB):
                name.touch()
                name.chmod(mode)
            with as_user(ALICE):
                try:
                    await fs.write_bytes("file", b"new")
                except BlockingIOError as error:
                    assert "fsck with fix=True removes" in str(error)  # noqa: PT017 -- or it keeps nobody out at all
                    await aiofs.fsck(fs, fix=True)
                    await fs.write_bytes("file", b"new")
            name.unlink(missing_ok=True)


@needs_root
@pytest.mark.may_block
@pytest.mark.parametrize("mode", [0o600, 0o644])
async def test_a_prepared_write_of_one_user_is_ended_by_another(mode: int) -> None:
    """It keeps others out although its process is dead, and whoever recovers it need not be able to read it."""
    with folder_of(ALICE, 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        (root / "file").write_bytes(b"old")
        os.chown(root / "file", ALICE, ALICE)
        (root / "file").chmod(mode)
        tokens = []
        for _ in range(2):
            with as_user(ALICE):
                lease = await fs.driver.lock("file")
                session = await fs.driver.begin("file", lease)
                await session.write(b"new")
                tokens.append(await session.prepare())
            with as_user(BOB), pytest.raises(BlockingIOError):  # its owner lives
                await fs.driver.resume(tokens[-1])
            with as_user(ALICE):
                await lease.release()
            with as_user(BOB):
                with pytest.raises(BlockingIOError, match="an unfinished transaction"):
                    await fs.write_bytes("file", b"bob's")
                resumed = await fs.driver.resume(tokens[-1])
                if len(tokens) == 1:
                    await resumed.abort()
                else:
                    await resumed.commit()
            assert (root / "file").read_bytes() == (b"old" if len(tokens) == 1 else b"new")
        assert stat.S_IMODE((root / "file").stat().st_mode) == mode
        assert hidden(root) == []


@needs_root
async def test_a_link_to_a_stage_does_not_pass_for_its_publication() -> None:
    with folder_of(ALICE, 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        file = await fs.open("file", "x")
        await file.write(b"bytes")
        for number, name in enumerate(hidden(root)):
            os.link(name, root / f"planted {number}")
        await file.close()
        assert (root / "file").read_bytes() == b"bytes"


@needs_root
@pytest.mark.parametrize(("first", "second"), EITHER)
async def test_the_first_to_transact_shuts_nobody_out(first: int, second: int) -> None:
    with folder_of(ALICE, 0o755 if 0 in {first, second} else 0o777) as root:
        fs = aiofs.OSFileSystem(root)
        before = os.umask(0o022)
        try:
            for user, name in ((first, "a"), (second, "b"), (first, "c")):
                with as_user(user):
                    async with aiofs.transaction(fs) as tx:
                        await tx.write_bytes(name, b"new")
                        await tx.write_bytes(name * 2, b"new")
                    assert (await aiofs.recover(fs)).finished == []
        finally:
            os.umask(before)
        assert await fs.ls() == ["a", "aa", "b", "bb", "c", "cc"]
        journal = (root / ".aiofs-journal").stat()
        assert stat.S_IMODE(journal.st_mode) == stat.S_IMODE(root.stat().st_mode)
        assert list((root / ".aiofs-journal").iterdir()) == []
