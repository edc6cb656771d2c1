"""The same work for many items, a bounded number of them at the same time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")

WIDTH = 16
"""How many items are worked on at the same time: as many as a server gets connections."""


async def each(items: Iterable[T], work: Callable[[T], Awaitable[object]], *, all_of_them: bool = False) -> None:
    """Do the work for all items. After a failure, which is raised at the end, no more are begun but `all_of_them`."""
    known = list(items)
    if len(known) == 1:
        await work(known[0])
        return
    left = iter(known)
    failures: list[Exception] = []

    async def worker() -> None:
        for item in left:
            if failures and not all_of_them:
                return
            try:
                await work(item)
            except Exception as error:  # noqa: BLE001 -- the first one is raised below, when all have ended
                failures.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(WIDTH, len(known))):
            group.create_task(worker())
    if failures:
        raise failures[0]


async def results(items: AsyncGenerator[T], work: Callable[[T], Awaitable[R]]) -> AsyncIterator[R]:
    """Yield what the work returns for each item, in no order. A failure ends all of it."""
    running: set[asyncio.Future[R]] = set()
    try:
        async with aclosing(items):
            async for item in items:
                running.add(asyncio.ensure_future(work(item)))
                if len(running) == WIDTH:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for done in [future for future in running if future.done()]:
                        yield done.result()
                        running.discard(done)
        for future in list(running):
            yield await future
            running.discard(future)
    finally:
        for future in running:
            future.cancel()
        await asyncio.gather(*running, return_exceptions=True)
