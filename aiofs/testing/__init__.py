"""What proves a backend: the contract as a suite, a model, and a layer that makes trouble.

With `pytest_plugins = ["aiofs.testing"]` in the topmost conftest.py, this is all that a backend's author writes:

>>> class TestMine(Contract):
...     declares = MyDriver.capabilities
...
...     @pytest.fixture
...     def harness(self, tmp_path):
...         return Harness(connect=partial(MyFileSystem, tmp_path))
"""

from __future__ import annotations

try:
    import pytest
except ImportError as _missing:
    raise ImportError("the suite needs pytest: pip install aiofs[testing]") from _missing

pytest.register_assert_rewrite("aiofs.testing.contract", "aiofs.testing.harness", "aiofs.testing.model")

from aiofs.testing.chaos import Chaos, Gate  # noqa: E402 -- the rewriting of assertions comes first
from aiofs.testing.contract import Contract, TransactionContract  # noqa: E402
from aiofs.testing.contract.suite import nursery  # noqa: E402
from aiofs.testing.harness import Harness, until  # noqa: E402
from aiofs.testing.needs import Need, needs  # noqa: E402
from aiofs.testing.plugin import (  # noqa: E402
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_terminal_summary,
)
from aiofs.transactions.stepped import Stepped, Steps  # noqa: E402

__all__ = [
    "Chaos",
    "Contract",
    "Gate",
    "Harness",
    "Need",
    "Stepped",
    "Steps",
    "TransactionContract",
    "needs",
    "nursery",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_terminal_summary",
    "until",
]
