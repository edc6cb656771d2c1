"""Timeout and Throttle: layers that limit how long a call takes, and how much is asked of a store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from aiofs.errors import AiofsError, TimedOut
from aiofs.layers.calls import EachCall, positive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.driver import Capabilities

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_LOOKING = frozenset(
    {
        *("stat", "read", "chunk", "seek", "aclose", "list", "lock", "begin", "walk", "history", "leftovers"),
        *("read_version", "read_replica", "read_image", "check_may_remove", "ownership", "url"),
    }
)
"""Calls that change nothing that others see, so that nobody has to know whether one was done."""
_WHOLE = frozenset(
    {
        *(
            "prepare",
            "commit",
            "delete",
            "copy",
            "copy_from",
            "move",
            "restore",
            "restore_version",
            "keep",
            "keep_base",
        ),
        *("copy_range",),
    }
)
"""Calls about a whole file, or many: the store may have to do more, the larger it is."""


class Timeout(EachCall):
    """Gives each call of the store `seconds`: to open a file, to read or send the next part, to publish ...

    A call that takes longer is cancelled and raises `TimedOut`. `whole` is the limit of calls that handle whole files,
    which take longer for larger ones: to publish, remove, copy, move and restore. It is `seconds` if it is not given.
    A store that ends some work despite a cancellation, as local disks do, is waited for.

    :raises ValueError: for a limit that is not greater than 0.
    """

    def __init__(self, seconds: float, *, whole: float | None = None) -> None:
        self._seconds = positive("seconds", seconds)
        self._whole = None if whole is None else positive("whole", whole)

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that a call that fails may have been done."""
        return replace(capabilities, certain=False)

    async def call(self, verb: str, path: str | None, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Make the call.

        :raises TimedOut: if it takes too long.
        """
        seconds = self._whole if self._whole is not None and verb in _WHOLE else self._seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                return await work(*args)
        except TimeoutError as error:
            if not limit.expired() or isinstance(error, AiofsError):
                raise
            done = "" if verb in _LOOKING else ", so it may have been done or not"
            raise TimedOut.of(path, f"{verb} took longer than {seconds:g} seconds and was cancelled{done}") from error
