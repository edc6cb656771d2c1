"""The backend of docs/write-a-backend.md passes the suite, run as the page says, outside of this repository."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "write-a-backend.md"
FILE = re.compile(r'^```py title="(?P<name>[\w.]+)"\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(120)
async def test_it_passes(tmp_path: Path) -> None:
    for file in FILE.finditer(PAGE.read_text("utf-8")):
        (tmp_path / file["name"]).write_text(file["text"], "utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"table.py", "conftest.py", "test_table.py"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert "120: can be written (TestTable)" in output
    assert "locks within one process only (TestTable)" in output
