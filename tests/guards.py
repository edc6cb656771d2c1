"""Checks around every test: both event loops where asked for, nothing that blocks the loop, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import sys
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import blockbuster
import pytest

from variants import names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

    Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

PATIENCE = 10.0  # seconds that threads and connections which are about to end may still take
# Python starts these once for all processes to come, and ends them with itself.
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
# Where Debian's uuid-runtime is installed, libuuid opens its clock for the first UUID, and keeps it for the process.
KEPT_BY_LIBRARIES = ("/var/lib/libuuid/",)
WORKERS = "aiofs-worker"  # the package's own threads, kept for the next call
OPEN = "/proc/self/fd"
THREADS = "/proc/self/task"

loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    loops["uvloop"] = uvloop.new_event_loop
    uvloop.new_event_loop().close()  # the first one opens a pipe for the whole process

kept: set[str] = set()  # what fixtures that outlive a test opened
HOLDS_NOTHING = "_asyncio_loop_factory"  # a fixture of the session that is made anew for each test


def pytest_configure(config: pytest.Config) -> None:
    words = (
        "both_loops(*chapters, full=False): run on uvloop as well as on asyncio's own loop, of a suite only these"
        " chapters; with full=True, only in a full run"
    )
    config.addinivalue_line("markers", words)
    config.addinivalue_line("markers", "may_block: a test that looks at what blocks, or measures, by itself")


def pytest_collection_finish(session: pytest.Session) -> None:  # noqa: ARG001  (the hook's name)
    """Spare the collector what lives as long as the run: thousands of tests, which a test that collects would visit."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Function) -> Loops:  # noqa: ARG001  (the hook's names)
    """Both loops for tests that ask for it, asyncio's own for the others."""
    marker = item.get_closest_marker("both_loops")
    both = marker is not None and (FULL or (not marker.kwargs.get("full") and names(marker, item.function)))
    return loops if both else {"asyncio": loops["asyncio"]}


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    """Remember what a fixture that outlives the test holds: that is not left behind."""
    if fixturedef.scope == "function" or fixturedef.argname == HOLDS_NOTHING:
        return (yield)
    before = held()
    try:
        return (yield)
    finally:
        kept.update(held() - before)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Fail a test after which a thread, a child process or a file descriptor is left."""
    before = held()
    yield
    if "aiofs.blocking.thread" in sys.modules:
        sys.modules["aiofs.blocking.thread"].shutdown()  # its loop lasts as long as the process, unless it is ended
    deadline = time.monotonic() + PATIENCE
    while (left := held() - before - kept) and time.monotonic() < deadline:
        gc.collect()  # what is only waiting for the collector is not left; its warning tells
        time.sleep(0.01)
    assert not left, f"left behind: {sorted(left)}"


@pytest.fixture(autouse=True)
def _loop_guards(request: pytest.FixtureRequest, _nothing_left: None) -> None:
    """Guard the loop of tests that have one."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_no_task_left")
        if request.node.get_closest_marker("may_block") is None:
            request.getfixturevalue("_nothing_blocks")


@pytest.fixture
async def _no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task running."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=PATIENCE)
    assert not left, f"still running: {left}"


@pytest.fixture
def _nothing_blocks() -> Iterator[None]:
    """Fail any call from aiofs, or from below it, that blocks the loop."""
    blocking_calls().activate()
    try:
        yield
    finally:
        blocking_calls().deactivate()


@cache
def blocking_calls() -> blockbuster.BlockBuster:
    """What finds them, made once: to look for all functions that block costs more than many a test."""
    return blockbuster.BlockBuster("aiofs", excluded_modules=["aiofs.testing"])


def held() -> set[str]:
    """Names of all threads, child processes and file descriptors of this process."""
    return threads() | children() | descriptors()


def threads() -> set[str]:
    """Python's threads."""
    return {f"thread {thread.name} {thread.ident}" for thread in threading.enumerate() if thread.name != WORKERS}


def children() -> set[str]:
    """Child processes, where the system tells them."""
    found = set()
    for thread in listed(THREADS):
        for child in text_of(f"{THREADS}/{thread}/children").split():
            command = text_of(f"/proc/{child}/cmdline").replace("\0", " ")
            if not any(helper in command for helper in HELPERS):
                found.add(f"process {child} {command}")
    return found


def listed(folder: str) -> list[str]:
    """What is in a folder of /proc; nothing where the system has none."""
    return os.listdir(folder) if os.path.exists(folder) else []


def text_of(file: str) -> str:
    """What a file of /proc says; nothing once the thread or the process has ended."""
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""


def descriptors() -> set[str]:
    """Open file descriptors and what they are open on, where the system tells them.

    Without the view of these very descriptors: listing them opens one, and the engine for local files keeps one.
    And without what a library keeps for as long as the process lives.
    """
    found = set()
    for name in listed(OPEN):
        with contextlib.suppress(OSError):  # the one that listed them is gone
            target = os.readlink(f"{OPEN}/{name}")
            if target != f"/proc/{os.getpid()}/fd" and not target.startswith(KEPT_BY_LIBRARIES):
                found.add(f"descriptor {name} {target}")
    return found
