"""How long leases last in suites: long, because a busy machine renews late; short if a test waits for their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.testing.harness import number_of

if TYPE_CHECKING:
    import pytest

LONG = 60
WAITING = frozenset({36, 54, 87, 88, 89, 90, 124, 125, 128, 131, 205, 258, 259, 370})
"""The behaviours that wait until a lock is free whose holder died or abandoned it."""
HOLDING = frozenset({370})
"""Of these, the behaviours whose holder does much before it dies."""
HELD = 9


def lease_for(request: pytest.FixtureRequest, short: int = 6) -> int:
    """Return how many seconds leases last in the behaviour that asks."""
    number = number_of(request.function.__name__)
    if number not in WAITING:
        return LONG
    return max(short, HELD) if number in HOLDING else short
