"""A damaged log blocks the transactions of its own journal, and nothing else; it is named, and can be set aside."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.backends.osfiles.driver import OSDriver
from aiofs.filesystem import FileSystem
from aiofs.testing import Stepped, Steps
from aiofs.transactions.commit import Work
from aiofs.transactions.journal import Journal, fetch
from aiofs.transactions.records import FOLDER
from transaction.powerless import Powerless
from transaction.test_forged import bodies, forge, rewrite
from transaction.test_journal import crashed, write_two

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def local(root: Path) -> FileSystem:
    return aiofs.OSFileSystem(root, durable=False)


def line_by_line(_: Path) -> FileSystem:
    """A store whose logs are a file for each line."""
    return FileSystem(MemoryDriver()).over(Powerless())


KINDS = pytest.mark.parametrize("kind", [local, line_by_line])


async def damage(fs: FileSystem, monkeypatch: pytest.MonkeyPatch) -> str:
    """Leave a decided transaction, with a decision that says what no transaction writes; return its number."""
    await crashed(fs, write_two, monkeypatch)

    def spoil(records: list[dict[str, Any]]) -> list[bytes]:
        records[-1]["steps"][0]["path"] = "../a"
        return bodies(records)

    await forge(fs, spoil)
    (unit,) = await Journal(fs.driver).units()
    return unit


@KINDS
async def test_it_blocks_the_transactions_of_its_journal_alone(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = kind(tmp_path)
    unit = await damage(fs, monkeypatch)
    again = fs.over()  # where nobody looked at the journal before
    for _ in range(2):
        with pytest.raises(aiofs.Damaged, match=r"fsck.*set aside") as caught:
            async with aiofs.transaction(again) as tx:
                await tx.write_bytes("c", b"new")
        assert unit in str(caught.value.filename)
    await fs.write_bytes("c", b"plain")
    async with aiofs.transaction(fs, journal=aiofs.MemoryFileSystem()) as tx:
        await tx.write_bytes("c", b"with another journal")
    assert await fs.ls() == ["c"]
    (finding,) = [one for one in await aiofs.fsck(fs) if one.store == "journal"]
    assert (finding.path, finding.kind, finding.live, finding.fixed) == (
        f"{FOLDER}/{unit}",
        "damaged journal",
        False,
        False,
    )


@KINDS
async def test_it_can_be_set_aside_and_nothing_is_lost(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = kind(tmp_path)
    unit = await damage(fs, monkeypatch)
    await aiofs.fsck(fs, fix=True, damaged="set aside")
    names = [entry.path async for entry in fs.driver.list(f"{FOLDER}/")]
    assert names
    assert all(name.startswith(f"{FOLDER}/aside-{unit}.") for name in names)
    for fix in (False, True):  # it goes on being reported, and stays
        (finding,) = [one for one in await aiofs.fsck(fs, fix=fix) if one.store == "journal"]
        assert finding.path == f"{FOLDER}/aside-{unit}"
        assert not finding.fixed
    async with aiofs.transaction(fs) as tx:
        await tx.write_bytes("c", b"new")
    assert await fs.ls() == ["c"]
    found = await aiofs.fsck(fs, fix=True, damaged="remove")
    assert all(finding.fixed for finding in found)
    assert await aiofs.fsck(fs) == []
    await fs.write_bytes("a", b"free again")


@KINDS
async def test_it_can_be_removed_at_once(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = kind(tmp_path)
    await damage(fs, monkeypatch)
    await aiofs.fsck(fs, fix=True, damaged="remove")
    assert await aiofs.fsck(fs) == []
    await fs.write_bytes("a", b"free again")


async def test_a_log_that_can_be_read_but_not_be_done_can_be_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store finds that what it is said to have prepared cannot be."""
    fs = local(tmp_path)
    await crashed(fs, write_two, monkeypatch)

    def spoil(records: list[dict[str, Any]]) -> list[bytes]:
        records[-1]["steps"][0]["token"]["token"]["removal"] = "yes"
        return bodies(records)

    await forge(fs, spoil)
    (unit,) = await Journal(fs.driver).units()
    with pytest.raises(aiofs.Damaged, match=r"'a'.*'removal'") as caught:
        await aiofs.recover(fs)
    assert unit in str(caught.value.filename)
    await aiofs.fsck(fs, fix=True, damaged="set aside")
    assert await aiofs.recover(fs) == aiofs.Recovered()


