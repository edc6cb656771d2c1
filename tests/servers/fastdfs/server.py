"""The fixture that gives a cluster of its own process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servers.fastdfs.sites import Real
from servers.process import HOST, running

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[2]


def real_tracker() -> str | None:
    """The tracker of a real cluster, if there is one to test with."""
    real = Real.of(os.environ)
    return None if real is None else real.trackers[0]


@pytest.fixture(scope="session")
def fastdfs_tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tracker whose storage may be filled: `AIOFS_TEST_FASTDFS`, or else a double's."""
    if real := real_tracker():
        yield real
        return
    with running(
        "fastdfs",
        lambda port: [sys.executable, "-m", "servers.fastdfs", str(port)],
        tmp_path_factory.mktemp("fastdfs"),
        environment={"PYTHONPATH": str(TESTS)},
    ) as port:
        yield f"{HOST}:{port}"
