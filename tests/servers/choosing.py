"""`--servers redis,s3`: run the tests that need none but these servers; `--servers none`: those that need no server.

One Python runs everything. What is run on another, or while one works, need not be told the same by every server again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FIXTURES = {
    "redis": ("valkey", "own_valkey"),
    "s3": ("s3_", "seaweed"),
    "azure": ("azur",),
    "fastdfs": ("fastdfs",),
}
"""How the names of the fixtures begin that start a server."""


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = f"run only tests that need none but these of {', '.join(FIXTURES)}; 'none': that need no server"
    parser.addoption("--servers", default=",".join(FIXTURES), help=help_text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that need another server."""
    chosen = set(filter(None, config.getoption("--servers").removeprefix("none").split(",")))
    unknown = chosen - set(FIXTURES)
    if unknown:
        raise pytest.UsageError(f"--servers {','.join(sorted(unknown))}: use some of {', '.join(FIXTURES)}, or none")
    left_out = [item for item in items if not needed(item) <= chosen]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if needed(item) <= chosen]


def needed(item: pytest.Item) -> set[str]:
    """The servers that a test needs: by its fixtures, and by the room that it tests."""
    fixtures = getattr(item, "fixturenames", ())
    rooms = item.path.relative_to(TESTS).parts
    return {
        server
        for server, beginnings in FIXTURES.items()
        if server in rooms or any(name.startswith(beginnings) for name in fixtures)
    }
