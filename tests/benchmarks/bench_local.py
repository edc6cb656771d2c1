"""Local files: blocking `open`, aiofiles, aiofile, anyio and aiofs side by side, into docs/benchmarks.md.

`python tests/benchmarks/bench_local.py [--rounds N] [workload ...]`, on Linux best beneath `taskset -c 1`.
All contenders take turns in one process; a figure is the median of its rounds, a ratio that of medians. What is
measured is the processor's time: on one processor it is the time that passes, without that of other processes.
"""

from __future__ import annotations

import argparse
import asyncio
import builtins
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiofile
import anyio
import local_report
import uvloop

import aiofiles
from aiofs import aiofiles as ours
from aiofs.localio import devices

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB, MIB = 1024, 1024 * 1024
ALL_LINES = 1_000_000
LONG = 0.25
"""Seconds that one measurement is stretched to, where an operation is short."""
CONTENDERS = ("blocking", "aiofiles", "aiofile", "anyio", "aiofs")
CLOCK = time.process_time
"""Of all threads of this process: on one processor that is what passes, but for what other processes take meanwhile."""
Work = Callable[["Contender", int], Awaitable[int]]


@dataclass
class Workload:
    """Something to do a number of times, and the goals for it: at least × aiofiles, at most × blocking."""

    name: str
    unit: str
    work: Work
    most: int
    times_aiofiles: float | None = None
    times_blocking: float | None = None


