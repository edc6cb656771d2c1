"""Calls into the operating system fail, one after another: it is all or nothing, and nothing is kept back.

`AIOFS_TEST_FULL=1` takes every call; an ordinary run takes some of them, and all that bring something to the disk.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from aiofs.errors import AiofsError, Unfinished
from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.testing.kills import change, seed, state_of
from aiofs.transactions.transaction import recover, transaction
from disks.faults import Faults
from guards import descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from aiofs.testing.kills import State

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
BRINGING = {"fsync", "rename", "replace", "link"}
"""The calls of which an ordinary run tries each."""
CHANGING = {*BRINGING, "unlink", "write", "pwrite", "ftruncate", "mkdir", "makedirs", "copy_file_range"}
NUMBERS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EACCES)

pytestmark = pytest.mark.may_block


@dataclass
class Trial:
    """One transaction in which calls fail."""

    root: Path
    faults: Faults
    told: BaseException | None = None
    state: str = ""
    left: set[str] = field(default_factory=set)
    """Descriptors that were not open before."""

    async def run(self) -> None:
        """Do the transaction."""
        fs = OSFileSystem(self.root)
        before = descriptors()
        with self.faults.at_work():
            tx = transaction(fs)
            try:
                async with tx:
                    await change(tx, [""])
            except OSError as error:
                self.told = error
        self.state = tx.state
        self.left = descriptors() - before

    async def files(self) -> State:
        """Return what a reader finds."""
        return await state_of({"": OSFileSystem(self.root)})

    def hidden(self) -> list[str]:
        """Return the files on the disk that are ours; the folder of the journal stays."""
        return [str(path.relative_to(self.root)) for path in self.root.rglob(".aiofs-*") if not path.is_dir()]


@dataclass
class Whole:
    """The transaction without trouble."""

    template: Path
    before: State
    after: State
    calls: list[str]

    def trial(self, root: Path, faults: Faults) -> Trial:
        """Return the same transaction, with trouble."""
        return Trial(shutil.copytree(self.template, root), faults)

    async def wrong(self, trial: Trial) -> list[str]:
        """Return what is wrong with the end of a trial."""
        expected = {"committed": [self.after], "unfinished": [self.before, self.after]}.get(trial.state, [self.before])
        found = [f"left open {name}" for name in trial.left]
        if await trial.files() not in expected and trial.state != "unfinished":
            found.append(f"{trial.state}, but it is {await trial.files()}")
        unsynced = trial.faults.only == "fsync" and trial.faults.raised is not None
        if trial.told is None and (trial.state != "committed" or unsynced or trial.hidden()):
            found.append(f"nobody was told; {trial.state}, left: {trial.hidden()}")
        if (trial.state == "unfinished") != isinstance(trial.told, Unfinished):
            found.append(f"{trial.state}, but told {trial.told!r}")
        report = await recover(OSFileSystem(trial.root))
        if report.failed or report.live:
            found.append(f"not recovered: {report}")
        if await trial.files() not in expected:
            found.append(f"{trial.state}, recovered to {await trial.files()}")
        found += [f"told of {name!r}" for name in self.misnamed(trial)]
        return [*found, *(f"still there: {path}" for path in trial.hidden())]

    def misnamed(self, trial: Trial) -> list[object]:
        """Return the name that the error has, if it is no file of the transaction: before it began there is none."""
        error = trial.told
        if not isinstance(error, OSError) or error.filename in {*self.before[""], *self.after[""]}:
            return []
        if trial.state == "new" and any(str(trial.root) in note for note in error.__notes__):
            return []
        return [error.filename]


@pytest.fixture
async def whole(tmp_path: Path) -> Whole:
    template = tmp_path / "template"
    await seed({"": OSFileSystem(template)})
    before = await state_of({"": OSFileSystem(template)})
    trial = Trial(shutil.copytree(template, tmp_path / "untroubled"), Faults())
    await trial.run()
    assert trial.state == "committed"
    return Whole(template, before, await trial.files(), trial.faults.taken)


@pytest.mark.timeout(1800 if FULL else 600)
async def test_any_call_that_changes_something_fails(tmp_path: Path, whole: Whole) -> None:
    """They are counted by name, as steps at the same time come in any order."""
    troubles = []
    for name in sorted(CHANGING & {*whole.calls}):
        for nth in range(1, whole.calls.count(name) + 1, 1 if FULL or name in BRINGING else 7):
            trial = whole.trial(tmp_path / f"{name}-{nth}", Faults(nth, NUMBERS[nth % len(NUMBERS)], only=name))
            await trial.run()
            wrong = await whole.wrong(trial)
            troubles += [f"{name} {nth}, {trial.faults.raised!r}: {what}" for what in wrong]
            shutil.rmtree(trial.root)
    assert not troubles, "\n".join(troubles)


@pytest.mark.timeout(1800 if FULL else 600)
async def test_any_other_call_fails(tmp_path: Path, whole: Whole) -> None:
    """Looking, opening and closing can fail like the rest, and the error names a file of the transaction, too."""
    troubles = []
    for name in sorted({*whole.calls} - CHANGING):
        for nth in range(1, whole.calls.count(name) + 1, 1 if FULL else 29):
            trial = whole.trial(tmp_path / f"{name}-{nth}", Faults(nth, NUMBERS[nth % len(NUMBERS)], only=name))
            await trial.run()
            wrong = [f"told of {told!r}" for told in whole.misnamed(trial)] + [f"left open {it}" for it in trial.left]
            troubles += [f"{name} {nth}, {trial.faults.raised!r}: {what}" for what in wrong]
            shutil.rmtree(trial.root)
    assert not troubles, "\n".join(troubles)


async def test_the_journal_of_other_stores_fails(tmp_path: Path) -> None:
    """The error names the file that was to be written first, and a note the log that could not be."""
    stores = {"one": MemoryFileSystem(), "other": MemoryFileSystem()}
    tx = transaction(stores, journal=OSFileSystem(tmp_path), auto_commit=False)
    async with tx:
        await tx["other"].write_bytes("second/first", b"new")
        await tx["one"].write_bytes("first", b"new")
        with Faults(1, errno.EIO, only="write").at_work(), pytest.raises(AiofsError) as caught:
            await tx.commit()
    assert caught.value.filename == "second/first"
    assert any(".aiofs-journal/" in note for note in caught.value.__notes__)


async def test_no_descriptor_can_be_had_any_more(tmp_path: Path, whole: Whole) -> None:
    """Each transaction that is refused for want of descriptors gives back those that it had, and its locks."""
    opens = whole.calls.count("open")
    for nth in range(1, opens, 3 if FULL else opens // 9):
        trial = whole.trial(tmp_path / str(nth), Faults(nth, errno.EMFILE, only="open", lasts=True))
        await trial.run()
        assert not await whole.wrong(trial)
        if await trial.files() == whole.before:
            again = Trial(trial.root, Faults())
            await again.run()
            assert again.told is None
            assert await again.files() == whole.after
