"""Large files pass through in little memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from backends.osfiles.workers import MIB, forkserver, stream

if TYPE_CHECKING:
    from pathlib import Path

SIZE = int(os.environ.get("AIOFS_TEST_LARGE_MIB", "192")) * MIB


@pytest.mark.timeout(300)
def test_memory_stays_small(tmp_path: Path) -> None:
    talk, theirs = forkserver.Pipe()
    process = forkserver.Process(target=stream, args=(tmp_path / "root", SIZE, theirs))
    process.start()
    theirs.close()
    grown = talk.recv()
    process.join()
    process.close()
    talk.close()
    assert grown < 64 * MIB
