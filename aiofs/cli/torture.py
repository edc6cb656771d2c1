"""`python -m aiofs torture URL`: a transaction is killed at every step, and recovered, on a store of your own.

For each step a child process begins the same transaction and dies by SIGKILL at that step. Then everything is
recovered, and the files must be all as before or all as after, with nothing else left. All of it happens in a new
folder of the store, which is removed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from aiofs.layers.names import Prefix
from aiofs.testing.kills import Nursery, orphans_of, seed, state_of
from aiofs.transactions.transaction import recover
from aiofs.urls import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.filesystem import FileSystem
    from aiofs.testing.kills import State

PAUSE = 0.2
Verdict = Literal["before", "after", "NEITHER", "ORPHANS"]


@dataclass(frozen=True)
class Place:
    """A new folder in one store or two, opened anew by every process."""

    urls: tuple[str, ...]
    folder: str

    def __call__(self) -> dict[str, FileSystem]:
        """Open a folder in each store, of its own even where two are the same."""
        numbered = {f"store {number}": url for number, url in enumerate(self.urls, start=1)}
        stores = numbered if len(numbered) > 1 else {"": self.urls[0]}
        return {name: connect(url).over(Prefix(f"{self.folder}/{name or 'store'}/")) for name, url in stores.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take one URL or two, and how much is wanted."""
    parser.add_argument("url", nargs="+", type=_store, help="as for aiofs.connect; two for transactions over both")
    parser.add_argument("--kills", type=_count, metavar="N", help="take N steps instead of all")
    parser.add_argument("--patience", type=_seconds, default=90, metavar="SECONDS", help="wait so long for dead locks")


def run(arguments: argparse.Namespace) -> int:
    """Torture the store. The status is 1 if what was found is neither before nor after, 2 if nothing could be done."""
    if any(urlsplit(url).scheme == "memory" for url in arguments.url):
        _say("memory ends with its process: there is nothing to recover")
        return 2
    place = Place(tuple(arguments.url), f"torture-{uuid.uuid4().hex[:12]}")
    try:
        before = asyncio.run(_begin_anew(place))
    except OSError as error:
        _say(f"the store cannot be used: {error}")
        with suppress(OSError):
            asyncio.run(_clear(place))
        return 2
    try:
        return _torture(place, before, arguments.kills, arguments.patience)
    finally:
        asyncio.run(_clear(place, arguments.patience))


def _store(url: str) -> str:
    try:
        connect(url)
    except (ValueError, ImportError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None  # which, unlike others, is shown without the value
    return url


def _count(word: str) -> int:
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"{word!r} is no number of steps")
    return int(word)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of seconds")
    return seconds


def _torture(place: Place, before: State, kills: int | None, patience: float) -> int:
    nursery = Nursery()
    whole = nursery.run(place, "body")
    after = asyncio.run(_state(place))
    steps = _spread(whole.steps, kills or whole.steps)
    _say(f"A transaction of {whole.steps} steps; it is killed at {len(steps)} of them.\n")
    _say("step  killed  recovered to")
    count: Counter[Verdict] = Counter()
    for number in steps:
        asyncio.run(_begin_anew(place, patience))
        killed = nursery.run(place, "body", number).killed
        verdict = asyncio.run(_recovered(place, before, after, patience))
        count[verdict] += 1
        _say(f"{number:4}  {'yes' if killed else 'no ':6}  {verdict}")
    _say("\n" + ", ".join(f"{number} x {verdict}" for verdict, number in sorted(count.items())))
    return 1 if count["NEITHER"] or count["ORPHANS"] else 0


def _spread(steps: int, kills: int) -> list[int]:
    """Return the numbers of `kills` steps, from the first to the last."""
    kills = min(kills, steps)
    return sorted({1 + (steps - 1) * turn // max(1, kills - 1) for turn in range(kills)})


@asynccontextmanager
async def _opened(place: Place) -> AsyncIterator[dict[str, FileSystem]]:
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(system) for name, system in place().items()}


async def _begin_anew(place: Place, patience: float = 0) -> State:
    await _clear(place, patience)
    async with _opened(place) as stores:
        await seed(stores)
    return await _state(place)


async def _state(place: Place) -> State:
    async with _opened(place) as stores:
        return await state_of(stores)


async def _clear(place: Place, patience: float = 0) -> None:
    """Remove the files, once the locks of the dead have run out."""
    deadline = time.monotonic() + patience
    async with _opened(place) as stores:
        for system in stores.values():
            while True:
                try:
                    await system.rm(glob="**")
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(PAUSE)


async def _recovered(place: Place, before: State, after: State, patience: float) -> Verdict:
    """Recover, as soon as the locks of the dead have run out, and say what is there then."""
    async with _opened(place) as stores:
        deadline = time.monotonic() + patience
        while True:
            report = await recover(stores.get("", stores))
            if not report.live or time.monotonic() > deadline:
                break
            await asyncio.sleep(PAUSE)
        state = await state_of(stores)
        if state not in (before, after):
            return "NEITHER"
        if await orphans_of(stores):
            return "ORPHANS"
        return "before" if state == before else "after"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
