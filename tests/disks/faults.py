"""Errors from the operating system: the n-th call that aiofs makes for files fails."""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from disks.calls import asked_by, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Faults:
    """Counts the calls of aiofs, and has the `nth` fail with an error number; none if that is 0.

    With `only`, calls of other names are not counted; what `lasts` goes on to fail from there.
    """

    def __init__(self, nth: int = 0, number: int = 0, *, only: str = "", lasts: bool = False) -> None:
        self.nth = nth
        self.number = number
        self.only = only
        self.lasts = lasts
        self.taken: list[str] = []
        """The names of the calls so far."""
        self.raised: OSError | None = None
        """What was raised."""
        self._lock = Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count, and fail, while the block lasts."""
        with watched(self._see):
            yield

    def _see(self, name: str, do: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not asked_by("aiofs", above=2) or self.only not in {"", name}:
            return do(*args, **kwargs)
        with self._lock:
            self.taken.append(name)
            fails = len(self.taken) == self.nth or (self.lasts and 0 < self.nth < len(self.taken))
        if not fails:
            return do(*args, **kwargs)
        if name == "close":  # the descriptor is gone all the same
            do(*args, **kwargs)
        self.raised = OSError(self.number, os.strerror(self.number), *_named(args))
        raise self.raised


def _named(args: tuple[Any, ...]) -> list[str]:
    """Return the file that the system would name in its error: the one of the call, ours if it is hidden."""
    return [args[0]] if args and isinstance(args[0], str) else []
