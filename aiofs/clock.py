"""Time and randomness: where the package takes them from, so that a test can replace both.

Callers write `clock.now()`, and do not import the functions: replacing `aiofs.clock.now` then works everywhere, and a
simulated event loop can run transactions, locks and files in memory in a time, and with tokens, of its own.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def now() -> datetime:
    """Return the date and time, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds that never go backwards, to measure how long something takes.

    They go on while the machine is suspended, as a lease in a store does; those of `time.monotonic` do not on Linux.
    """
    return _seconds()


def token(size: int = 16) -> str:
    """Return `size` random bytes as hexadecimal digits: a name that nothing else has."""
    return os.urandom(size).hex()


def up_to(most: float) -> float:
    """Return a random number of seconds from 0 to `most`, so that callers which failed together try again apart."""
    return most * int.from_bytes(os.urandom(6), "big") / (1 << 48)


def running_clock() -> Callable[[], float]:
    """Return a clock that goes on while the machine is suspended, where the system has one."""
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # Linux has the first; on macOS the second goes on
        with suppress(AttributeError, OSError):
            clock = partial(time.clock_gettime, getattr(time, name))
            clock()
            return clock
    return time.monotonic


_seconds = running_clock()
