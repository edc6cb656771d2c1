"""The kill matrix: a transaction on local files is killed at every step, and so is whoever recovers it.

A step is every call that changes something on the disk (each creation, write, rename, link and removal of the journal,
of staging files, of before-images and of the files themselves), and the middle of every write. `AIOFS_TEST_FULL=1`
takes all of them, on files that are synced; an ordinary run takes some, and syncs nothing, which makes no difference
to a kill.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aiofs.stores import OSFileSystem
from aiofs.testing.kills import Part, State, seed, state_of
from aiofs.transactions.transaction import recover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiofs.testing.kills import ChildProcesses
    from aiofs.transactions.recovery import Recovered

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
pytestmark = pytest.mark.timeout(3 * 3600 if FULL else 600)


@dataclass(frozen=True)
class Folders:
    """One folder or several, each a store."""

    root: Path
    names: tuple[str, ...]

    def __call__(self) -> dict[str, OSFileSystem]:
        return {name: OSFileSystem(self.root / (name or "only"), durable=FULL) for name in self.names}

    def seed(self) -> None:
        asyncio.run(seed(self()))

    def state(self) -> State:
        return asyncio.run(state_of(self()))

    def recover(self) -> Recovered:
        stores = self()
        return asyncio.run(recover(stores.get("", stores)))

    def tree(self) -> list[str]:
        """All that is on the disk, folders included; our own empty folder, which goes with the next use, is none."""
        found = self.root.rglob("*")
        return sorted(str(path.relative_to(self.root)) for path in found if path.name != ".aiofs-journal")


@dataclass(frozen=True)
class Expected:
    """What may be there after a recovery."""

    steps: int
    before: tuple[State, list[str]]
    after: tuple[State, list[str]]

    def outcome(self, folders: Folders) -> str:
        """Say which of both is there, all of it and nothing else."""
        found = (folders.state(), folders.tree())
        assert found in (self.before, self.after), found[1]
        return "before" if found == self.before else "after"


def expected(fresh: Iterator[Folders], child_processes: ChildProcesses, part: Part) -> Expected:
    folders = next(fresh)
    folders.seed()
    before = (folders.state(), folders.tree())
    whole = child_processes.run(folders, part)
    assert not whole.killed
    return Expected(whole.steps, before, (folders.state(), folders.tree()))


@pytest.fixture(params=[("",), ("first", "second")], ids=["one store", "two stores"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folders]:
    """Ever new stores."""
    return (Folders(tmp_path / str(number), request.param) for number in itertools.count())


def some(steps: int, *, at_most: int) -> range:
    """All steps, or some that are spread over them."""
    return range(1, steps + 1, 1 if FULL else max(1, steps // at_most))


@pytest.mark.parametrize("part", ["body", "commit"])
def test_killed_at_every_step(fresh: Iterator[Folders], child_processes: ChildProcesses, part: Part) -> None:
    outcomes = set()
    whole = expected(fresh, child_processes, part)
    for number in some(whole.steps, at_most=16):
        folders = next(fresh)
        folders.seed()
        assert child_processes.run(folders, part, number).killed
        folders.recover()
        outcomes.add(whole.outcome(folders))
        assert not folders.recover().ended
    assert outcomes == {"before", "after"}


def test_recoverer_killed_at_every_step(fresh: Iterator[Folders], child_processes: ChildProcesses) -> None:
    outcomes = set()
    whole = expected(fresh, child_processes, "commit")
    for number in some(whole.steps, at_most=5):
        for again in itertools.count(1, 1) if FULL else itertools.count(number % 19 + 1, 19):
            folders = next(fresh)
            folders.seed()
            assert child_processes.run(folders, "commit", number).killed
            recoverer = child_processes.run(folders, "recover", again)
            folders.recover()
            outcomes.add(whole.outcome(folders))
            if not recoverer.killed:
                break
    assert outcomes == {"before", "after"}


def test_recoverers_at_once_some_of_them_killed(fresh: Iterator[Folders], child_processes: ChildProcesses) -> None:
    whole = expected(fresh, child_processes, "commit")
    for number in some(whole.steps, at_most=4):
        folders = next(fresh)
        folders.seed()
        assert child_processes.run(folders, "commit", number).killed
        child_processes.run_all(folders, "recover", [0, number % 17 + 1, 0, number % 5 + 1])
        folders.recover()
        whole.outcome(folders)
