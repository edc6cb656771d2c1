"""Files that are not simply there and done: growing, cut, full, waiting, made by the system, or very many."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import aiofiles
from aiofs.localio.files import UpdateFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.may_block


async def settled(path: Path) -> None:
    """Open `path` once: what its device allows is known from then on."""
    async with aiofiles.open(path, "rb"):
        pass


@pytest.mark.parametrize("mode", ["r", "rb"])
@pytest.mark.both_loops
async def test_a_file_that_grows(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "log"
    path.write_text("first\n")
    await settled(path)
    seen: list[Any] = []
    async with aiofiles.open(path, mode) as file:
        for number in range(20):
            seen += [line async for line in file]
            assert not await file.readline()
            assert not await file.read()
            with path.open("a") as log:
                log.write(f"{number}\n" * 1000)
        rest = await file.read()
    text = "first\n" + "".join(f"{number}\n" * 1000 for number in range(20))
    expected: Any = text if mode == "r" else text.encode()
    assert expected[:0].join(seen) + rest == expected


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_half_a_line_at_the_end_that_is_written_on(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "log"
    path.write_text("whole\nha")
    await settled(path)
    async with aiofiles.open(path, mode) as file:
        first = [line async for line in file]
        with path.open("a") as log:
            log.write("lf\nnext\n")
        second = [line async for line in file]
    decoded = [line if isinstance(line, str) else line.decode() for line in first + second]
    assert decoded == ["whole\n", "ha", "lf\n", "next\n"]


HANDLES = 3000 if os.environ.get("AIOFS_TEST_FULL") else 600
CUT = "import os, sys; os.truncate(sys.argv[1], int(sys.argv[2]))"


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_file_that_another_process_cuts(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "cut"
    path.write_text("0123456789\n" * 100_000)
    await settled(path)
    async with aiofiles.open(path, mode) as file:
        assert len(await file.read(11)) == 11
        subprocess.run([sys.executable, "-c", CUT, path, "22"], check=True)
        rest = await file.read()
        assert len(rest) <= 128 * 1024, "more than a buffer of what is gone"
        assert not await file.read()
        assert await file.seek(0) == 0
        assert len(await file.read()) == 22


async def test_what_another_handle_wrote_is_seen_beyond_the_buffer(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.write_bytes(b"old!" * 100_000)
    await settled(path)
    async with aiofiles.open(path, "rb") as reader, aiofiles.open(path, "r+b") as writer:
        assert await reader.read(4) == b"old!"
        await writer.seek(300_000)
        await writer.write(b"new!")
        await writer.flush()
        await reader.seek(300_000)
        assert await reader.read(4) == b"new!"


@pytest.mark.usefixtures("_either_way")
async def test_flushing_forgets_what_was_read_ahead(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")
    async with aiofiles.open(path, "r+b") as file:
        assert await anext(file) == b"one\n"
        path.write_bytes(b"ONE\nTWO\n")
        await file.flush()
        assert await file.readline() == b"TWO\n"


async def test_flush_is_visible_at_once_and_the_rest_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    drained, loop, drain = asyncio.Event(), asyncio.get_running_loop(), UpdateFile.drain

    def drain_and_tell(raw: UpdateFile) -> None:
        drain(raw)
        loop.call_soon_threadsafe(drained.set)

    async with aiofiles.open(path, "w") as file:
        await file.write("flushed\n")
        await file.flush()
        assert path.read_text() == "flushed\n"
        await file.write("x" * 100 + "\n" * 20_000)
        monkeypatch.setattr(UpdateFile, "drain", drain_and_tell)
        async with asyncio.timeout(10):
            await drained.wait()
        assert path.stat().st_size >= 8_000


async def test_each_line_is_visible_at_once_where_lines_are_buffered(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with aiofiles.open(path, "w", buffering=1) as file:
        await file.write("half")
        assert path.read_text() == ""
        await file.write(" a line\n")
        assert path.read_text() == "half a line\n"


async def test_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def write() -> None:
        async with aiofiles.open(path, "w") as file:
            await file.write("through the pipe\n")

    async def read() -> str:
        async with aiofiles.open(path) as file:
            return await file.read()

    _, text = await asyncio.gather(write(), read())
    assert text == "through the pipe\n"


async def test_more_waiting_fifos_than_workers_stop_nobody(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("plain")
    waiting = []
    for number in range(40):
        os.mkfifo(tmp_path / str(number))
        waiting.append(asyncio.ensure_future(aiofiles.open(tmp_path / str(number)).__aenter__()))
    async with asyncio.timeout(30):
        async with aiofiles.open(plain, "r+") as file:
            assert await file.read() == "plain"
        for number in range(40):
            os.close(os.open(tmp_path / str(number), os.O_WRONLY))
        for file in await asyncio.gather(*waiting):
            assert await file.read() == ""
            await file.close()


PASS_ON = """
import asyncio, sys
from aiofs import aiofiles
async def main():
    async with aiofiles.open("/dev/stdin", "rb") as file:
        async for line in file:
            await aiofiles.stdout_bytes.write(line.upper())
    await aiofiles.stdout.write(await aiofiles.stdin.read())
    await aiofiles.stdout.flush()
