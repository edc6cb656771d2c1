"""`--servers redis,s3`: run the tests that need none but these servers; `--servers none`: those that need no server.

One Python runs everything. Another one runs `--servers sample`, which is what may differ between Pythons: all that
needs no server, without variants of stores and tests marked `once`, and of each server's suites a few behaviours.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from aiofs.testing.harness import number_of

TESTS = Path(__file__).parents[1]
SUITES = TESTS / "conformance"
FIXTURES = {
    "redis": ("valkey", "own_valkey"),
    "s3": ("s3_", "seaweed"),
    "azure": ("azur",),
    "fastdfs": ("fastdfs",),
    "keyserver": (),
}
"""How the names of the fixtures begin that start a server; the key server is the one of docs/write-a-backend.md."""


SAMPLE = frozenset({4, 30, 43, 44, 53, 60, 73, 76, 77, 79, 83, 319, 331, 338})
"""The behaviours that a sample asks each server: parts, commits, cancellation, listings, processes, loops, threads."""


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = (
        f"run only tests that need none but these of {', '.join(FIXTURES)}; 'none': that need no server;"
        " 'sample': what may differ between Pythons"
    )
    parser.addoption("--servers", default=",".join(FIXTURES), help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse servers that nobody knows."""
    config.addinivalue_line("markers", "asks(*servers): a test that starts these, which its fixtures do not tell")
    config.addinivalue_line("markers", "once: a test that one Python runs, as another would find the same")
    unknown = chosen_of(config) - set(FIXTURES)
    if unknown:
        raise pytest.UsageError(f"--servers {','.join(sorted(unknown))}: use some of {', '.join(FIXTURES)}, or none")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the rooms of other servers."""
    suites = is_sample(config) and collection_path.is_relative_to(SUITES)
    return None if suites or rooms(collection_path) <= chosen_of(config) else True


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class) -> list[pytest.Item] | None:
    """Make no test of a variant for a sample."""
    return [] if is_sample(collector.config) and collector.get_closest_marker("variant") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that need another server."""
    chosen = chosen_of(config)
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        wanted = is_in_sample(item) if is_sample(config) else needed(item) <= chosen
        (kept if wanted else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def is_sample(config: pytest.Config) -> bool:
    """Return whether the run is a sample."""
    return bool(config.getoption("--servers") == "sample")


def is_in_sample(item: pytest.Item) -> bool:
    """Return whether a test is in the sample that another Python runs."""
    if item.get_closest_marker("once"):
        return False
    suite = getattr(getattr(item, "cls", None), "is_aiofs_suite", False)
    return not needed(item) or (suite and number_of(item.name.partition("[")[0]) in SAMPLE)


def chosen_of(config: pytest.Config) -> set[str]:
    """Return the servers that the run may ask."""
    return set(filter(None, config.getoption("--servers").removeprefix("none").removeprefix("sample").split(",")))


@cache
def rooms(path: Path) -> frozenset[str]:
    """Return the servers that all tests at `path` need: those of `backends/s3` and of `test_s3.py` need S3."""
    parts = path.relative_to(TESTS).parts if path.is_relative_to(TESTS) else ()
    return frozenset(server for server in FIXTURES if server in parts or path.name == f"test_{server}.py")


def needed(item: pytest.Item) -> set[str]:
    """Return the servers that a test needs: by its fixtures, by the room that it tests, and by what it says."""
    fixtures = getattr(item, "fixturenames", ())
    by_fixture = {server for server, starts in FIXTURES.items() if any(name.startswith(starts) for name in fixtures)}
    said = {server for marker in item.iter_markers("asks") for server in marker.args}
    return by_fixture | rooms(item.path) | said
