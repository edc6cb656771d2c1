from __future__ import annotations

from multiprocessing import forkserver, resource_tracker

import pytest


@pytest.fixture(scope="session", autouse=True)
def _nursery() -> None:
    """Start what all children come from before any test looks at what it leaves behind."""
    resource_tracker.ensure_running()
    forkserver.ensure_running()
