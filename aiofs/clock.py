"""Time and randomness: where the package takes them from, so that a test can replace both.

Callers write `clock.now()`, and do not import the functions: replacing `aiofs.clock.now` then works everywhere, and a
simulated event loop can run transactions, locks and files in memory in a time, and with tokens, of its own.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the date and time, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds that never go backwards, to measure how long something takes."""
    return time.monotonic()


def token(size: int = 16) -> str:
    """Return `size` random bytes as hexadecimal digits: a name that nothing else has."""
    return os.urandom(size).hex()


def up_to(most: float) -> float:
    """Return a random number of seconds from 0 to `most`, so that callers which failed together try again apart."""
    return most * int.from_bytes(os.urandom(6), "big") / (1 << 48)
