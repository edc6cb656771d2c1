from __future__ import annotations

from multiprocessing import resource_tracker

import pytest


@pytest.fixture(scope="session", autouse=True)
def _children_can_start(child_processes: object) -> None:  # noqa: ARG001  (that it is there is all)
    """Start what all children come from before any test looks at what it leaves behind."""
    resource_tracker.ensure_running()
