"""The hooks that choose the behaviours a store declares, and say why the others were left out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.needs import number_of, reason_against

if TYPE_CHECKING:
    from collections.abc import Iterable

Left = dict[str, dict[str, list[int]]]
_LEFT_OUT = pytest.StashKey[Left]()
SUITE = "is_aiofs_suite"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the behaviours that the store under test does not declare."""
    left: Left = config.stash.setdefault(_LEFT_OUT, defaultdict(lambda: defaultdict(list)))
    chosen: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        suite = getattr(item, "cls", None)
        reason = reason_against(item.function, suite) if _is_suite(suite) and isinstance(item, pytest.Function) else None
        if reason is None:
            chosen.append(item)
            continue
        dropped.append(item)
        number = number_of(item.function.__name__)  # type: ignore[attr-defined]
        numbers = left[item.nodeid.rpartition("::")[0]][reason]
        if number is not None and number not in numbers:
            numbers.append(number)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = chosen


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which behaviours were not asked for, and why."""
    left = config.stash.get(_LEFT_OUT, {})
    if left:
        terminalreporter.section("behaviours left out")
    for suite, reasons in left.items():
        terminalreporter.line(suite)
        for reason, numbers in reasons.items():
            terminalreporter.line(f"  {_spelled(numbers)}: {reason}")


def _is_suite(suite: object) -> bool:
    return bool(getattr(suite, SUITE, False))


def _spelled(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))
