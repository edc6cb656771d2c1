"""`python -m aiofs torture URL`: a transaction is killed at every step, and recovered, on a store of your own.

For each step a child process begins the same transaction and dies by SIGKILL at that step. Then everything is
recovered, and the files must be all as before or all as after, with nothing else left. All of it happens in a new
folder of the store, which is removed at the end.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aiofs.transactions.kills import Nursery, orphans_of, seed, state_of
from aiofs.transactions.system import recover
from aiofs.urls import connect

if TYPE_CHECKING:
    import argparse

    from aiofs.filesystem import FileSystem
    from aiofs.transactions.kills import State

Verdict = Literal["before", "after", "NEITHER", "ORPHANS"]


@dataclass(frozen=True)
class Place:
    """A new folder in one store or two, opened anew by every process."""

    urls: tuple[str, ...]
    folder: str

    def __call__(self) -> dict[str, FileSystem]:
        """Open the folder in each store."""
        names = [""] if len(self.urls) == 1 else [f"store {number}" for number in range(1, len(self.urls) + 1)]
        return {name: connect(url).at(self.folder) for name, url in zip(names, self.urls, strict=True)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take one URL or two, and how much is wanted."""
    parser.add_argument("url", nargs="+", help="a store, as for aiofs.connect; two for transactions over both")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="take N steps instead of all")
    parser.add_argument("--patience", type=float, default=90, metavar="SECONDS", help="wait so long for dead locks")


def run(arguments: argparse.Namespace) -> int:
    """Torture the store; the exit status is 1 if anything was found that is neither before nor after."""
    if any(url.startswith("memory:") for url in arguments.url):
        _say("memory ends with its process: there is nothing to recover")
        return 2
    place = Place(tuple(arguments.url), f"torture-{uuid.uuid4().hex[:12]}")
    nursery = Nursery()
    try:
        return _torture(place, nursery, arguments.kills, arguments.patience)
    finally:
        asyncio.run(_clear(place))


def _torture(place: Place, nursery: Nursery, kills: int, patience: float) -> int:
    before = asyncio.run(_begin_anew(place))
    whole = nursery.run(place, "body")
    after = asyncio.run(_state(place))
    every = max(1, whole.steps // kills) if kills else 1
    steps = range(1, whole.steps + 1, every)
    _say(f"A transaction of {whole.steps} steps; it is killed at {len(steps)} of them.\n")
    _say("step  killed  recovered to")
    count: Counter[Verdict] = Counter()
    for number in steps:
        asyncio.run(_begin_anew(place))
        killed = nursery.run(place, "body", number).killed
        verdict = asyncio.run(_recovered(place, before, after, patience))
        count[verdict] += 1
        _say(f"{number:4}  {'yes' if killed else 'no ':6}  {verdict}")
    _say("\n" + ", ".join(f"{number} x {verdict}" for verdict, number in sorted(count.items())))
    return 1 if count["NEITHER"] or count["ORPHANS"] else 0


async def _begin_anew(place: Place) -> State:
    await _clear(place)
    stores = place()
    await seed(stores)
    return await _state(place)


async def _state(place: Place) -> State:
    stores = place()
    try:
        return await state_of(stores)
    finally:
        for system in stores.values():
            await system.aclose()


async def _clear(place: Place) -> None:
    for system in place().values():
        names = [name async for name in system.ls()]
        if names:
            await system.rm(*names)


async def _recovered(place: Place, before: State, after: State, patience: float) -> Verdict:
    """Recover, as soon as the locks of the dead have run out, and say what is there then."""
    stores = place()
    deadline = time.monotonic() + patience
    while True:
        report = await recover(stores.get("", stores))
        if not report.live or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    state = await state_of(stores)
    if state not in (before, after):
        return "NEITHER"
    if await orphans_of(stores):
        return "ORPHANS"
    return "before" if state == before else "after"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
