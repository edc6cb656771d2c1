"""What proves a backend: the contract as a suite, a model, layers that make trouble, and processes that are killed.

With `pytest_plugins = ["aiofs.testing"]` in the topmost conftest.py, this is all that a backend's author writes:

>>> class TestMine(Contract):
...     declares = MyDriver.capabilities
...
...     @pytest.fixture
...     def harness(self, tmp_path):
...         return Harness(connect=partial(MyFileSystem, tmp_path))

Its names are loaded when they are first used: the processes that are killed, and `python -m aiofs torture`, load no
pytest, and need none.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiofs.testing.chaos import Chaos, Gate
    from aiofs.testing.contract import Contract, TransactionContract, child_processes
    from aiofs.testing.harness import Harness, Need, needs, until
    from aiofs.testing.plugin import pytest_collection_modifyitems, pytest_configure, pytest_terminal_summary
    from aiofs.testing.steps import Stepped, Steps

__all__ = [
    "Chaos",
    "Contract",
    "Gate",
    "Harness",
    "Need",
    "Stepped",
    "Steps",
    "TransactionContract",
    "child_processes",
    "needs",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_terminal_summary",
    "until",
]

_ROOMS = {
    "chaos": ("Chaos", "Gate"),
    "contract": ("Contract", "TransactionContract", "child_processes"),
    "harness": ("Harness", "Need", "needs", "until"),
    "plugin": ("pytest_collection_modifyitems", "pytest_configure", "pytest_terminal_summary"),
    "steps": ("Stepped", "Steps"),
}
_HOMES = {name: f"aiofs.testing.{room}" for room, names in _ROOMS.items() for name in names}

_pytest = sys.modules.get("pytest")
if _pytest is not None:
    _pytest.register_assert_rewrite("aiofs.testing.contract", "aiofs.testing.harness", "aiofs.testing.model")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
