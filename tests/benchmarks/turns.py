"""Contenders take turns, so that what else the machine does meets all alike; a figure is the median of the rounds."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any

ROUNDS = 15
SMALL = bytes(1 << 10)
LARGE = bytes(64 << 20)
Operation = Callable[[], Awaitable[Any]]
Operations = Mapping[str, Operation]


async def compare(contenders: Mapping[str, Operations], plan: Iterable[tuple[str, int, int]]) -> None:
    """Have all who can take turns at one operation after another: its name, its width and its count."""
    for what, width, count in plan:
        able = {name: operations[what] for name, operations in contenders.items() if what in operations}
        await take_turns(what, able, width=width, count=count)


async def through(items: AsyncIterable[Any]) -> None:
    """Go through a listing, or another iterable, to its end."""
    async for _ in items:
        pass


async def take_turns(what: str, contenders: Mapping[str, Operation], *, width: int = 1, count: int = 1) -> None:
    """Print what one operation takes each contender, in rounds of `count` of which `width` go on at a time.

    That is this process's CPU, all threads included, its ratio to the first contender's, and the time that passes.
    """
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, operation in contenders.items():
            rounds[name].append(await _one_round(operation, width, count))
    medians = {name: [statistics.median(times) for times in zip(*taken, strict=True)] for name, taken in rounds.items()}
    first, _ = next(iter(medians.values()))
    print(f"{what}, {width} at a time" if width > 1 else what)
    for name, (cpu, passed) in medians.items():
        print(f"  {name:20} {cpu:10.3f} ms CPU  ({cpu / first:.2f})  {passed:10.3f} ms passed", flush=True)


async def _one_round(operation: Operation, width: int, count: int) -> tuple[float, float]:
    async def some() -> None:
        for _ in range(count // width):
            await operation()

    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[some() for _ in range(width)])
    return (time.process_time() - cpu) / count * 1e3, (time.perf_counter() - began) / count * 1e3
