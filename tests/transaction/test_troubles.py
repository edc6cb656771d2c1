"""Every single call to the stores fails, and pairs of calls: it is all or nothing, and the user is told which.

An ordinary run takes all single calls in memory, every fifth of local files, every 17th of three stores at once, the
last ones among them, and 10 pairs in memory, 4 elsewhere; `AIOFS_TEST_FULL=1` takes all, and 4000 pairs.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.names import is_reserved
from aiofs.powers import Sweeps
from aiofs.stores import OSFileSystem
from aiofs.testing import Stepped, Steps
from aiofs.testing.kills import State, change, seed, state_of
from aiofs.transactions import commit
from aiofs.transactions.transaction import recover, transaction
from transaction.powerless import Powerless

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from aiofs.driver import Capabilities, Lease
    from aiofs.system import FileLikeSystem

Trouble = tuple[int, bool]
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
PAIRS = 4000 if FULL else 10
FEW = 4  # of stores that take longer, in an ordinary run


class Plain(Powerless):
    """Hides the powers of a store, and whatever of its capabilities a test wants hidden."""

    def __init__(self, *, resume: bool) -> None:
        self.resumes = resume

    def alter(self, capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, resume=self.resumes, holds=False)


class Loose(MemoryDriver):
    """What is prepared here is in nobody's way."""

    def _refuse_prepared(self, path: str, leases: Sequence[Lease] = ()) -> None:
        pass


def memory(_: Path) -> dict[str, FileSystem]:
    return {"": FileSystem(MemoryDriver())}


def plain(_: Path) -> dict[str, FileSystem]:
    return {"": FileSystem(MemoryDriver()).over(Plain(resume=False))}


def loose(_: Path) -> dict[str, FileSystem]:
    return {"": FileSystem(Loose()).over(Plain(resume=True))}


def local(root: Path) -> dict[str, FileSystem]:
    return {"": OSFileSystem(root, durable=False)}


def mixed(root: Path) -> dict[str, FileSystem]:
    return {
        "local": OSFileSystem(root, durable=False),
        "memory": FileSystem(MemoryDriver()),
        "plain": FileSystem(MemoryDriver()).over(Plain(resume=False)),
    }


@dataclass
class Trial:
    """One transaction with troubles, and what came of it."""

    stores: Mapping[str, FileSystem]
    troubles: list[Trouble]
    steps: Steps = field(default_factory=Steps)
    told: BaseException | None = None
    state: str = ""

    async def run(self) -> State:
        """Return what is there in the end."""
        await seed(self.stores)
        for number, after in self.troubles:
            self.steps.fail(number, after=after)
        dressed: dict[str, FileLikeSystem] = {
            name: FileSystem(Stepped(self.steps).bind(fs.driver)) for name, fs in self.stores.items()
        }
        tx = transaction(dressed.get("", dressed))
        try:
            async with tx:
                await change(tx, list(dressed))
        except OSError as error:
            self.told = error
        self.state = tx.state
        await self.steps.heal()
        at_once = await state_of(self.stores)
        await recover(self.stores.get("", self.stores))
        in_the_end = await state_of(self.stores)
        assert self.state == "unfinished" or at_once == in_the_end
        return in_the_end

    async def left(self) -> list[str]:
        """Return what is staged or hidden in the stores."""
        found: list[str] = []
        for fs in self.stores.values():
            sweeps = fs.driver.offers(Sweeps)
            assert sweeps is not None
            found += [f"{left.kind} of {left.path}" async for left in sweeps.leftovers()]
            found += [entry.path async for entry in fs.driver.list() if is_reserved(entry.path)]
        return found


def is_publishing(taken: Sequence[str]) -> bool:
    """Whether the call publishes or removes a file."""
    return any(
        verb in {"commit", "delete"} and not is_reserved(path)
        for verb, _, path in (step.partition(" ") for step in taken)
    )


KINDS = [memory, plain, loose, local, mixed]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("small", [True, False], ids=["small", "large"])
@pytest.mark.timeout(1800 if FULL else 600)
@pytest.mark.may_block
async def test_any_one_and_any_two_calls_fail(
    kind: Callable[[Path], dict[str, FileSystem]], small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not small:
        monkeypatch.setattr(commit, "SMALL", 10)  # all files are too large for the decision then
    roots = (tmp_path / str(number) for number in range(1_000_000))

    async def outcome(troubles: list[Trouble]) -> tuple[Trial, State]:
        trial = Trial(kind(next(roots)), troubles)
        return trial, await trial.run()

    untroubled = Trial(kind(next(roots)), [])
    await seed(untroubled.stores)
    before = await state_of(untroubled.stores)
    untroubled, after = await outcome([])
    assert untroubled.state == "committed"
    assert await untroubled.left() == []
    assert before != after

    async def check(troubles: list[Trouble]) -> int:
        trial, state = await outcome(troubles)
        taken = [trial.steps.taken[number - 1] for number, _ in troubles if number <= len(trial.steps.taken)]
        expected = {"committed": [after], "unfinished": [before, after]}.get(trial.state, [before])
        assert state in expected, (trial.state, troubles, taken)
        assert await trial.left() == [], (trial.state, troubles, taken)
        assert trial.told is not None or trial.state == "committed", (troubles, taken)
        if len(troubles) == 1 and is_publishing(taken) and troubles[0][1]:
            assert trial.told is None, (troubles, taken)  # only the answer was lost, so it was looked for
        return len(trial.steps.taken)

    longest = len(untroubled.steps.taken)
    singles = [(number, late) for number in range(1, longest + 1) for late in (False, True)]
    step = 1 if FULL else {local: 5, mixed: 17}.get(kind, 1)  # odd, so that some fail before and some after the call
    for trouble in dict.fromkeys([*singles[::step], *singles[-2:]]):
        longest = max(longest, await check([trouble]))
    chance = random.Random(1)
    for _ in range(PAIRS if FULL or kind not in {local, mixed} else FEW):
        first, second = sorted(chance.sample(range(1, longest + 1), 2))
        await check([(first, chance.random() < 0.5), (second, chance.random() < 0.5)])
