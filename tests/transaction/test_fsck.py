"""fsck: it tells what is left, removes it if asked to, and never touches what is alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.powers import Leftover
from aiofs.transactions.transaction import driver_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiofs.testing.kills import ChildProcesses


def kinds(findings: list[aiofs.Finding]) -> list[tuple[str, bool, bool]]:
    return sorted((finding.kind, finding.live, finding.fixed) for finding in findings)


async def test_nothing_to_find(tmp_path: Path) -> None:
    for fs in (aiofs.OSFileSystem(tmp_path), aiofs.MemoryFileSystem()):
        await fs.write_bytes("a", b"a")
        assert await aiofs.fsck(fs) == []
        assert await aiofs.fsck(fs, fix=True) == []


async def test_dead_staging_files_are_removed(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("folder/a", b"a")
    for name in (".aiofs-stage-0", ".aiofs-ready-0", ".aiofs-before-0"):
        (tmp_path / "folder" / name).write_bytes(b"left by somebody")
    expected = ["before-image", "prepared write", "staging file"]
    assert kinds(await aiofs.fsck(fs)) == [(kind, False, False) for kind in expected]
    assert kinds(await aiofs.fsck(fs, fix=True)) == [(kind, False, True) for kind in expected]
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "a"]


async def test_what_is_alive_stays(tmp_path: Path) -> None:
    for fs in (aiofs.OSFileSystem(tmp_path), aiofs.MemoryFileSystem()):
        async with aiofs.transaction(fs) as tx:
            await tx.write_bytes("a", b"new")
            before = await aiofs.fsck(fs, fix=True)
            assert all(finding.live and not finding.fixed for finding in before)
            assert isinstance(fs, aiofs.MemoryFileSystem) or "unfinished transaction" in {one.kind for one in before}
        assert await fs.read_bytes("a") == b"new"
        assert await aiofs.fsck(fs) == []


async def test_a_prepared_write_of_a_living_owner_stays(tmp_path: Path) -> None:
    for fs in (aiofs.OSFileSystem(tmp_path), aiofs.MemoryFileSystem()):
        driver = driver_of(fs)
        lease = await driver.lock("a")
        session = await driver.begin("a", lease)
        await session.write(b"new")
        await session.prepare()
        (finding,) = await aiofs.fsck(fs, fix=True)
        assert (finding.kind, finding.live, finding.fixed) == ("prepared write", True, False)
        await session.commit()
        await lease.release()
        assert await aiofs.fsck(fs) == []


def test_an_unfinished_transaction_is_ended(tmp_path: Path, child_processes: ChildProcesses) -> None:
    from transaction.test_kills import Folders  # noqa: PLC0415

    folders = Folders(tmp_path, ("",))
    folders.seed()
    steps = child_processes.run(folders, "commit").steps
    assert steps
    folders.seed()
    assert child_processes.run(folders, "commit", steps // 2).killed

    async def check() -> None:
        fs = folders()[""]
        found = await aiofs.fsck(fs)
        (unit,) = [finding for finding in found if finding.kind == "unfinished transaction"]
        assert not unit.live
        assert unit.holder is not None
        assert "recover() can end it" in unit.why
        fixed = await aiofs.fsck(fs, fix=True)
        assert [finding.kind for finding in fixed if finding.fixed] == ["unfinished transaction"]
        assert await aiofs.fsck(fs) == []

    asyncio.run(check())


async def test_a_journal_elsewhere(tmp_path: Path) -> None:
    """With its journal, a transaction is found wherever that is kept."""
    journal, fs = aiofs.OSFileSystem(tmp_path / "journal"), aiofs.MemoryFileSystem()
    with pytest.raises(ValueError, match="stop"):
        async with aiofs.transaction(fs, journal=journal) as tx:
            await tx.write_bytes("a", b"new")
            (finding,) = await aiofs.fsck(fs, journal=journal)
            assert (finding.store, finding.kind, finding.live) == ("journal", "unfinished transaction", True)
            raise ValueError("stop")
    assert await aiofs.fsck(fs, journal=journal) == []


async def test_leftovers_are_removed_several_at_a_time_but_those_of_one_path_one_by_one() -> None:
    """Two removals of one path would both need its lock."""
    busy: set[str] = set()
    most = 0

    class Leaves(MemoryDriver):
        async def leftovers(self, prefix: str = "") -> AsyncIterator[Leftover]:
            del prefix
            for path in [str(number // 2) for number in range(40)] + [str(number) for number in range(20)]:
                yield Leftover(path, "upload", None, None, live=False, token=path)

        async def sweep(self, leftover: Leftover) -> bool:
            nonlocal most
            assert leftover.path not in busy
            busy.add(leftover.path)
            most = max(most, len(busy))
            await asyncio.sleep(0)
            busy.remove(leftover.path)
            return True

    findings = await aiofs.fsck(FileSystem(Leaves()), fix=True)
    assert [finding.path for finding in findings] == [str(number // 2) for number in range(40)] + list(
        map(str, range(20))
    )
    assert all(finding.fixed for finding in findings)
    assert most == 16
