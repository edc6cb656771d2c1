"""Redis: redis-py and aiofs side by side, client CPU per operation, over a server of the benchmark's own.

`python tests/benchmarks/bench_redis.py`. Contenders take turns; a figure is the median of the rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis.asyncio

from aiofs.stores import RedisFileSystem

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.process import running
from servers.valkey import command

ROUNDS = 15
OPERATIONS = 320
SMALL = bytes(1024)
LARGE = bytes(64 << 20)
Operation = Callable[[], Awaitable[Any]]


async def cpu(operation: Operation, width: int, count: int) -> float:
    """Return the microseconds of this process's CPU that an operation takes, `width` at a time."""

    async def some() -> None:
        for _ in range(count // width):
            await operation()

    began = time.process_time()
    await asyncio.gather(*[some() for _ in range(width)])
    return (time.process_time() - began) / count * 1e6


async def measure(url: str) -> None:
    """Print a line for each operation."""
    async with redis.asyncio.Redis.from_url(url) as raw, RedisFileSystem(url) as fs:
        await raw.set("small", SMALL)
        await raw.mset({f"many:{number}": b"" for number in range(1000)})

        async def opened() -> None:
            async with fs.open("small") as file:
                await file.read()

        async def listed() -> None:
            async for _ in fs.ls("many"):
                pass

        async def scanned() -> None:
            async for _ in raw.scan_iter(match="many:*", count=1000):
                pass

        table: dict[str, tuple[int, int, dict[str, Operation]]] = {}
        for width in (1, 32):
            table[f"GET 1 KiB x{width}"] = (
                width,
                OPERATIONS,
                {
                    "redis-py": lambda: raw.get("small"),
                    "aiofs read_bytes": lambda: fs.read_bytes("small"),
                    "aiofs open+read": opened,
                },
            )
        table["SET 1 KiB"] = (
            1,
            OPERATIONS,
            {
                "redis-py": lambda: raw.set("new", SMALL),
                "aiofs locked": lambda: fs.write_bytes("new", SMALL),
            },
        )
        table["STRLEN, stat"] = (
            1,
            OPERATIONS,
            {"redis-py": lambda: raw.strlen("small"), "aiofs": lambda: fs.stat("small")},
        )
        table["1000 keys"] = (1, 10, {"redis-py": scanned, "aiofs": listed})
        table["SET 64 MiB"] = (
            1,
            1,
            {"redis-py": lambda: raw.set("large", LARGE), "aiofs": lambda: fs.write_bytes("large", LARGE)},
        )
        table["GET 64 MiB"] = (
            1,
            1,
            {"redis-py": lambda: raw.get("large"), "aiofs": lambda: fs.read_bytes("large")},
        )
        for what, (width, count, contenders) in table.items():
            taken: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(ROUNDS):
                for name, operation in contenders.items():
                    taken[name].append(await cpu(operation, width, count))
            medians = {name: statistics.median(times) for name, times in taken.items()}
            first = next(iter(medians.values()))
            print(
                f"{what:14}",
                *[f"{name} {time:.0f} µs ({time / first:.2f})" for name, time in medians.items()],
                sep="  ",
            )


def main() -> None:
    """Start a server and measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running("valkey", lambda port: command(port, Path(folder)), Path(folder)) as port,
    ):
        asyncio.run(measure(f"redis://127.0.0.1:{port}/0"))


if __name__ == "__main__":
    main()
