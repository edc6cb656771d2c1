"""Blocking code and asyncio side by side, on files in memory: what the way to the loop and back costs.

`python tests/benchmarks/bench_blocking.py` prints medians of rounds in which the contenders take turns.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import threading
import time
from typing import TYPE_CHECKING

import aiofs
from aiofs import blocking

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS, READS = 15, 1000, 100_000
SMALL = bytes(1024)
LARGE = bytes(range(256)) * 800


def each(work: Callable[[], object], count: int) -> float:
    """How many microseconds of the processor one of `count` calls takes."""
    begun = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - begun) / count * 1e6


async def each_awaited(fs: aiofs.FileSystem, count: int) -> float:
    begun = time.process_time()
    for _ in range(count):
        await fs.read_bytes("small")
    return (time.process_time() - begun) / count * 1e6


def reads(file: io.BufferedReader) -> float:
    """How many microseconds of the processor a `read` of 1 byte takes that the buffer serves."""
    file.seek(0)
    file.read(1)
    return each(lambda: file.read(1), READS)


def main() -> None:
    """Measure, and print a table."""
    fs = aiofs.MemoryFileSystem()
    twin = fs.blocking
    twin.write_bytes("small", SMALL)
    twin.write_bytes("large", LARGE)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    awaited, waited, by_asyncio, ours, builtin = [], [], [], [], []
    with twin.open("large") as file:
        for _ in range(ROUNDS):
            awaited.append(asyncio.run(each_awaited(fs, CALLS)))
            waited.append(each(lambda: twin.read_bytes("small"), CALLS))
            by_asyncio.append(
                each(lambda: asyncio.run_coroutine_threadsafe(fs.read_bytes("small"), loop).result(), CALLS)
            )
            ours.append(reads(file))
            builtin.append(reads(io.BufferedReader(io.BytesIO(LARGE), 1 << 18)))  # type: ignore[arg-type]
    before, after, usual = map(statistics.median, (awaited, waited, by_asyncio))
    print(f"read_bytes of 1 KiB: {before:.1f} µs awaited, {after:.1f} µs blocking: {after - before:.1f} µs more")
    ratio = (usual - before) / (after - before)
    print(f"the same by asyncio.run_coroutine_threadsafe: {usual:.1f} µs: {ratio:.2f} × as much more")
    own, python = statistics.median(ours), statistics.median(builtin)
    print(f"read(1) from the buffer: {python:.3f} µs builtin, {own:.3f} µs blocking: {own / python:.2f} ×")
    blocking.shutdown()


if __name__ == "__main__":
    main()