async def test_one_of_a_living_transaction_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = local(tmp_path)
    unit = await damage(fs, monkeypatch)
    lease = await fs.driver.lock(f"{FOLDER}/{unit}")
    assert (await aiofs.recover(fs)).live == [unit]
    findings = await aiofs.fsck(fs, fix=True, damaged="remove")
    assert [(one.live, one.fixed) for one in findings if one.store == "journal"] == [(True, False)]
    await lease.release()


async def half_published(fs: FileSystem, journal: FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a decided transaction whose process died after it had published the first file."""
    await crashed(fs, write_two, monkeypatch, journal)
    publish = Work.publish

    async def die(work: Work) -> None:
        if work.step.path == "b":
            raise aiofs.Unavailable.of("b", "the process dies here")
        await publish(work)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "publish", die)
        with pytest.raises(aiofs.Unfinished):
            await aiofs.recover(fs, journal=journal)
    assert await fs.read_bytes("a") == b"new"


def spoiled(data: bytes) -> list[bytes]:
    """Return a log whose decision, its last line, has one bit flipped, is zeroed, cut short, and gone."""
    begin = data.rindex(b"\n", 0, len(data) - 1) + 1
    flipped = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
    return [flipped, data[:begin] + bytes(len(data) - begin), data[:-20], data[:begin]]


@pytest.mark.parametrize("before", [b"old", None], ids=["overwritten", "created"])
@pytest.mark.parametrize(
    ("kind", "in_lines"), [(local, False), (line_by_line, True), (line_by_line, False)], ids=["local", "lines", "mixed"]
)
async def test_a_decision_that_was_acted_on_and_is_damaged_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, in_lines: bool, before: bytes | None
) -> None:
    """Undoing it would leave one file new and the other old, and remove the last copy of the old bytes."""
    fs = kind(tmp_path)
    journal = fs if in_lines else local(tmp_path)
    for name in ("a", "b") if before else ():
        await fs.write_bytes(name, before or b"")
    await half_published(fs, journal, monkeypatch)
    files = [entry.path async for entry in journal.driver.list(f"{FOLDER}/")]
    decisions = [name for name in files if b'"commit"' in (await fetch(journal.driver, name) or b"")]
    data = await fetch(journal.driver, decisions[0]) or b""
    data = data[: data.index(b"\n", data.index(b'"commit"')) + 1]
    await journal.driver.delete(decisions[1:])  # whoever recovers says the decision again
    for damaged in spoiled(data):
        await rewrite(journal.driver, decisions[0], damaged)
        with pytest.raises(aiofs.Damaged, match=r"set aside") as caught:
            await aiofs.recover(fs, journal=journal)
        assert caught.value.filename == decisions[0]
        for fix in (False, True):
            found = await aiofs.fsck(fs, journal=journal, fix=fix)
            assert "damaged journal" in {finding.kind for finding in found}
            assert not any(finding.fixed for finding in found)
    await rewrite(journal.driver, decisions[0], data)
    assert (await aiofs.recover(fs, journal=journal)).finished
    assert [await fs.read_bytes(name) for name in ("a", "b")] == [b"new", b"new"]
    assert await aiofs.fsck(fs, journal=journal) == []


def planted(log: Path, what: str) -> None:
    """Put something that is no file of a journal at the name of a log."""
    log.parent.mkdir(exist_ok=True)
    if what == "link":
        log.symlink_to("../b")
    elif what == "fifo":
        os.mkfifo(log)
    elif what == "folder":
        log.mkdir()
    else:
        log.write_bytes(b"of somebody else")


@pytest.mark.parametrize("what", ["link", "fifo", "folder", "unreadable"])
async def test_what_is_no_readable_file_is_one_damaged_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fs, name = local(tmp_path), f"{FOLDER}/{'0' * 32}.log"
    await fs.write_bytes("b", b"of a user")
    await asyncio.to_thread(planted, tmp_path / name, what)
    kind: type[OSError] = aiofs.AccessDenied if what == "unreadable" else aiofs.Damaged
    read = OSDriver._open

    def refuse(driver: OSDriver, path: str, *args: Any) -> Any:
        if path == name and what == "unreadable":
            raise aiofs.AccessDenied.of(path)
        return read(driver, path, *args)

    monkeypatch.setattr(OSDriver, "_open", refuse)
    monkeypatch.setattr("aiofs.backends.osfiles.driver.open_below", lambda *_: None)
    for act in (aiofs.recover(fs), writes_c(fs)):
        with pytest.raises(kind, match="set aside") as caught:
            await act
        assert caught.value.filename == name
    await writes_c(fs, journal=aiofs.MemoryFileSystem())
    assert [(one.path, one.kind) for one in await aiofs.fsck(fs, fix=True)] == [
        (name.removesuffix(".log"), "damaged journal")
    ]
    await aiofs.fsck(fs, fix=True, damaged="set aside")
    assert os.path.lexists(tmp_path / FOLDER / f"aside-{'0' * 32}.log")
    await writes_c(fs)
    (gone,) = await aiofs.fsck(fs, fix=True, damaged="remove")
    assert gone.fixed
    assert await aiofs.fsck(fs) == []
    assert await fs.read_bytes("b") == b"of a user"


async def test_a_folder_that_cannot_be_removed_keeps_no_other_log(tmp_path: Path) -> None:
    fs = local(tmp_path)
    for number, what in ((0, "folder"), (1, "link")):
        await asyncio.to_thread(planted, tmp_path / FOLDER / f"{str(number) * 32}.log", what)
    (tmp_path / FOLDER / f"{'0' * 32}.log" / "full").mkdir()
    findings = await aiofs.fsck(fs, fix=True, damaged="remove")
    assert {finding.path: finding.fixed for finding in findings} == {
        f"{FOLDER}/aside-{'0' * 32}": False,
        f"{FOLDER}/aside-{'1' * 32}": True,
    }
    assert any("remove that by hand" in finding.why for finding in findings)
    await writes_c(fs)


async def writes_c(fs: FileSystem, journal: FileSystem | None = None) -> None:
    async with aiofs.transaction(fs, journal=journal) as tx:
        await tx.write_bytes("c", b"new")


async def test_a_journal_that_cannot_be_reached_names_its_file_system(tmp_path: Path) -> None:
    root = tmp_path / "root"
    await asyncio.to_thread(root.write_bytes, b"no folder")
    steps = Steps()
    for number in (1, 2):
        steps.fail(number)
    for fs, where in ((local(root), str(root)), (FileSystem(Stepped(steps).bind(MemoryDriver())), "MemoryDriver")):
        for act in (aiofs.recover(fs), writes_c(fs)):
            with pytest.raises(OSError, match=r"'\.aiofs-journal.*journal=") as caught:
                await act
            assert where in str(caught.value.filename)


async def test_what_to_do_is_checked() -> None:
    with pytest.raises(ValueError, match="give fix=True"):
        await aiofs.fsck(aiofs.MemoryFileSystem(), damaged="remove")
    with pytest.raises(ValueError, match="'keep', 'set aside' or 'remove'"):
        await aiofs.fsck(aiofs.MemoryFileSystem(), fix=True, damaged="burn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wait=-1"):
        await aiofs.recover(aiofs.MemoryFileSystem(), wait=-1)
    with pytest.raises(TypeError, match="wait='soon': give a number"):
        await aiofs.recover(aiofs.MemoryFileSystem(), wait="soon")


async def test_recovery_waits_for_the_locks_of_a_dead_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, looked = local(tmp_path), asyncio.Event()
    await crashed(fs, write_two, monkeypatch)
    (unit,) = await Journal(fs.driver).units()

    def look() -> None:
        if f"lock {FOLDER}/{unit}" in steps.taken:
            looked.set()

    steps = Steps(look)
    lease = await fs.driver.lock(f"{FOLDER}/{unit}")
    assert (await aiofs.recover(fs)).live == [unit]
    waiting = asyncio.ensure_future(aiofs.recover(FileSystem(Stepped(steps).bind(fs.driver)), wait=60))
    await looked.wait()
    await lease.release()
    report = await waiting
    assert (report.finished, report.live) == ([unit], [])
    assert await fs.ls() == ["a", "b"]
