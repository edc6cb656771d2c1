"""Folders of network file systems: what locks promise there is said, once, or another file system keeps them."""

from __future__ import annotations

import os
import pickle
import stat
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.backends.osfiles import driver as os_driver
from aiofs.backends.osfiles import locks, staging, writing
from aiofs.backends.osfiles.names import LEASED, digest_of
from aiofs.localio import devices, linux, network_of
from aiofs.properties import OWNERSHIP
from aiofs.transactions.commit import Publication
from backends.osfiles.users import ALICE, BOB, as_user, folder_of, needs_root
from transaction.test_journal import crashed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from aiofs.transactions.commit import Work
    from aiofs.transactions.transaction import FileTransaction


@pytest.fixture
def nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that says it is on NFS, as statfs would."""
    monkeypatch.setattr(linux, "type_at", lambda path: 0x6969 if os.fsencode(tmp_path) == path else None)
    return tmp_path / "root"


async def test_a_warning_says_once_that_other_machines_may_not_see_the_locks(nfs: Path) -> None:
    fs = aiofs.OSFileSystem(nfs)
    assert fs.driver.capabilities.locks == "host"
    assert fs.at("folder").driver.capabilities.locks == "host"
    with pytest.warns(RuntimeWarning, match=r"root' is on NFS: locks hold among the programs of this machine.*locks="):
        await fs.write_bytes("file", b"bytes")
    await fs.write_bytes("file", b"again")
    await aiofs.OSFileSystem(nfs).write_bytes("file", b"and again")


async def test_a_warning_that_is_an_error_locks_nothing(nfs: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            await aiofs.OSFileSystem(nfs).write_bytes("file", b"bytes")
    assert not nfs.exists()


async def test_that_one_machine_writes_there_can_be_said(nfs: Path) -> None:
    for fs in (aiofs.OSFileSystem(nfs, locks="host"), aiofs.connect(f"file://{nfs}?locks=host")):
        assert fs.driver.capabilities.locks == "host"
        await fs.write_bytes("file", b"bytes")


async def test_what_is_this_machines_own_warns_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (0xEF53, 0x794C7630, 0x01021994, None):  # ext4, overlay, tmpfs, unknown
        monkeypatch.setattr(linux, "type_at", lambda _path, kind=kind: kind)
        fs = aiofs.OSFileSystem(tmp_path)
        assert fs.driver.capabilities.locks == "shared"
        await fs.write_bytes("file", b"bytes")


def test_fuse_is_told_by_what_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(devices, "_MOUNTS", str(mounts))
    monkeypatch.setattr(linux, "type_at", lambda _path: devices.FUSE)
    line = "36 35 {}:{} / /mnt rw,noatime master:1 - {} source rw\n"
    for kind, said in (("fuse.sshfs", "fuse.sshfs"), ("virtiofs", "virtiofs"), ("fuseblk", None)):
        mounts.write_text(line.format(0, 99999, "ext4") + line.format(os.major(number), os.minor(number), kind))
        assert network_of(str(tmp_path)) == said


def test_a_setting_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="locks='hosts': give \"host\", or a file system"):
        aiofs.OSFileSystem(tmp_path, locks="hosts")  # type: ignore[arg-type]
    nonsense: list[Any] = [True, False, 30, b"host", [], tmp_path]
    for given in nonsense:
        with pytest.raises(TypeError, match=f'takes None, "host", or a file system .*{type(given).__name__}'):
            aiofs.OSFileSystem(tmp_path, locks=given)


async def test_locks_that_another_file_system_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines that share a folder share the keeper; flock is not asked for the files."""
    keeper = aiofs.MemoryFileSystem()
    (tmp_path / "there").symlink_to(tmp_path / "here")
    here, there = (aiofs.OSFileSystem(tmp_path / name, locks=keeper) for name in ("here", "there"))
    assert here.driver.capabilities.locks == "process", "as far as those of the keeper"

    def refuse(_fd: int) -> bool:
        raise AssertionError("flock was asked")

    for module in (locks, staging, writing):
        monkeypatch.setattr(module, "try_lock", refuse)
    file = await here.open("folder/file", "w")
    with pytest.raises(aiofs.Locked) as refused:
        await there.write_bytes("folder/file", b"another's")
    assert refused.value.filename == "folder/file"
    with pytest.raises(aiofs.Locked):
        await there.rm("folder/file", missing_ok=True)
    await file.write(b"bytes")
    await file.close()
    assert await there.read_bytes("folder/file") == b"bytes"
    await there.copy("folder/file", "copy")
    await there.move("folder/file", "moved")
    async with here.open("moved", "a") as file:
        await file.write(b" more")
    await here.rm("copy")
    assert [path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*")] == ["moved"]


async def test_a_lease_that_was_lost_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    await fs.write_bytes("file", b"old")
    lease = await fs.driver.lock("file")
    session = await fs.driver.begin("file", lease)
    await session.write(b"new")
    monkeypatch.setattr(type(lease), "lost", property(lambda _lease: True))
    with pytest.raises(aiofs.Conflict):
        await session.commit()
    await session.abort()
    await lease.release()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("moment", ["before", "amid"])
async def test_who_has_the_lease_goes_on_without_the_one_who_lost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Also where that one has not noticed, and wakes up in the middle of publishing."""
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    lost = await fs.driver.lock("file")
    session = await fs.driver.begin("file", lost)
    await session.write(b"of the one who sleeps")
    await lost.release()
    async with fs.open("file", "w") as file:
        await file.write(b"new")
        with monkeypatch.context() as patch, pytest.raises(aiofs.Conflict):
            if moment == "amid":
                answers = iter([True])
                look = os_driver.Stage.is_current
                patch.setattr(os_driver.Stage, "is_current", lambda stage: next(answers, None) or look(stage))
            await session.commit()
        await session.abort()
    assert await fs.read_bytes("file") == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_what_a_dead_writer_left_under_a_lease(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    lease = await fs.driver.lock("file")
    session = await fs.driver.begin("file", lease)
    (found,) = await aiofs.fsck(fs, fix=True)
    assert (found.kind, found.live, found.fixed) == ("staging file", True, False)
    await lease.release()  # as it runs out by itself when its holder is dead
    assert not [found for found in await aiofs.fsck(aiofs.OSFileSystem(tmp_path), fix=True) if found.fixed]
    assert [found.fixed for found in await aiofs.fsck(fs, fix=True)] == [True]
    assert list(tmp_path.iterdir()) == []
    await session.abort()


async def test_transactions_with_locks_elsewhere(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    await fs.write_bytes("gone", b"old")
    async with aiofs.transaction(fs) as unit:
        await unit.write_bytes("folder/file", b"new")
        await unit.rm("gone")
    assert await fs.ls() == ["folder/file"]


async def decided(fs: aiofs.FileSystem, change: Callable[[FileTransaction], Awaitable[object]]) -> None:
    """Leave a decided transaction with nothing published, as a process that died then does."""
    with pytest.MonkeyPatch.context() as patch:
        await crashed(fs, change, patch)


@pytest.mark.may_block
async def test_a_recovered_file_has_the_mode_that_its_writer_gave_it(tmp_path: Path) -> None:
    """The umask of the recovering user does not matter; a copy has the mode of its source, small or large."""
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    for name, size in (("small", 10), ("large", 100_000)):
        await fs.write_bytes(name, b"x" * size)
        (tmp_path / name).chmod(0o640)

    async def change(tx: FileTransaction) -> None:
        for name in ("small", "large"):
            await tx.write_bytes(f"new {name}", b"y" * len(await tx.read_bytes(name)))
            await tx.copy(name, f"copied {name}")
            await tx.move(name, f"moved {name}")

    mask = os.umask(0o027)
    try:
        await decided(fs, change)
    finally:
        os.umask(mask)
    await aiofs.recover(fs)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir() if path.is_file()} == {
        f"{how} {name}": "0o640" for how in ("new", "copied", "moved") for name in ("small", "large")
    }


@pytest.mark.may_block
async def test_what_is_put_back_has_the_mode_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    publish = Publication._publish

    async def publish_and_fail(publication: Publication, works: Sequence[Work]) -> None:
        await publish(publication, works)
        assert not (tmp_path / "gone").exists()
        assert (tmp_path / "target").read_bytes() == b"new"
        raise aiofs.Conflict.of("target", "refused")

    monkeypatch.setattr(Publication, "_publish", publish_and_fail)
    for name, mode in (("gone", 0o600), ("source", 0o644), ("target", 0o600)):
        (tmp_path / name).write_bytes(b"new" if name == "source" else b"old")
        (tmp_path / name).chmod(mode)
    with pytest.raises(aiofs.Conflict, match="refused"):
        async with aiofs.transaction(fs) as tx:
            await tx.rm("gone")
            await tx.copy("source", "target")
    assert (tmp_path / "gone").read_bytes() == (tmp_path / "target").read_bytes() == b"old"
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir() if path.is_file()} == {
        "gone": "0o600",
        "source": "0o644",
        "target": "0o600",
    }


async def write_one(name: str, tx: FileTransaction) -> None:
    await tx.write_bytes(name, b"new")


@needs_root
@pytest.mark.may_block
async def test_what_root_recovers_is_its_writers() -> None:
    """But only in a folder that belongs to the writer: elsewhere another user may have forged the journal."""
    for owner, mode in ((ALICE, 0o755), (ALICE, 0o777), (BOB, 0o777)):
        with folder_of(owner, mode) as folder:
            fs = aiofs.OSFileSystem(folder, locks=aiofs.MemoryFileSystem())
            name = "a/b/file" if owner == ALICE else "file"
            with as_user(ALICE):
                await decided(fs, partial(write_one, name))
            await aiofs.recover(fs)
            (found,) = folder.rglob("file")
            made = [path for path in (found, *found.parents) if folder in path.parents]
            assert {path.stat().st_uid for path in made} == {ALICE if owner == ALICE else 0}
            assert stat.S_IMODE(found.stat().st_mode) == 0o644


async def test_a_journal_that_says_nonsense_about_permissions(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    lease = await fs.driver.lock("file")
    for text in ("", "0", "x 644 ", "0 999 ", "0 644 zz", "0 644  "):
        with pytest.raises(aiofs.Damaged, match="in the place of the file's owner and permissions"):
            await fs.driver.begin("file", lease, metadata={OWNERSHIP: text})
    session = await fs.driver.begin("file", lease, metadata={OWNERSHIP: "54321 7777 "})
    await session.commit()
    await lease.release()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o777, "no privileges"


async def test_what_a_dead_writer_left_goes_with_the_file(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    for remove in (fs.rm("a/file"), fs.move("a/file", "b")):
        await fs.write_bytes("a/file", b"old")
        (tmp_path / "a" / (LEASED + digest_of("file"))).write_bytes(b"half of it")
        await remove
        assert not (tmp_path / "a").exists()


async def test_a_url_can_name_the_keeper(tmp_path: Path) -> None:
    async with aiofs.connect(f"file://{tmp_path}/files?locks=file://{tmp_path}/locks") as fs:
        file = await fs.open("file", "w")
        assert list((tmp_path / "locks").iterdir())
        await file.close()
        keeper = fs.driver._keeper  # type: ignore[attr-defined]
        assert pickle.loads(pickle.dumps(fs.driver)).capabilities == fs.driver.capabilities
        assert keeper.capabilities.locks == fs.driver.capabilities.locks == "shared"
    with pytest.raises(ValueError, match="locks='nowhere' is not a URL"):
        aiofs.connect("file:///tmp?locks=nowhere")
