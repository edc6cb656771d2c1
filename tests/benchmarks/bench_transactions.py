"""Transactions: what they cost beside plain writes, on local files, in memory, and on S3 in requests.

`python tests/benchmarks/bench_transactions.py`. Contenders take turns; a figure is the median of the rounds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiofs

sys.path.insert(0, str(Path(__file__).parents[1]))
from backends.s3.front import Front
from servers.moto import S3Server, moto
from servers.process import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FILES = 10
ROUNDS = 30
SMALL = b"x" * 1000


async def one_after_another(fs: aiofs.FileSystem) -> None:
    """Write the files, each published and on the disk before the next is begun."""
    for number in range(FILES):
        await fs.write_bytes(f"folder/{number}", SMALL)


async def at_once(fs: aiofs.FileSystem) -> None:
    """Write the files at the same time."""
    await asyncio.gather(*(fs.write_bytes(f"folder/{number}", SMALL) for number in range(FILES)))


async def in_a_transaction(fs: aiofs.FileSystem) -> None:
    """Write the files, all or none."""
    async with aiofs.transaction(fs) as tx:
        await one_after_another(tx)


async def read(fs: aiofs.FileSystem) -> None:
    """Read the files."""
    for number in range(FILES):
        await fs.read_bytes(f"folder/{number}")


async def read_in_a_transaction(fs: aiofs.FileSystem) -> None:
    """Read the files within a transaction."""
    async with aiofs.transaction(fs) as tx:
        await read(tx)


WRITING = (one_after_another, at_once, in_a_transaction)
READING = (read, read_in_a_transaction)


async def compared(
    contenders: tuple[Callable[[aiofs.FileSystem], Awaitable[None]], ...],
    prepare: Callable[[], Awaitable[aiofs.FileSystem]],
) -> dict[str, float]:
    """Return the milliseconds that each contender takes, the first time not counted."""
    taken: dict[str, list[float]] = {contender.__name__: [] for contender in contenders}
    for _ in range(ROUNDS + 1):
        for contender in contenders:
            fs = await prepare()
            began = time.perf_counter()
            await contender(fs)
            taken[contender.__name__].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def say(title: str, results: dict[str, float]) -> None:
    """Print a line for each contender, with how it compares with the first."""
    print(title)
    first = next(iter(results.values()))
    for name, milliseconds in results.items():
        print(f"  {name.replace('_', ' '):24}{milliseconds:9.2f} ms{milliseconds / first:7.2f}")


async def local(folder: str) -> None:
    """Measure local files, new ones and ones that are there."""
    for durable in (True, False):
        number = 0

        async def fresh(durable: bool = durable) -> aiofs.FileSystem:
            nonlocal number
            number += 1
            return aiofs.OSFileSystem(os.path.join(folder, f"{durable}-{number}"), durable=durable)

        async def filled() -> aiofs.FileSystem:
            fs = await fresh()
            await at_once(fs)
            return fs

        say(f"{FILES} small files, new, durable={durable}", await compared(WRITING, fresh))

        async def used() -> aiofs.FileSystem:
            fs = await filled()
            async with aiofs.transaction(fs):
                return fs

        say(f"{FILES} small files, overwritten, durable={durable}", await compared(WRITING, filled))
    say(f"reading {FILES} small files", await compared(READING, used))
    say(f"reading {FILES} small files, the first transaction of a file system", await compared(READING, filled))


async def memory() -> None:
    """Measure files in memory: what the machinery itself takes."""

    async def fresh() -> aiofs.FileSystem:
        return aiofs.MemoryFileSystem()

    say(f"{FILES} small files in memory", await compared(WRITING, fresh))


async def requests(folder: str) -> None:
    """Count requests to S3."""
    with moto(Path(folder)) as port:
        server = S3Server(f"http://{HOST}:{port}", bucket="benchmark")
        client = server.client()
        client.create_bucket(Bucket=server.bucket)
        client.close()
        async with Front(server.endpoint_url) as front:
            seen = server.through(front.port)
            async with aiofs.S3FileSystem(
                seen.bucket,
                endpoint_url=seen.endpoint_url,
                access_key=seen.access_key,
                secret_key=seen.secret_key,
                region=seen.region,
            ) as fs:
                await in_a_transaction(fs)  # finds out what the server can do, and looks for unfinished ones
                print(f"{FILES} small files on S3, overwritten")
                for contender in (one_after_another, in_a_transaction):
                    front.asked.clear()
                    await contender(fs)
                    print(f"  {contender.__name__.replace('_', ' '):24}{len(front.asked):9} requests")


async def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as folder:
        await local(os.path.join(folder, "local"))
        await memory()
        await requests(folder)


if __name__ == "__main__":
    asyncio.run(main())
