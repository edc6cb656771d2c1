"""`@pytest.mark.variant(PathNames, Listings)`: run a suite in these chapters only, as another class runs it whole.

A variant of a store, such as one with another client, or with layers over it, can break some behaviours and no others:
an ordinary run asks it those. `AIOFS_TEST_FULL=1` asks it everything.
"""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import FunctionType

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))


def pytest_configure(config: pytest.Config) -> None:
    words = "variant(*chapters): another class runs the suite whole; here only these chapters or behaviours are run"
    config.addinivalue_line("markers", words)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, obj: object) -> list[pytest.Item] | None:
    """Make no test of a behaviour that a variant cannot break: thousands that are only left out cost a minute."""
    return None if FULL or is_chosen(collector, obj) else []


def is_chosen(collector: pytest.Module | pytest.Class, obj: object) -> bool:
    """Whether a behaviour is in one of the chapters that its class asks for, if it asks for some."""
    marker = collector.get_closest_marker("variant")
    if marker is None or not inspect.isfunction(obj) or not obj.__name__.startswith("test"):
        return True
    return names(marker, obj)


def names(marker: pytest.Mark, behaviour: FunctionType) -> bool:
    """Whether a marker names a behaviour, or the chapter that it is in, or nothing at all."""
    chapters = [chapter for chapter in marker.args if isinstance(chapter, type)]
    named = behaviour in marker.args or any(vars(chapter).get(behaviour.__name__) is behaviour for chapter in chapters)
    return named or not marker.args
