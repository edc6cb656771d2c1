"""Redis: redis-py and aiofs side by side, over a server of the benchmark's own.

`python tests/benchmarks/bench_redis.py`; what is measured, `turns.py` says.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import redis.asyncio
from turns import LARGE, SMALL, take_turns, through

from aiofs.stores import RedisFileSystem

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.process import running
from servers.valkey import command

OPERATIONS = 320


async def measure(url: str) -> None:
    """Print a line for each operation."""
    async with redis.asyncio.Redis.from_url(url) as raw, RedisFileSystem(url) as fs:
        await raw.set("small", SMALL)
        await raw.mset({f"many:{number}": b"" for number in range(1000)})

        async def opened() -> None:
            async with fs.open("small") as file:
                await file.read()

        reads = {
            "redis-py": lambda: raw.get("small"),
            "aiofs": lambda: fs.read_bytes("small"),
            "aiofs open+read": opened,
        }
        await take_turns("GET 1 KiB", reads, count=OPERATIONS)
        await take_turns("GET 1 KiB", reads, width=32, count=OPERATIONS)
        writes = {"redis-py": lambda: raw.set("new", SMALL), "aiofs locked": lambda: fs.write_bytes("new", SMALL)}
        await take_turns("SET 1 KiB", writes, count=OPERATIONS)
        looks = {"redis-py": lambda: raw.strlen("small"), "aiofs": lambda: fs.stat("small")}
        await take_turns("STRLEN, stat", looks, count=OPERATIONS)
        listings = {
            "redis-py": lambda: through(raw.scan_iter(match="many:*", count=1000)),
            "aiofs": lambda: through(fs.ls("many")),
        }
        await take_turns("1000 keys", listings, count=10)
        large = {"redis-py": lambda: raw.set("large", LARGE), "aiofs": lambda: fs.write_bytes("large", LARGE)}
        await take_turns("SET 64 MiB", large)
        large = {"redis-py": lambda: raw.get("large"), "aiofs": lambda: fs.read_bytes("large")}
        await take_turns("GET 64 MiB", large)


def main() -> None:
    """Start a server and measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running("valkey", lambda port: command(port, Path(folder)), Path(folder)) as port,
    ):
        asyncio.run(measure(f"redis://127.0.0.1:{port}/0"))


if __name__ == "__main__":
    main()
