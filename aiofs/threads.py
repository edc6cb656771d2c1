"""The thread hop: blocking calls off the loop, and nothing lost when the caller is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

from aiofs.shield import finish

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def hop(function: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]) -> T:
    """Call `function` in a worker thread and return what it returns.

    Cancelled meanwhile, it waits for the call to end before it raises: nothing in flight outlives the await.
    """
    return await finish(_call(function, *args))


async def _call(function: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
