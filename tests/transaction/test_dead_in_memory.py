"""A process dies at every call to a store that keeps uploads: recovery leads to all or nothing, and removes them.

The store has no powers, as S3 has none for transactions: what it was given before its writer died stays in it until
somebody sweeps. An ordinary run takes every third call; `AIOFS_TEST_FULL=1` takes all.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.memory import MemoryDriver, MemoryFiles, MemorySession
from aiofs.filesystem import FileSystem
from aiofs.names import is_reserved
from aiofs.powers import Leftover, Sweeps
from aiofs.testing import Stepped, Steps
from aiofs.testing.kills import State, change, seed, state_of
from aiofs.transactions import commit
from aiofs.transactions.transaction import recover, transaction
from transaction.powerless import Powerless

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from aiofs.driver import Capabilities, Entry, Lease, WriteSession

THEIRS = b"what somebody else wrote meanwhile"
EVERY = 1 if os.environ.get("AIOFS_TEST_FULL") else 3  # odd, so that some die before and some after their call


class Died(BaseException):
    """The process is dead: it does nothing more."""


class FilesAndUploads(MemoryFiles):
    """What is there when all processes are dead."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads: dict[int, str] = {}


class Uploading(MemoryDriver):
    """Keeps an upload for each session until that ends."""

    files: FilesAndUploads

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return Upload(self, path, lease, match, metadata)

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        async for leftover in super().leftovers(prefix):
            yield leftover
        for number, path in list(self.files.uploads.items()):
            if path.startswith(prefix):
                yield Leftover(path, "upload", None, None, self.locks.holds(path), str(number))

    async def sweep(self, leftover: Leftover) -> bool:
        if leftover.kind != "upload":
            return await super().sweep(leftover)
        return not self.locks.holds(leftover.path) and bool(self.files.uploads.pop(int(leftover.token), None))

    def _refuse_prepared(self, path: str, leases: object = ()) -> None:
        """Do nothing: what is prepared keeps nobody out."""


class Upload(MemorySession):
    """A session whose bytes are in the store from the beginning."""

    def __init__(self, driver: Uploading, path: str, *given: Any) -> None:
        super().__init__(driver, path, *given)
        self._uploads = driver.files.uploads
        if not is_reserved(path):  # the journal is written in one request a file
            self._uploads[id(self)] = path

    async def prepare(self) -> dict[str, Any]:
        self._uploads.pop(id(self), None)
        return await super().prepare()

    async def commit(self) -> Entry:
        entry = await super().commit()
        self._uploads.pop(id(self), None)
        return entry

    async def abort(self) -> None:
        self._uploads.pop(id(self), None)
        await super().abort()


class Dying(Steps):
    """Calls, of which the one of a number and all that follow are not made; with `late`, that one is."""

    def __init__(self, number: int = 1_000_000, *, late: bool = False) -> None:
        super().__init__()
        self._last = number if late else number - 1

    async def take(self, verb: str, path: str, work: Awaitable[Any], undo: object = None) -> Any:
        self.taken.append(f"{verb} {path}")
        if len(self.taken) > self._last:
            work.close()  # type: ignore[attr-defined] # a coroutine
            raise Died
        made = await work
        if len(self.taken) >= self._last:
            raise Died
        return made


class Plain(Powerless):
    """Hides the powers of a store, and that another process can resume its sessions, if a test wants that."""

    def __init__(self, *, resume: bool) -> None:
        self._resume = resume

    def alter(self, capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, resume=self._resume, holds=False)


async def outcome(
    store: Callable[[], FileSystem], steps: Dying, overwritten: str | None = None
) -> tuple[State, list[str]]:
    """Return what a transaction that dies leads to when it was recovered, and what is left of it.

    Before the recovery, somebody else overwrites a file if that is given.
    """
    dies = FileSystem(Stepped(steps).bind(store().driver))
    try:
        async with transaction(dies) as tx:
            await change(tx, [""])
    except Died:
        pass
    stores = {"": store()}
    if overwritten is not None:
        await stores[""].write_bytes(overwritten, THEIRS)
    await recover(stores[""])
    sweeps = stores[""].driver.offers(Sweeps)
    assert sweeps is not None
    left = [f"{left.kind} of {left.path}" async for left in sweeps.leftovers()]
    left += [entry.path async for entry in stores[""].driver.list() if is_reserved(entry.path)]
    return await state_of(stores), left


@pytest.mark.parametrize("resume", [False, True], ids=["in the journal", "resumed"])
@pytest.mark.parametrize("small", [True, False], ids=["small", "large"])
async def test_recovery_after_a_death_at_any_call(small: bool, resume: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not small:
        monkeypatch.setattr(commit, "SMALL", 10)  # all files are too large for the decision then

    async def seeded() -> tuple[Callable[[], FileSystem], State]:
        files = FilesAndUploads()
        store = lambda: FileSystem(Uploading(files)).over(Plain(resume=resume))  # noqa: E731 -- a new process each time
        await seed({"": store()})
        return store, await state_of({"": store()})

    alive = Dying()
    store, before = await seeded()
    after, left = await outcome(store, alive)
    assert after != before
    assert left == []
    theirs = [{"": {**state[""], "over/written": THEIRS}} for state in (before, after)]
    found = set()
    deaths = [(number, late) for number in range(1, len(alive.taken) + 1) for late in (False, True)]
    for number, late in deaths[::EVERY]:
        where = f"died {'after' if late else 'before'} {alive.taken[number - 1]}"
        for overwritten, expected in ((None, [before, after]), ("over/written", theirs)):
            store, _ = await seeded()
            state, left = await outcome(store, Dying(number, late=late), overwritten)
            assert left == [], where
            assert state in expected, where
            found.add((overwritten, expected.index(state)))
    assert len(found) == 4
