"""Handles that nobody closes, and programs that end with open ones."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest

from aiofs import aiofiles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.may_block


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


LEAVE = """
import asyncio, sys
from aiofs import aiofiles
async def main():
    global file
    file = await aiofiles.open(sys.argv[1], "w")
    for _ in range(3000):
        await file.write("0123456789")
    {ending}
asyncio.run(main())
"""


@pytest.mark.parametrize("ending", ["await file.close()", "await file.flush()", "pass", "file = None"])
def test_nothing_is_lost_when_the_interpreter_ends(tmp_path: Path, ending: str) -> None:
    done = run(LEAVE.format(ending=ending), tmp_path / "file")
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "0123456789" * 3000
    if "close" in ending:  # else a worker that ends with the interpreter may hold the file: Python may warn or not
        assert "ResourceWarning" not in done.stderr


SLOWLY = """
import asyncio, io, sys, time
from aiofs import aiofiles
from aiofs.localio import files
begun = []
def slow(file, data):
    begun.append(len(data))
    written = io.FileIO.write(file, data)
    time.sleep(0.5)
    return written
files.LocalFile.write = slow
async def main():
    global file
    file = await aiofiles.open(sys.argv[1], "w")
    for _ in range(3000):
        await file.write("0123456789")
    while not begun:
        await asyncio.sleep(0.001)
asyncio.run(main())
"""


def test_what_a_thread_writes_when_the_interpreter_ends_is_written_once(tmp_path: Path) -> None:
    assert run(SLOWLY, tmp_path / "file").returncode == 0
    assert (tmp_path / "file").read_text() == "0123456789" * 3000


INTERRUPT = """
import asyncio, signal, sys
from aiofs import aiofiles
async def main():
    async with aiofiles.open(sys.argv[1], "wb") as file:
        while True:
            for _ in range(1000):
                await file.write(b"0123456789")
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests to ignore it
asyncio.run(main())
"""


def test_an_interrupted_program_loses_nothing(tmp_path: Path) -> None:
    done = run(INTERRUPT, tmp_path / "file")
    assert "KeyboardInterrupt" in done.stderr
    written = (tmp_path / "file").read_bytes()
    assert written.startswith(b"0123456789" * 1000)
    assert len(written) % 10 == 0


async def test_an_unclosed_handle_warns_and_writes(tmp_path: Path) -> None:
    file = await aiofiles.open(tmp_path / "file", "wb")
    await file.write(b"x" * 50_000)
    await asyncio.sleep(0)  # the loop itself holds what it last handed over
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del file
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert (tmp_path / "file").stat().st_size == 50_000