class Contender:
    """One way to work with files, its differences from aiofiles' smoothed over."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = str(folder)

    def open(self, name: str, mode: str) -> Any:
        path = f"{self.folder}/{name}"
        match self.name:
            case "aiofiles":
                return aiofiles.open(path, mode)
            case "aiofile":
                return aiofile.async_open(path, mode)
            case "anyio":
                return _Anyio(path, mode)
            case _:
                return ours.open(path, mode)

    async def seek(self, file: Any, offset: int) -> None:
        result = file.seek(offset)
        if result is not None and self.name != "aiofile":
            await result


class _Anyio:
    """anyio opens in one step and enters in another."""

    def __init__(self, path: str, mode: str) -> None:
        self._opening = anyio.open_file(path, mode)  # type: ignore[call-overload]

    async def __aenter__(self) -> Any:
        self._file = await self._opening
        return self._file

    async def __aexit__(self, *_: object) -> None:
        await self._file.aclose()


# The workloads. Each is written twice: as a program that blocks would do it, and as all others.


def small(mode: str) -> Work:
    async def work(who: Contender, count: int) -> int:
        if who.name == "blocking":
            for _ in range(count):
                with builtins.open(f"{who.folder}/small", mode) as file:
                    file.read()
        else:
            for _ in range(count):
                async with who.open("small", mode) as file:
                    await file.read()
        return count

    return work


async def many(who: Contender, count: int) -> int:
    names = [f"many/{number % 1000}" for number in range(count)]
    if who.name == "blocking":
        for name in names:
            with builtins.open(f"{who.folder}/{name}", "rb") as file:
                file.read()
        return count
    waiting = iter(names)

    async def reader() -> None:
        for name in waiting:
            async with who.open(name, "rb") as file:
                await file.read()

    await asyncio.gather(*(reader() for _ in range(64)))
    return count


def lines(mode: str) -> Work:
    async def work(who: Contender, count: int) -> int:
        """Read all lines; of those who take long for each, only `count`."""
        if who.name == "blocking":
            with builtins.open(f"{who.folder}/lines", mode) as file:
                for _line in file:
                    pass
            return ALL_LINES
        if who.name in {"aiofs", "aiofile"}:
            async with who.open("lines", mode) as file:
                async for _line in file:
                    pass
            return ALL_LINES
        left = count
        async with who.open("lines", mode) as file:
            async for _line in file:
                left -= 1
                if not left:
                    break
        return count

    return work


def writes(mode: str, size: int) -> Work:
    data: Any = "x" * size if "b" not in mode else b"x" * size

    async def work(who: Contender, count: int) -> int:
        if who.name == "blocking":
            with builtins.open(f"{who.folder}/written", mode) as file:
                file.writelines(data for _ in range(count))
            return count
        async with who.open("written", mode) as file:
            for _ in range(count):
                await file.write(data)
        return count

    return work


async def random_reads(who: Contender, count: int) -> int:
    chance = random.Random(1)
    places = [chance.randrange(256 * MIB - 4 * KIB) for _ in range(count)]
    if who.name == "blocking":
        with builtins.open(f"{who.folder}/big", "rb") as file:
            for place in places:
                file.seek(place)
                file.read(4 * KIB)
        return count
    async with who.open("big", "rb") as file:
        for place in places:
            await who.seek(file, place)
            await file.read(4 * KIB)
    return count


async def chunks(who: Contender, count: int) -> int:
    if who.name == "blocking":
        with builtins.open(f"{who.folder}/big", "rb") as file:
            for _ in range(count):
                file.read(64 * KIB)
        return count
    async with who.open("big", "rb") as file:
        for _ in range(count):
            await file.read(64 * KIB)
    return count


async def whole(who: Contender, count: int) -> int:
    for _ in range(count):
        if who.name == "blocking":
            with builtins.open(f"{who.folder}/big", "rb") as file:
                file.read()
        else:
            async with who.open("big", "rb") as file:
                await file.read()
    return count


WORKLOADS = [
    Workload("small", "open, read and close 1 KiB, bytes", small("rb"), 20_000, 10, 2.5),
    Workload("small-text", "open, read and close 1 KiB, text", small("r"), 20_000, 10, 2.5),
    Workload("many", "open, read and close 4 KiB, 64 at once", many, 10_000, 3),
    Workload("lines", "read a line of 50 bytes", lines("rb"), 1_000_000, 100, 2.8),
    Workload("lines-text", "read a line of 50 characters of text", lines("r"), 1_000_000, 100, 3.2),
    Workload("writes", "write 100 bytes", writes("wb", 100), 200_000, 100, 2.0),
    Workload("writes-text", "write 100 characters of text", writes("w", 100), 200_000, 100, 2.5),
    Workload("random", "seek and read 4 KiB", random_reads, 20_000, 14, 2.0),
    Workload("chunks", "read 64 KiB on and on", chunks, 4096, 2.5, 1.4),
    Workload("whole", "read 256 MiB at once", whole, 1, 1.0, 1.0),
    Workload("mebibytes", "write 1 MiB", writes("wb", MIB), 256),
]

WITHOUT_NOWAIT = [
    Workload("small", "open, read and close 1 KiB, bytes", small("rb"), 20_000, 3),
    Workload("lines", "read a line of 50 bytes", lines("rb"), 1_000_000, 100),
    Workload("lines-text", "read a line of 50 characters of text", lines("r"), 1_000_000, 100),
    Workload("writes", "write 100 bytes", writes("wb", 100), 200_000, 100),
    Workload("random", "seek and read 4 KiB", random_reads, 20_000),
    Workload("chunks", "read 64 KiB on and on", chunks, 4096),
]
ON_UVLOOP = [
    Workload("small", "open, read and close 1 KiB, bytes", small("rb"), 20_000, 8),
    Workload("lines", "read a line of 50 bytes", lines("rb"), 1_000_000),
    Workload("writes", "write 100 bytes", writes("wb", 100), 200_000),
]


def prepare(folder: Path) -> None:
    """Lay out the files, all of them in the page cache."""
    (folder / "small").write_bytes(os.urandom(512).hex().encode())
    (folder / "many").mkdir()
    for number in range(1000):
        (folder / f"many/{number}").write_bytes(os.urandom(4 * KIB))
    with (folder / "lines").open("wb") as file:
        file.writelines(b"line number %09d, and then some more of it\n" % number for number in range(ALL_LINES))
    with (folder / "big").open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(MIB))


async def measure(work: Work, who: Contender, count: int) -> float:
    """Return the seconds that one operation took, of the processor's time.

    What is written is a new file each time, and the system is done with the one before: to cut that takes about as long
    as writing it, and aiofile leaves work to whoever comes next.
    """
    with suppress(FileNotFoundError):
        os.unlink(f"{who.folder}/written")
        os.sync()
    began = CLOCK()
    done = await work(who, count)
    return (CLOCK() - began) / done


async def calibrate(workload: Workload, who: Contender) -> int:
    """Return how many operations make up a measurement."""
    count = min(200, workload.most)
    await workload.work(who, count)
    each = await measure(workload.work, who, count)
    return max(1, min(workload.most, int(LONG / each)))


async def compare(workload: Workload, folder: Path, rounds: int) -> dict[str, float]:
    """Return the median seconds per operation of each contender, who take turns."""
    contenders = [Contender(name, folder) for name in CONTENDERS]
    counts = {who.name: await calibrate(workload, who) for who in contenders}
    taken: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    chance = random.Random(1)
    for _ in range(rounds):
        for who in chance.sample(contenders, len(contenders)):  # nobody always comes after the same one
            taken[who.name].append(await measure(workload.work, who, counts[who.name]))
    return {name: statistics.median(times) for name, times in taken.items()}


async def longest_hold(folder: Path, mode: str) -> float:
    """Return for how many seconds of work one task that reads lines keeps the others from running, at most."""
    longest, done = 0.0, False

    async def read() -> None:
        nonlocal done
        async with ours.open(folder / "lines", mode) as file:
            async for _line in file:
                pass
        done = True

    reader = asyncio.ensure_future(read())
    last = time.thread_time()
    while not done:
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    await reader
    return longest


@contextmanager
def without_nowait(folder: Path) -> Iterator[None]:
    """Take the disk for one where no read can be tried without waiting."""
    number = folder.stat().st_dev
    devices.forget(number)
    asyncio.run(measure(small("rb"), Contender("aiofs", folder), 1))
    device = devices.known_device(number)
    assert device is not None
    device.nowait = False
    try:
        yield
    finally:
        devices.forget(number)


def measured(
    workloads: list[Workload], folder: Path, rounds: int, *, fast_loop: bool = False
) -> list[local_report.Row]:
    """Measure, and say so as it goes."""
    rows = []
    for workload in workloads:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if fast_loop else None) as runner:
            seconds = runner.run(compare(workload, folder, rounds))
        goals = workload.times_aiofiles, workload.times_blocking
        rows.append(local_report.Row(workload.name, workload.unit, *goals, seconds))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, print, and write the tables and the plot."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("workloads", nargs="*", metavar="workload", help="only these, and write nothing")
    options.add_argument("--rounds", type=int, default=10)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        prepare(folder)
        if chosen.workloads:
            measured([one for one in WORKLOADS if one.name in chosen.workloads], folder, chosen.rounds)
            return
        pinned = measured(WORKLOADS, folder, chosen.rounds)
        hold = max(
            statistics.median(asyncio.run(longest_hold(folder, mode)) for _ in range(chosen.rounds))
            for mode in ("rb", "r")
        )
        with without_nowait(folder):
            slow = measured(WITHOUT_NOWAIT, folder, chosen.rounds)
        on_uvloop = measured(ON_UVLOOP, folder, chosen.rounds, fast_loop=True)
    local_report.Report(pinned, slow, on_uvloop, hold).write()


if __name__ == "__main__":
    main()