asyncio.run(main())
"""


@pytest.mark.parametrize("source", ["pipe", "file"])
def test_standard_input(tmp_path: Path, source: str) -> None:
    if source == "pipe":
        done = subprocess.run([sys.executable, "-c", PASS_ON], input=b"one\ntwo\n", capture_output=True, check=True)
    else:
        (tmp_path / "input").write_bytes(b"one\ntwo\n")
        with (tmp_path / "input").open("rb") as file:
            done = subprocess.run([sys.executable, "-c", PASS_ON], stdin=file, capture_output=True, check=True)
        # a file is opened anew through /dev/stdin: the second reader finds it whole
        assert done.stdout.removesuffix(b"one\ntwo\n") == b"ONE\nTWO\n"
        return
    assert done.stdout == b"ONE\nTWO\n"


async def test_files_of_proc() -> None:
    for _ in range(2):
        async with aiofiles.open("/proc/self/status") as file:
            assert any([line.startswith("Pid:") async for line in file])
        async with aiofiles.open("/proc/self/maps", "rb") as file:
            assert len(await file.read()) > 4096
        async with aiofiles.open("/proc/self/cmdline", "rb") as file:
            assert await file.read(1) != b""


async def test_the_kernel_s_clock_does_not_stand_still() -> None:
    async with aiofiles.open("/proc/self/schedstat") as file:
        first = await file.read()
        sum(range(1_000_000))
        await file.seek(0)
        assert await file.read() != first


async def test_a_folder(tmp_path: Path) -> None:
    for mode in ("r", "rb", "w"):
        with pytest.raises(IsADirectoryError) as caught:
            await aiofiles.open(tmp_path, mode)
        assert caught.value.filename == str(tmp_path)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_path_that_becomes_something_else(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    for _ in range(3):  # what it is was learned, and is believed for a while
        path.write_bytes(b"file")
        os.utime(path, (0, 0))
        async with aiofiles.open(path, mode) as file:
            assert len(await file.read()) == 4
    path.unlink()
    with pytest.raises(FileNotFoundError):
        await aiofiles.open(path, mode)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        await aiofiles.open(path, mode)
    path.rmdir()
    os.mkfifo(path)
    with os.fdopen(os.open(path, os.O_RDWR), "wb", 0) as both_ends:
        both_ends.write(b"through the pipe")
        async with aiofiles.open(path, mode) as file:
            both_ends.close()
            assert len(await file.read()) == 16


@pytest.mark.usefixtures("_either_way")
async def test_the_descriptor_waits_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for _ in range(3):
        async with aiofiles.open(tmp_path / "file") as file:
            assert await file.read() == "text"
            assert os.get_blocking(file.fileno())


@pytest.mark.parametrize("mode", ["w", "wb"])
async def test_a_full_disk(mode: str) -> None:
    data: Any = "x" * 100 if mode == "w" else b"x" * 100
    file = await aiofiles.open("/dev/full", mode)
    await file.write(data)
    with pytest.raises(OSError, match="No space") as caught:
        await file.flush()
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        await file.close()
    assert file.closed


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file grow beyond `size`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signals)


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.parametrize("last", ["write", "flush", "close"])
async def test_what_cannot_be_written_is_never_lost_silently(tmp_path: Path, mode: str, last: str) -> None:
    path = tmp_path / "file"
    data: Any = "x" * 1000 if mode == "w" else b"x" * 1000
    with limited(50_000):
        file = await aiofiles.open(path, mode)
        for _ in range(60):
            await file.write(data)
        with pytest.raises(OSError, match="too large") as caught:
            if last == "write":
                for _ in range(1000):
                    await file.write(data)
            await getattr(file, "close" if last == "close" else "flush")()
        assert caught.value.errno == errno.EFBIG
        if last != "close":
            with pytest.raises(OSError, match="too large"):
                await file.close()
    assert file.closed
    assert path.stat().st_size == 50_000


async def test_writing_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = await aiofiles.open(path, "wb")
    with limited(50_000):
        for number in range(60):
            await file.write(bytes([number]) * 1000)
        with pytest.raises(OSError, match="too large"):
            await file.flush()
    await file.flush()
    await file.close()
    assert path.read_bytes() == b"".join(bytes([number]) * 1000 for number in range(60))


async def test_signals_interrupt_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    caught: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: caught.append(number))
    try:
        opening = asyncio.ensure_future(aiofiles.open(path, "rb").__aenter__())
        writer = os.open(path, os.O_RDWR)
        file = await opening
        reading = asyncio.ensure_future(file.read(8))
        for number in range(8):
            for thread in threading.enumerate():
                if thread.ident is not None:
                    signal.pthread_kill(thread.ident, signal.SIGUSR1)
            os.write(writer, bytes([number]))
            await asyncio.sleep(0)
        assert await reading == bytes(range(8))
        os.close(writer)
        await file.close()
    finally:
        # Some may still be on their way to a thread that has not run since: by default they would end the process
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert caught


async def test_many_handles_at_once(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        async with AsyncExitStack() as stack:
            files = [await stack.enter_async_context(aiofiles.open(tmp_path / f"{n}", "w+")) for n in range(HANDLES)]
            await asyncio.gather(*(file.write(f"number {number}") for number, file in enumerate(files)))
            await asyncio.gather(*(file.seek(0) for file in files))
            assert await asyncio.gather(*(file.read() for file in files)) == [f"number {n}" for n in range(HANDLES)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
