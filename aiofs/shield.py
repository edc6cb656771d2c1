"""Clean-up that a cancellation cannot cut in half."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when the caller is cancelled meanwhile.

    A cancellation that arrives is kept and raised once the work has ended; an error of the work then is its cause.
    """
    begun = False

    async def begin() -> T:
        nonlocal begun
        begun = True
        return await work

    cancelled: asyncio.CancelledError | None = None
    while True:
        task = asyncio.ensure_future(begin())
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
        if begun:
            break  # a loop that ends cancels all its tasks, those too that it was just given
    if cancelled is None:
        return task.result()
    if task.cancelled():
        raise cancelled
    raise cancelled from task.exception()
