"""The loop of blocking code: from which threads it is asked, and how it begins and ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs import blocking
from aiofs.backends.memory import MemoryDriver
from aiofs.blocking.thread import loop_thread
from aiofs.filesystem import FileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiofs.driver import Lease, WriteSession

SECONDS = 60


def outcome(program: str, *arguments: object) -> str:
    """What a program prints, on its errors too; it must end by itself, with every warning shown."""
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# --- threads


@pytest.mark.may_block
async def test_a_cell_of_a_notebook_may_wait_and_await() -> None:
    fs = aiofs.MemoryFileSystem()
    await fs.write_bytes("file", b"awaited")
    assert fs.blocking.read_bytes("file") == b"awaited"
    with fs.blocking.open("file", "w") as file:
        file.write(b"waited for")
    assert await fs.read_bytes("file") == b"waited for"


@pytest.mark.may_block
async def test_closing_in_a_cell_does_not_wait_for_its_own_loop(valkey_url: str) -> None:
    fs = aiofs.RedisFileSystem(valkey_url)
    await fs.write_bytes("file", b"1")  # by a client of this loop
    reader = await fs.open("file")
    assert fs.blocking.read_bytes("file") == b"1"
    fs.blocking.close()
    with pytest.raises(ValueError, match="closed"):
        fs.blocking.read_bytes("file")
    for _ in range(100):
        await asyncio.sleep(0.01)  # now this loop goes on, and closes what is its own
        if reader.closed:
            break
    assert reader.closed


def test_a_call_in_its_own_loop_is_an_error() -> None:
    fs = aiofs.MemoryFileSystem()

    async def call_back() -> bytes:
        return fs.blocking.read_bytes("file")

    with pytest.raises(RuntimeError, match="would wait for itself"):
        blocking.run(call_back())
    with pytest.raises(RuntimeError, match="would wait for itself"):
        blocking.run(asyncio.wait_for(shutting_down(), None))
    fs.blocking.write_bytes("file", b"and it goes on")


async def shutting_down() -> None:
    blocking.shutdown()


def test_the_context_of_the_caller_applies() -> None:
    who: ContextVar[str] = ContextVar("who")

    async def asked() -> str:
        return who.get()

    who.set("the caller")
    assert blocking.run(asked()) == "the caller"


def test_a_transaction_is_that_of_the_thread() -> None:
    store = aiofs.MemoryFileSystem()
    fs = aiofs.TransactionalFileSystem(store).blocking
    seen: list[bool] = []
    with fs.transaction():
        fs.write_bytes("file", b"1")
        assert fs.exists("file")
        other = threading.Thread(target=lambda: seen.append(fs.exists("file")))
        other.start()
        other.join()
        assert not store.blocking.exists("file")
    assert seen == [False]
    assert store.blocking.exists("file")
    with pytest.raises(KeyError), fs.transaction():
        fs.rm("file")
        raise KeyError
    assert fs.exists("file")


async def test_a_transaction_of_another_loop_is_refused() -> None:
    async with aiofs.transaction(aiofs.MemoryFileSystem()) as tx:
        with pytest.raises(aiofs.Unsupported, match=r"aiofs\.blocking\.transaction"):
            tx.blocking  # noqa: B018 -- the access is what is tested


# --- shutting down


def test_after_a_shutdown_there_is_a_new_loop() -> None:
    fs = aiofs.MemoryFileSystem().blocking
    with fs.open("file", "w") as file:
        file.write(b"1")
    left = fs.open("left", "w")
    left.write(b"half of")
    blocking.shutdown()
    blocking.shutdown()
    assert [thread.name for thread in threading.enumerate() if thread.name == "aiofs-blocking"] == []
    with pytest.raises(ValueError, match="shut down"):
        left.close()
    assert left.closed
    assert list(fs.ls()) == ["file"]
    fs.write_bytes("left", b"its lock is free")


def test_shutting_down_ends_calls_of_other_threads() -> None:
    begun = threading.Event()
    ended: list[BaseException] = []

    async def for_ever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            blocking.run(for_ever())
        except ValueError as error:
            ended.append(error)

    other = threading.Thread(target=wait)
    other.start()
    begun.wait(SECONDS)
    blocking.shutdown()
    other.join(SECONDS)
    assert len(ended) == 1


# --- the end of the interpreter

AT_EXIT = """
import asyncio, atexit, sys, threading
import aiofs

threading.excepthook = lambda arguments: None  # of the thread that still waits

def save():
    with aiofs.blocking.connect(sys.argv[1]).open("at exit", "w") as file:
        file.write(b"whole")
    print(len(list(aiofs.blocking.connect(sys.argv[1]).ls())))

atexit.register(save)  # before the loop began, so that it is called after that has ended
fs = aiofs.blocking.connect(sys.argv[1])
for number in range(10):
    fs.write_bytes(f"file {number}", b"1")
