"""The hooks that choose the behaviours a store declares, and say what was left out and where large bytes differ."""

from __future__ import annotations

from collections import defaultdict

import pytest

from aiofs.testing.explaining import Explains, Listens
from aiofs.testing.needs import number_of, reason_against

Left = defaultdict[tuple[str, str], set[int]]
LEFT_OUT = pytest.StashKey[Left]()
"""The numbers that were left out, by suite and reason."""
SUITE = "is_aiofs_suite"


def pytest_configure(config: pytest.Config) -> None:
    """Have it said where large bytes differ."""
    for hook in (Explains(), Listens()):
        config.pluginmanager.register(hook)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the behaviours that the store under test does not declare."""
    left: Left = config.stash.setdefault(LEFT_OUT, defaultdict(set))
    chosen: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        reason = _reason_against(item)
        if reason is None:
            chosen.append(item)
            continue
        dropped.append(item)
        left[item.nodeid.rpartition("::")[0], reason].add(number_of(item.name) or 0)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = chosen


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which behaviours were not asked for, of whom, and why."""
    suites: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for (suite, reason), numbers in config.stash.get(LEFT_OUT, defaultdict(set)).items():
        suites[", ".join(map(str, sorted(numbers))), reason].append(suite.rpartition("::")[2])
    if suites:
        terminalreporter.section("behaviours left out")
    for (numbers_left, reason), names in suites.items():
        terminalreporter.line(f"{numbers_left}: {reason} ({', '.join(names)})")


def _reason_against(item: pytest.Item) -> str | None:
    suite = getattr(item, "cls", None)
    if suite is None or not isinstance(item, pytest.Function) or not getattr(suite, SUITE, False):
        return None
    return reason_against(item.function, suite)
