"""The hooks that choose the behaviours a store declares, and say why the others were left out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.needs import number_of, reason_against

if TYPE_CHECKING:
    from collections.abc import Iterable

Left = dict[str, dict[str, set[int]]]
_LEFT_OUT = pytest.StashKey[Left]()
SUITE = "is_aiofs_suite"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the behaviours that the store under test does not declare."""
    left: Left = config.stash.setdefault(_LEFT_OUT, defaultdict(lambda: defaultdict(set)))
    chosen: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        reason = _reason_against(item)
        if reason is None:
            chosen.append(item)
            continue
        dropped.append(item)
        left[item.nodeid.rpartition("::")[0]][reason].add(number_of(item.name) or 0)
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


def _reason_against(item: pytest.Item) -> str | None:
    suite = getattr(item, "cls", None)
    if suite is None or not isinstance(item, pytest.Function) or not getattr(suite, SUITE, False):
        return None
    return reason_against(item.function, suite)


def _spelled(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))
