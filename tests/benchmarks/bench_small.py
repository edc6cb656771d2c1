"""What a plain read and write of 1 KiB cost here and in another checkout: memory, local files, S3.

`python tests/benchmarks/bench_small.py ../older/checkout`, after `git archive older | tar -x -C ../older/checkout`.
Processes of the two take turns. Each gives the least processor time of an operation that it saw in many short batches,
all its threads included, and a figure is the least of all processes: what else a machine does can only add to it.
Of files in memory it also counts the bytecode instructions, which are the same on a busy machine.
Without a checkout it measures only this one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType

HERE = Path(__file__).parents[2]
SMALL = bytes(1 << 10)
BATCHES, IN_MEMORY, ELSEWHERE = 30, 60, 20
TURNS = 12
Figures = dict[str, float]


async def least(operation: Callable[[], Awaitable[object]], count: int) -> float:
    """Return how many microseconds of the processor the operation takes, at least."""
    best = float("inf")
    gc.collect()
    gc.disable()
    for _ in range(BATCHES):
        begun = time.process_time_ns()
        for _ in range(count):
            await operation()
        best = min(best, (time.process_time_ns() - begun) / count / 1000)
    gc.enable()
    return best


async def instructions(operation: Callable[[], Awaitable[object]]) -> int:
    """Return how many bytecode instructions the operation takes: a busy machine does not change this number."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    await operation()
    sys.settrace(trace)  # type: ignore[arg-type] # it returns itself
    try:
        await operation()
    finally:
        sys.settrace(None)
    return count


async def measure(url: str, folder: str) -> Figures:
    """Measure the aiofs that is first on the path. What it is asked for is there in all versions."""
    import aiofs  # noqa: PLC0415 -- this checkout's or the other's

    s3 = {"endpoint_url": url, "access_key": "key", "secret_key": "secret", "region": "us-east-1"}
    found: Figures = {}
    async with AsyncExitStack() as stack:
        systems = {
            "memory": aiofs.MemoryFileSystem(),
            "local": aiofs.OSFileSystem(folder, durable=False),
            "S3": aiofs.S3FileSystem("bucket", locking="commit", **s3),  # type: ignore[arg-type]
            "S3, locks": aiofs.S3FileSystem("bucket", **s3),  # type: ignore[arg-type]
        }
        for name, fs in systems.items():
            await stack.enter_async_context(fs)
            await fs.write_bytes("small", SMALL)
            for what, operation in operations(fs):
                found[f"{name}: {what}"] = await least(operation, IN_MEMORY if name == "memory" else ELSEWHERE)
                if name == "memory":
                    found[f"{name}: {what}, instructions"] = await instructions(operation)
    return found


def operations(fs: object) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    """Yield what is measured."""
    system: aiofs.FileSystem = fs  # type: ignore[name-defined] # noqa: F821 -- see above

    async def opened_to_read() -> None:
        async with system.open("small") as file:
            await file.read()

    async def opened_to_write() -> None:
        async with system.open("new", "w") as file:
            await file.write(SMALL)

    yield "read_bytes", lambda: system.read_bytes("small")
    yield "open, read", opened_to_read
    yield "write_bytes", lambda: system.write_bytes("new", SMALL)
    yield "open, write", opened_to_write


def one_turn(checkout: Path, url: str) -> Figures:
    """Measure a checkout in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, str(Path(__file__).resolve()), "--url", url, folder)
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        run = subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    figures: Figures = json.loads(run.stdout)
    return figures


def compare(checkouts: list[Path], url: str, turns: int) -> None:
    """Have the checkouts take turns, and print a table."""
    seen: dict[Path, list[Figures]] = {checkout: [] for checkout in checkouts}
    for turn in range(turns):
        for checkout in checkouts if turn % 2 else checkouts[::-1]:
            seen[checkout].append(one_turn(checkout, url))
    print("µs of the processor:", ", ".join(str(checkout) for checkout in checkouts))
    for what in seen[checkouts[0]][0]:
        figures = [[each[what] for each in seen[checkout]] for checkout in checkouts]
        line = f"  {what:36}" + "".join(f"{min(each):9.1f}" for each in figures)
        if len(figures) > 1:
            pairs = [here / there for here, there in zip(*figures, strict=True)]
            line += f"   ratio {min(figures[0]) / min(figures[1]):.3f}, of pairs {statistics.median(pairs):.3f}"
        print(line)


def main() -> None:
    """Measure this checkout, and another one if it is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", help="the other checkout, or with --url the folder for local files")
    parser.add_argument("--url", help="measure once, and print the figures as JSON: S3 is at this URL")
    parser.add_argument("--turns", type=int, default=TURNS)
    given = parser.parse_args()
    if given.url:
        print(json.dumps(asyncio.run(measure(given.url, given.other))))
        return
    sys.path.insert(0, str(HERE / "tests"))
    from servers.process import HOST, running  # noqa: PLC0415 -- not with --url

    server = str(HERE / "tests" / "servers" / "canned_s3.py")
    with (
        tempfile.TemporaryDirectory() as folder,
        running("canned", lambda port: (sys.executable, server, str(port)), Path(folder)) as port,
    ):
        compare([HERE, *([Path(given.other).resolve()] if given.other else [])], f"http://{HOST}:{port}", given.turns)


if __name__ == "__main__":
    main()
