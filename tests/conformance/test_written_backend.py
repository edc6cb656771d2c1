"""The backends of docs/write-a-backend.md pass the suite, run as the page says, outside of this repository."""

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

pytestmark = pytest.mark.once

MEMORY = Path("/dev/shm")
PAGE = Path(__file__).parents[2] / "docs" / "write-a-backend.md"
FILE = re.compile(r'^```py title="(?P<name>[\w.]+)"\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)
FILES = {file["name"]: file["text"] for file in FILE.finditer(PAGE.read_text("utf-8"))}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where the system has one: the page's database waits for the disk some five thousand times."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


NETWORK = {"keyserver.py", "keyfiles.py", "conftest.py", "test_keyfiles.py"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("files", "left_out"),
    [
        (
            {"table.py", "conftest.py", "test_table.py"},
            ["120: can be written (TestTable)", "locks within one process only (TestTable)"],
        ),
        pytest.param(
            NETWORK,
            ["120: can be written (TestKeyFiles)", "74: it takes no credentials", "124, 125, 126, 128: "],
            marks=pytest.mark.asks("keyserver"),
        ),
    ],
    ids=["table", "network"],
)
async def test_it_passes(folder: Path, files: set[str], left_out: list[str]) -> None:
    returncode, output = await run(folder, FILES, files)
    assert returncode == 0, output
    for line in left_out:
        assert line in output


@pytest.mark.asks("keyserver")
async def test_a_lock_granted_to_a_cancelled_call_must_be_released(folder: Path) -> None:
    sound, broken = "return await granted(self._lock(path))", "return await self._lock(path)"
    assert sound in FILES["keyfiles.py"]
    texts = {**FILES, "keyfiles.py": FILES["keyfiles.py"].replace(sound, broken)}
    returncode, output = await run(folder, texts, NETWORK, "44_cancel_in_open")
    assert returncode == 1, output
    assert "this file is being written" in output


async def run(folder: Path, texts: dict[str, str], files: set[str], only: str = "") -> tuple[int | None, str]:
    """Run the suite of these files of the page, and return its exit code and what it printed."""
    for name in files:
        (folder / name).write_text(texts[name], "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        *("-o", "asyncio_default_fixture_loop_scope=function", "--timeout", "120"),
        *("--basetemp", "tmp", "-o", "tmp_path_retention_policy=none", "-k", only),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    return process.returncode, output
