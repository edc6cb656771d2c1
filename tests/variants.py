"""`@pytest.mark.variant(Paths, Listings)`: run a suite in these chapters only, as another class runs it whole.

A variant of a store, such as one with another client, or with layers over it, can break some behaviours and no others:
an ordinary run asks it those. `AIOFS_TEST_FULL=1` asks it everything.
"""

from __future__ import annotations

import os

import pytest

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))


def pytest_configure(config: pytest.Config) -> None:
    words = "variant(*chapters): another class runs the suite whole; here only these chapters or behaviours are run"
    config.addinivalue_line("markers", words)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the behaviours that a variant cannot break."""
    left_out = [item for item in items if not (FULL or is_chosen(item))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def is_chosen(item: pytest.Item) -> bool:
    """Whether a test is in one of the chapters that its class asks for, if it asks for some."""
    marker = item.get_closest_marker("variant")
    if marker is None or not isinstance(item, pytest.Function):
        return True
    behaviours = {
        behaviour
        for chapter in marker.args
        for behaviour in (vars(chapter).values() if isinstance(chapter, type) else [chapter])
        if callable(behaviour)
    }
    return item.function in behaviours
