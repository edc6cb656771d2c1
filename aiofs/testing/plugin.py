"""Hooks of pytest: they leave out behaviours that a store does not declare, and show where large bytes differ."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

try:
    import pytest
except ImportError as _missing:
    raise ImportError("the suite needs pytest: pip install aiofs[testing]") from _missing

from aiofs.testing.harness import number_of, reason_against

if TYPE_CHECKING:
    from collections.abc import Generator

Left = defaultdict[tuple[str, str], set[int]]
LEFT_OUT = pytest.StashKey[Left]()
"""The numbers that were left out, by suite and reason."""
SUITE = "is_aiofs_suite"


def pytest_configure(config: pytest.Config) -> None:
    """Register the comparison of large bytes."""
    for hook in (CompareBytes(), CatchComparison()):
        config.pluginmanager.register(hook)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the behaviours that need what the store under test does not declare."""
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
    """Print which behaviours were left out, in which suites, and why."""
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


LARGE = 10_000
Lines = list[str]


class _Compared(Exception):
    """Carries the answer of `CompareBytes` past the other implementations of the hook."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines


class CompareBytes:
    """Compares large bytes, and raises so that pytest does not call the other implementations of the hook."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> None:
        """Say where large bytes begin to differ."""
        if op == "==" and isinstance(left, bytes) and isinstance(right, bytes) and len(left) + len(right) >= LARGE:
            raise _Compared(_difference(left, right))


class CatchComparison:
    """Catches what `CompareBytes` raised, and returns its answer alone."""

    @pytest.hookimpl(wrapper=True)
    def pytest_assertrepr_compare(self) -> Generator[None, list[Lines], list[Lines]]:
        """Return the answer of `CompareBytes`, or those of the others."""
        try:
            return (yield)
        except _Compared as compared:
            return [compared.lines]


def _difference(left: bytes, right: bytes) -> Lines:
    at = next((at for at, (one, other) in enumerate(zip(left, right, strict=False)) if one != other), None)
    at = min(len(left), len(right)) if at is None else at
    return [
        f"{len(left)} bytes == {len(right)} bytes",
        f"they differ from byte {at} on: {left[at : at + 20]!r} != {right[at : at + 20]!r}",
    ]
