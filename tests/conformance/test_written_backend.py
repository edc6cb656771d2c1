"""The backend of docs/write-a-backend.md passes the suite, run as the page says, outside of this repository."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")
PAGE = Path(__file__).parents[2] / "docs" / "write-a-backend.md"
FILE = re.compile(r'^```py title="(?P<name>[\w.]+)"\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where the system has one: the page's database waits for the disk some five thousand times."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.timeout(300)
async def test_it_passes(folder: Path) -> None:
    for file in FILE.finditer(PAGE.read_text("utf-8")):
        (folder / file["name"]).write_text(file["text"], "utf-8")
    assert {path.name for path in folder.iterdir()} == {"table.py", "conftest.py", "test_table.py"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        *("-o", "asyncio_default_fixture_loop_scope=function", "--timeout", "120"),
        *("--basetemp", "tmp", "-o", "tmp_path_retention_policy=none"),
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert "120: can be written (TestTable)" in output
    assert "locks within one process only (TestTable)" in output
