"""`python -m aiofs torture URL`: a transaction is killed at every step, and recovered, on a store of your own.

For each step, a child process begins the same transaction and is killed by SIGKILL at that step. Then the transaction
is recovered, and all files must be as before it or as after it, with nothing else left. All of this happens in a new
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
from aiofs.testing.kills import ChildProcesses, orphans_of, seed, state_of
from aiofs.transactions.transaction import recover
from aiofs.urls import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.filesystem import FileSystem
    from aiofs.testing.kills import State

PAUSE = 0.2
Verdict = Literal["before", "after", "NEITHER", "ORPHANS"]


@dataclass(frozen=True)
class TortureFolder:
    """A new folder in one store or two. Each process opens it with connections of its own."""

    urls: tuple[str, ...]
    folder: str

    def __call__(self) -> dict[str, FileSystem]:
        """Open one folder in each store. If both URLs are the same, the two folders still differ."""
        numbered = {f"store {number}": url for number, url in enumerate(self.urls, start=1)}
        stores = numbered if len(numbered) > 1 else {"": self.urls[0]}
        return {name: connect(url).over(Prefix(f"{self.folder}/{name or 'store'}/")) for name, url in stores.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the URLs, and how many steps to take and how long to wait."""
    parser.add_argument("url", nargs="+", type=_store, help="as for aiofs.connect; two for transactions over both")
    parser.add_argument("--kills", type=_count, metavar="N", help="take N steps instead of all")
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=90,
        metavar="SECONDS",
        help="wait so long for the locks of killed processes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Kill and recover at each step.

    Return 1 if files were neither as before nor as after, and 2 if the store cannot be used.
    """
    if any(urlsplit(url).scheme == "memory" for url in arguments.url):
        _say("memory:// ends with its process, so there is nothing to recover; use the URL of another store")
        return 2
    place = TortureFolder(tuple(arguments.url), f"torture-{uuid.uuid4().hex[:12]}")
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
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of steps")
    return int(word)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds")
    return seconds


def _torture(place: TortureFolder, before: State, kills: int | None, patience: float) -> int:
    children = ChildProcesses()
    whole = children.run(place, "body")
    after = asyncio.run(_state(place))
    steps = _spread(whole.steps, kills or whole.steps)
    _say(f"A transaction of {whole.steps} steps; it is killed at {len(steps)} of them.\n")
    _say("step  killed  recovered to")
    count: Counter[Verdict] = Counter()
    for number in steps:
        asyncio.run(_begin_anew(place, patience))
        killed = children.run(place, "body", number).killed
        verdict = asyncio.run(_recovered(place, before, after, patience))
        count[verdict] += 1
        _say(f"{number:4}  {'yes' if killed else 'no ':6}  {verdict}")
    _say("\n" + ", ".join(f"{number} x {verdict}" for verdict, number in sorted(count.items())))
    return 1 if count["NEITHER"] or count["ORPHANS"] else 0


def _spread(steps: int, kills: int) -> list[int]:
    """Return the numbers of `kills` steps, spread evenly from the first step to the last."""
    kills = min(kills, steps)
    return sorted({1 + (steps - 1) * turn // max(1, kills - 1) for turn in range(kills)})


@asynccontextmanager
async def _opened(place: TortureFolder) -> AsyncIterator[dict[str, FileSystem]]:
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(system) for name, system in place().items()}


async def _begin_anew(place: TortureFolder, patience: float = 0) -> State:
    await _clear(place, patience)
    async with _opened(place) as stores:
        await seed(stores)
    return await _state(place)


async def _state(place: TortureFolder) -> State:
    async with _opened(place) as stores:
        return await state_of(stores)


async def _clear(place: TortureFolder, patience: float = 0) -> None:
    """Remove the files. Wait up to `patience` seconds for the locks of killed processes to run out."""
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


async def _recovered(place: TortureFolder, before: State, after: State, patience: float) -> Verdict:
    """Recover when the locks of killed processes have run out, and return what is there then."""
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
