"""How long leases are in suites: long, as a busy machine renews late; short only where their end is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.testing.needs import number_of

if TYPE_CHECKING:
    import pytest

LONG = 60
WAITING = frozenset({36, 54, 87, 88, 89, 90, 124, 125, 128, 131, 205})
"""The behaviours that wait until the lock of somebody who died or abandoned it is free."""


def lease_for(request: pytest.FixtureRequest, short: int = 6) -> int:
    """Return how many seconds leases last in the behaviour that asks."""
    return short if number_of(request.function.__name__) in WAITING else LONG
