"""The checks around every test fail the tests that deserve it, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import guards

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
pytest_plugins = ["guards"]
def pytest_configure():
    import guards
    guards.PATIENCE = 0.2
    guards.KEPT_BY_LIBRARIES = ("/dev/zero",)
"""
SOURCE = """
import asyncio, os, subprocess, sys, threading
import pytest
from aiofs.errors import place

class Blocking:
    @property
    def filename(self): return os.listdir()

kept = []
WAITS = [sys.executable, "-c", "import sys; sys.stdin.read()"]

@pytest.fixture(scope="module")
def keeper():
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()

def test_leaves_thread(): threading.Thread(target=threading.Event().wait, daemon=True).start()
def test_leaves_process(): kept.append(subprocess.Popen(WAITS, stdin=subprocess.PIPE))
def test_leaves_descriptor(): os.open(os.devnull, os.O_RDONLY)
async def test_leaves_task(): kept.append(asyncio.create_task(asyncio.sleep(60)))
async def test_blocks_in_aiofs(): place(Blocking(), "path")

def test_fine_kept_by_a_library(): os.open("/dev/zero", os.O_RDONLY)
def test_fine_late_fixture(request): request.getfixturevalue("keeper")
async def test_fine_executor(): await asyncio.to_thread(threading.get_ident)
async def test_fine_blocks_outside(): os.listdir()
@pytest.mark.may_block
async def test_fine_blocks_allowed(): place(Blocking(), "path")
def test_fine_blocks_without_loop(): place(Blocking(), "path")
@pytest.mark.both_loops
async def test_fine_loops(): print("on", type(asyncio.get_running_loop()).__module__)
"""


def test_the_clock_of_libuuid_is_no_descriptor_of_ours() -> None:
    assert "/var/lib/libuuid/clock.txt".startswith(guards.KEPT_BY_LIBRARIES)
    assert not str(Path(__file__)).startswith(guards.KEPT_BY_LIBRARIES)


def test_the_guards_catch_what_they_must(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("COLUMNS", "300")  # the summary's lines whole
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(SOURCE)
    result = pytester.runpytest_subprocess("-p", "no:valkey", "-p", "no:cacheprovider", "-p", "no:xdist", "-s", "-v")
    result.assert_outcomes(passed=12, failed=1, errors=4)
    result.stdout.fnmatch_lines_random(
        [
            "ERROR *::test_leaves_thread - *thread*",
            "ERROR *::test_leaves_process - *",
            "ERROR *::test_leaves_descriptor - *",
            "ERROR *::test_leaves_task - *",
            "FAILED *::test_blocks_in_aiofs - *BlockingError*os.listdir*",
            "*on asyncio*",
            "*on uvloop*",
        ]
    )