last = fs.open("last", "w")
atexit.register(last.close)
last.write(b"whole")
names = iter(fs.ls())
next(names)
threading.Thread(target=lambda: aiofs.blocking.run(asyncio.Event().wait()), daemon=True).start()
"""


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_nothing_is_lost_at_exit_and_nothing_hangs(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"file://{tmp_path}" if kind == "file" else request.getfixturevalue("valkey_url")
    assert outcome(AT_EXIT, url) == "12\n"
    fs = blocking.connect(url)
    assert fs.read_bytes("at exit") == fs.read_bytes("last") == b"whole"
    fs.close()


IN_A_FINALIZER = """
import sys
import aiofs

fs = aiofs.blocking.connect(sys.argv[1])

class Saves:
    def __del__(self):
        fs.write_bytes("last", fs.read_bytes("first"))
        print(list(fs.ls()))

saves = Saves()
fs.write_bytes("first", b"whole")
"""


def test_a_finalizer_at_the_end_of_the_interpreter_does_not_hang(tmp_path: Path) -> None:
    """Modules are gone by then, so nothing could be relied upon: it is refused by name, with the way out."""
    printed = outcome(IN_A_FINALIZER, f"file://{tmp_path}")
    assert "RuntimeError: the interpreter has ended" in printed
    assert "atexit.register" in printed
    assert [file.name for file in tmp_path.iterdir()] == ["first"]


LOST = """
import sys
import aiofs

lost = aiofs.blocking.open(sys.argv[1], "wb")
lost.write(b"half of")
"""


def test_a_file_that_is_open_at_exit_is_not_published_and_told_of(tmp_path: Path) -> None:
    printed = outcome(LOST, f"file://{tmp_path}/lost")
    assert printed.count("ResourceWarning:") == 1
    assert "/lost', opened at <string>:5, was never closed; what was written is lost" in printed
    assert not (tmp_path / "lost").exists()


# --- interrupts


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Interrupts raise, also where the tests were started in the background, which lets a process ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are of POSIX")
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_the_call_and_leaves_nothing() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        blocking.run(slow())
    assert ended == ["cleaned up"]
    home = loop_thread()
    assert blocking.run(others()) == 0
    assert loop_thread() is home


async def others() -> int:
    return len(asyncio.all_tasks()) - 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are of POSIX")
@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_open_leaves_no_lock() -> None:
    class Interrupting(MemoryDriver):
        at: str | None = None

        async def lock(self, path: str) -> Lease:
            await self.interrupt("lock")
            return await super().lock(path)

        async def begin(self, path: str, lease: Lease, **options: Any) -> WriteSession:
            session = await super().begin(path, lease, **options)
            await self.interrupt("begin")
            return session

        async def interrupt(self, now: str) -> None:
            if now == self.at:
                self.at = None
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0.01)

    driver = Interrupting()
    fs = FileSystem(driver).blocking
    for driver.at in ("lock", "begin"):
        with pytest.raises(KeyboardInterrupt):
            fs.open("file", "w")
        fs.write_bytes("file", b"the lock is free")


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are of POSIX")
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_bytes_are_written_spoils_the_file() -> None:
    store = aiofs.MemoryFileSystem()
    fs = store.blocking
    file = fs.open("file", "w")
    usual = file._raw._handle.write

    async def write(data: bytes) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(1)
        return await usual(data)

    file._raw._handle.write = write
    file.write(b"half of")
    with pytest.raises(KeyboardInterrupt):
        file.close()  # which moves what the buffer holds
    assert file.closed
    assert file.raw.closed
    assert not fs.exists("file")
    fs.write_bytes("file", b"the lock is free")


# --- forks

FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking among threads
import aiofs

fs = aiofs.blocking.connect(sys.argv[1])
fs.write_bytes("file", b"old")
file = fs.open("file", "w")
file.write(b"of the parent")
child = os.fork()
if not child:
    fs.write_bytes("child", b"of the child")
    assert fs.read_bytes("file") == b"old"
    try:
        file.flush()
    except ValueError as error:
        assert "before the process was forked" in str(error), error
    else:
        raise AssertionError("the child wrote the file of its parent")
    del file
    sys.exit()
_, status = os.waitpid(child, 0)
assert status == 0, status
file.close()
print(fs.read_bytes("file"), fs.read_bytes("child"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_forked_child_has_a_loop_of_its_own(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"file://{tmp_path}" if kind == "file" else request.getfixturevalue("valkey_url")
    assert outcome(FORKED, url) == "b'of the parent' b'of the child'\n"


# --- the collector


def test_collecting_in_the_thread_of_the_loop_does_not_wait() -> None:
    fs = aiofs.MemoryFileSystem().blocking
    lost = [fs.open("file", "w")]
    lost[0].write(b"half of")

    async def collect() -> None:
        lost.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="never closed"):
        blocking.run(collect())
    assert not fs.exists("file")
