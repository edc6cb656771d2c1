"""Handles from open to close: cancelled, shared, handed out, left open, in several loops and executors."""

from __future__ import annotations

import asyncio
import builtins
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs import aiofiles, threads
from aiofs.aiofiles.threadpool import binary, text, wrap
from aiofs.localio.files import UpdateFile
from aiofs.localio.reading import budget_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.may_block


def descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


# Cancelled


@pytest.mark.parametrize("own_executor", [False, True])
@pytest.mark.both_loops
async def test_a_cancelled_open_is_over_at_once_and_leaks_nothing(
    tmp_path: Path, own_executor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    discarded = threading.Event()

    def discard(stream: Any) -> None:
        stream.close()
        discarded.set()

    monkeypatch.setattr("aiofs.aiofiles.threadpool._close", discard)
    executor = ThreadPoolExecutor(1) if own_executor else None
    opening = asyncio.ensure_future(aiofiles.open(path, executor=executor).__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await opening
    writer = os.open(path, os.O_RDWR)
    if executor is not None:
        executor.shutdown()
    assert await asyncio.to_thread(discarded.wait, 10)
    assert descriptors().count(str(path)) == 1
    os.close(writer)


async def test_opens_cancelled_at_any_moment_leak_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")

    async def use(mode: str) -> None:
        async with aiofiles.open(path, mode) as file:
            await file.read()

    for turns in range(40):
        tasks = [asyncio.ensure_future(use(mode)) for mode in ("r", "r+b", "r+")]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(threads._workers.finish)
    assert str(path) not in descriptors()


async def test_what_is_cancelled_while_the_loop_has_its_turn_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    async with aiofiles.open(path) as warm:
        await warm.read()
    file = await aiofiles.open(path, "r+")
    await file.read()
    budget = budget_of(asyncio.get_running_loop())
    for call in (file.close(), aiofiles.open(path, "rb").__aenter__()):
        budget.over = True
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        budget.over = False
    assert file.closed
    assert str(path) not in descriptors()


async def test_closing_again_waits_for_a_close_that_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    begun, go_on, close = threading.Event(), threading.Event(), UpdateFile.close

    def close_slowly(file: UpdateFile) -> None:
        begun.set()
        assert go_on.wait(10)
        close(file)

    monkeypatch.setattr(UpdateFile, "close", close_slowly)
    with Witness() as executor:
        file = await aiofiles.open(path, "w", executor=executor)
        await file.write("text")
        closing = asyncio.create_task(file.close())
        assert await asyncio.to_thread(begun.wait, 10)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        calls = executor.calls
        again = asyncio.create_task(file.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert executor.calls == calls
        go_on.set()
        await again
    assert file.closed
    assert path.read_text() == "text"
    assert str(path) not in descriptors()


async def test_a_cancelled_read_of_a_fifo_is_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    async with aiofiles.open(path, "rb", buffering=0) as file:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(file.read(1), 0.05)
        os.write(writer, b"ab")
        assert await file.read(1) in {b"a", b"b"}
    os.close(writer)


async def test_a_temporary_file_whose_making_is_cancelled_is_removed(tmp_path: Path) -> None:
    for turns in range(1, 10):
        making = asyncio.ensure_future(aiofiles.tempfile.NamedTemporaryFile(dir=tmp_path).__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        making.cancel()
        with suppress(asyncio.CancelledError):
            await (await making).close()
        assert list(tmp_path.iterdir()) == []


# Shared


async def test_many_tasks_write_to_one_handle(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with aiofiles.open(path, "w") as file:

        async def write(number: int) -> None:
            for _ in range(200):
                await file.write(f"{number:04}" * 25 + "\n")
                if number % 7 == 0:
                    await file.flush()
                else:
                    await asyncio.sleep(0)

        await asyncio.gather(*(write(number) for number in range(40)))
    lines = path.read_text().splitlines()
    assert len(lines) == 40 * 200
    assert all(line == line[:4] * 25 for line in lines)


async def test_many_tasks_read_lines_from_one_handle(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f"{number}\n" for number in range(20_000)))
    seen: list[int] = []
    async with aiofiles.open(path, "rb") as file:

        async def read() -> None:
            async for line in file:
                seen.append(int(line))
                if len(seen) % 100 == 0:
                    await asyncio.sleep(0)

        await asyncio.gather(*(read() for _ in range(10)))
    assert sorted(seen) == list(range(20_000))


# Executors and loops


class Witness(ThreadPoolExecutor):
    """An executor that knows what it was given."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="witness")
        self.calls = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return super().submit(*args, **kwargs)


@pytest.mark.parametrize("mode", ["w", "wb", "r+"])
async def test_all_that_needs_a_thread_takes_place_in_the_executor(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a thread of our own")

    (tmp_path / "file").write_text("")
    monkeypatch.setattr("aiofs.threads._workers.put", refuse)
    with Witness() as executor:
        async with aiofiles.open(tmp_path / "file", mode, executor=executor) as file:
            assert executor.calls == 1
            await file.write("x" if "b" not in mode else b"x")
            await file.flush()
            assert executor.calls == 2
            await file.truncate(0)
        assert executor.calls == 4, "the close takes place there, too"


def test_one_loop_after_another(tmp_path: Path) -> None:
    async def use(number: int) -> None:
        async with aiofiles.open(tmp_path / "file", "w+") as file:
            await file.write(str(number))
            await file.seek(0)
            assert await file.read() == str(number)

    for number in range(5):
        asyncio.run(use(number))


def test_two_loops_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    async def use(name: str) -> None:
        path = tmp_path / name
        for number in range(200):
            async with aiofiles.open(path, "wb") as file:
                await file.write(name.encode() * 5000)
            async with aiofiles.open(path, "rb") as file:
                assert await file.read() == name.encode() * 5000
            async with aiofiles.open(path) as file:
                assert await file.read(number) == (name * 5000)[:number]

    def run(name: str) -> None:
        try:
            asyncio.run(use(name))
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    runners = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert failures == []


@pytest.mark.both_loops
async def test_with_and_without_a_context(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = await aiofiles.open(path, "w")
    await file.write("text")
    await file.close()
    await file.close()
    opening = aiofiles.open(path)
    assert await opening is await opening
    async with opening as again:
        assert await again.read() == "text"
    with pytest.raises(ValueError, match="closed file"):
        await again.read()


async def test_a_loop_and_a_descriptor_that_are_given(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    async with aiofiles.open(descriptor, "r+", closefd=False, loop=asyncio.get_running_loop()) as file:
        await file.write("text")
        assert file.fileno() == descriptor
    assert os.pread(descriptor, 10, 0) == b"text"
    os.close(descriptor)


async def test_an_opener(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    async with aiofiles.open("file", "w", opener=lambda path, flags: os.open(path, flags, dir_fd=folder)) as file:
        await file.write("text")
    os.close(folder)
    assert (tmp_path / "file").read_text() == "text"


# Handed out


@pytest.mark.parametrize("mode", ["rb", "r"])
async def test_the_synchronous_file_stands_where_the_handle_does(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    path.write_text("".join(f"{number}\n" for number in range(10_000)))
    async with aiofiles.open(path, mode) as file:
        lines = [await anext(file) for _ in range(5000)]
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) >= len(lines[0][:0].join(lines))
        lines.append(file._file.readline())
        lines.append(await file.readline())
        lines += file._file.readlines(100)
        lines += [line async for line in file]
    expected = [f"{number}\n" for number in range(10_000)]
    assert [line if isinstance(line, str) else line.decode() for line in lines] == expected


async def test_the_synchronous_file_has_what_was_gathered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with aiofiles.open(path, "w") as file:
        await file.write("x" * 100)
        file._file.write("y")
        file._file.flush()
        assert path.read_text() == "x" * 100 + "y"
        await file.write("z")
    assert path.read_text() == "x" * 100 + "yz"


@pytest.mark.parametrize(("mode", "other"), [("r", io.StringIO("other\n")), ("rb", io.BytesIO(b"other\n"))])
async def test_another_file_may_be_put_below(tmp_path: Path, mode: str, other: Any) -> None:
    path = tmp_path / "file"
    path.write_text("1\n2\n3\n")
    async with aiofiles.open(path, mode) as file:
        await file.readline()
        with file._file:
            file._file = other
        assert await file.readline() == other.getvalue()


async def test_layers_below_and_detaching(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    async with aiofiles.open(path) as file:
        assert isinstance(file.buffer, io.BufferedReader)
        assert file.buffer.raw.readable()
    file = await aiofiles.open(path, "rb")
    assert await file.read(2) == b"01"
    assert isinstance(file.raw, io.FileIO)
    with file.detach() as raw:
        assert raw.read() == b""


async def test_wrapping_what_is_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"line\n")
    kinds = {"r": text.AsyncTextIOWrapper, "rb": binary.AsyncBufferedReader, "wb": binary.AsyncBufferedIOBase}
    for mode, kind in kinds.items():
        with builtins.open(path, mode) as file:
            assert type(wrap(file)) is kind
    with io.BytesIO(b"in memory") as memory:
        assert await wrap(memory).read() == b"in memory"
    with io.StringIO("in memory") as memory_text:
        assert await wrap(memory_text).readline() == "in memory"
    with pytest.raises(TypeError, match="Unsupported io type"):
        wrap(5)


# Elsewhere


async def test_a_url_is_a_file_of_that_store() -> None:
    async with aiofs.open("memory://folder/file", "w") as file:
        await file.write("text\n")
    async with aiofiles.open("memory://folder/file") as file:
        assert [line async for line in file] == ["text\n"]
    async with aiofiles.open("memory://folder/file", "rb") as file:
        assert await file.read() == b"text\n"
    with pytest.raises(ValueError, match="scheme"):
        await aiofiles.open("nowhere://file")


@pytest.mark.parametrize("option", ["atomic", "lock"])
async def test_a_local_file_that_is_published_when_it_is_closed(tmp_path: Path, option: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    options: dict[str, Any] = {option: True}
    with pytest.raises(RuntimeError, match="stop"):
        async with aiofiles.open(path, "w", **options) as file:
            await file.write("new")
            raise RuntimeError("stop")
    assert path.read_text() == "old"
    async with aiofiles.open(path, "w", **options) as file:
        await file.write("new")
        with pytest.raises(BlockingIOError):
            await aiofiles.open(path, "w", **options)
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(ValueError, match="descriptor"):
        await aiofiles.open(0, "w", **options)
    with pytest.raises(ValueError, match="in place"):
        await aiofiles.open(path, "w", opener=os.open, **options)
