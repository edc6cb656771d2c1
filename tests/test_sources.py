"""Sources and targets as other libraries have them, and whole files in a system of three methods."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import httpx
import pytest
from aiohttp import web
from starlette.datastructures import UploadFile

import aiofs
from aiofs.listing import listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 5000


class Shelf(aiofs.FileLikeSystem):
    """A user's system: three methods over files in memory, of which one writer has each."""

    def __init__(self) -> None:
        self.files = aiofs.MemoryFileSystem()

    def open(self, path: str, mode: Any = "r") -> Any:
        assert mode in {"r", "w", "a"}
        return self.files.open(path, mode)

    async def rm(self, *paths: str) -> None:  # type: ignore[override]  # what is left out is added
        await self.files.rm(*paths)

    @listing
    async def ls(self, path: str = "") -> AsyncIterator[str]:
        async for name in self.files.ls(path):
            yield name


@pytest.fixture
def fs() -> aiofs.FileSystem:
    return aiofs.MemoryFileSystem()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_an_upload_of_starlette(fs: aiofs.FileSystem) -> None:
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(DATA)
        spooled.seek(0)
        await fs.write_bytes("file", UploadFile(cast("Any", spooled)))
    assert await fs.read_bytes("file") == DATA


async def test_responses_of_httpx(fs: aiofs.FileSystem) -> None:
    async def streamed() -> AsyncIterator[bytes]:
        yield DATA
        yield b"end"

    def plain() -> Iterator[bytes]:
        yield DATA
        yield b"end"

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=streamed() if request.url.path == "/async" else DATA + b"end")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        async with client.stream("GET", "http://host/async") as response:
            await fs.write_bytes("file", response)
        assert await fs.read_bytes("file") == DATA + b"end"
        await fs.write_bytes("whole", await client.get("http://host/whole"))
        assert await fs.read_bytes("whole") == DATA + b"end"
    await fs.write_bytes("blocking", httpx.Response(200, content=plain()))
    assert await fs.read_bytes("blocking") == DATA + b"end"


async def test_a_stream_of_aiohttp(fs: aiofs.FileSystem) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=DATA)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as response:
            await fs.write_bytes("file", response.content)
            with pytest.raises(TypeError, match="content"):
                await fs.write_bytes("file", response)  # type: ignore[arg-type]
    finally:
        await runner.cleanup()
    assert await fs.read_bytes("file") == DATA


async def test_files_of_the_drop_in(fs: aiofs.FileSystem, tmp_path: Path) -> None:
    async with aiofs.open(tmp_path / "file", "wb") as file:
        await fs.write_bytes("file", DATA)
        await fs.download("file", file)
    async with aiofs.open(tmp_path / "file", "rb") as file:
        await fs.write_bytes("again", file)
    assert await fs.read_bytes("again") == DATA


async def test_a_source_is_read_when_the_lock_is_there(shelf: Shelf) -> None:
    """Waiting for another writer must not read half of a source that cannot be read twice."""
    source = io.BytesIO(DATA)
    async with shelf.open("file", "w"):
        with pytest.raises(BlockingIOError):
            await shelf.write_bytes("file", source, wait=0.05)
        assert source.tell() == 0
        waiting = asyncio.ensure_future(shelf.write_bytes("file", source, wait=20))
        await asyncio.sleep(0.03)
    await waiting
    assert await shelf.read_bytes("file") == DATA


async def test_an_error_of_the_source_is_not_waited_for(shelf: Shelf) -> None:
    calls = 0

    def busy() -> Iterator[bytes]:
        nonlocal calls
        calls += 1
        yield b"x"
        raise BlockingIOError(11, "the source is busy")

    with pytest.raises(BlockingIOError, match="the source"):
        await shelf.write_bytes("file", busy(), wait=20)
    assert calls == 1
    assert await shelf.ls() == []


async def test_whole_files_of_three_methods(shelf: Shelf, tmp_path: Path) -> None:
    assert (await shelf.write_bytes("file", [b"a", b"b"])).size == 2
    await shelf.append_bytes("file", iter([b"c"]))
    assert await shelf.read_bytes("file") == b"abc"
    with pytest.raises(TypeError, match="write_text"):
        await shelf.write_bytes("file", "text")  # type: ignore[arg-type]
    await shelf.write_json("json", [1])
    assert await shelf.read_json("json") == [1]
    options: list[dict[str, Any]] = [{"metadata": {"a": "b"}}, {"content_type": "text/plain"}, {"match": "v"}]
    for refused in options:
        with pytest.raises(aiofs.Unsupported):
            await shelf.write_text("file", "text", **refused)
    entry = await shelf.download("file", tmp_path / "file")
    assert (entry.path, entry.size) == ("file", 3)
    assert (tmp_path / "file").read_bytes() == b"abc"
    found = {path: result async for path, result in shelf.read_many(["file", "missing"])}
    assert found["file"] == b"abc"
    assert isinstance(found["missing"], FileNotFoundError)
    async for _, result in shelf.write_many({"x": b"1", "y": b"2"}):
        assert isinstance(result, aiofs.Entry)
    untyped: Any = shelf  # the type of `ls` is the subclass's own
    for names in (untyped.ls(limit=2), shelf.glob("*", limit=2)):
        assert await names == ["file", "json"]
    assert [entry.path async for entry in shelf.scan(limit=1)] == ["file"]
    with pytest.raises(ValueError, match="limit"):
        untyped.ls(limit=-1)


async def test_local_copies_of_three_methods(shelf: Shelf) -> None:
    async with shelf.local("new", "w") as path:
        path.write_bytes(b"new")
    async with shelf.local("new") as path:
        assert path.read_bytes() == b"new"
        assert path.name == "new"
    async with shelf.local("new", "r+") as path:
        path.write_bytes(path.read_bytes() + b"er")
    assert await shelf.read_bytes("new") == b"newer"


async def test_local_files_give_their_own(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("folder/file", b"x")
    for system, name in ((fs, "folder/file"), (fs.at("folder"), "file")):
        async with system.local(name) as path:
            assert path.samefile(tmp_path / "folder" / "file")
    async with fs.local("folder/file", "r+") as path:
        assert not path.samefile(tmp_path / "folder" / "file")


async def test_a_layer_that_changes_bytes_gives_a_copy(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path).over(aiofs.layers.Gzip())
    await fs.write_bytes("file.txt", DATA)
    async with fs.local("file.txt") as path:
        assert path.read_bytes() == DATA
        assert path.parent != tmp_path
        assert path.suffix == ".txt"
    async with aiofs.transaction(aiofs.OSFileSystem(tmp_path)) as tx:
        await tx.write_bytes("new", b"new")
        async with tx.local("new") as path:
            assert path.read_bytes() == b"new"


async def test_a_download_keeps_mode_and_link(fs: aiofs.FileSystem, tmp_path: Path) -> None:
    await fs.write_bytes("file", b"new")
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    await fs.download("file", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    await fs.download("file", os.fspath(tmp_path / "plain"))
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o666 & ~mask


async def test_a_target_that_takes_a_part_or_awaits(fs: aiofs.FileSystem) -> None:
    await fs.write_bytes("file", DATA)
    taken = bytearray()

    class Slow:
        def write(self, data: bytes) -> int:
            taken.extend(data[:1000])
            return min(len(data), 1000)

    class Awaited:
        async def write(self, data: bytes) -> None:
            taken.extend(data)

    for target in (Slow(), Awaited()):
        taken.clear()
        await fs.download("file", target)
        assert taken == DATA


async def test_repositories_take_sources(fs: aiofs.FileSystem) -> None:
    class Files(aiofs.UnitOfWork):
        raw = aiofs.repository(fs, at="raw")
        values = aiofs.repository(fs, at="values", of=aiofs.Json())

    async def chunks() -> AsyncIterator[bytes]:
        yield b"[1, "
        yield b"2]"

    async with Files() as files:
        await files.raw.put("list", [b"a", b"b"])
        await files.raw.put("file", io.BytesIO(DATA))
        await files.raw.create("generator", iter([b"x"]))
        await files.values.put("stream", chunks())
        await files.values.put("file", io.BytesIO(b"[3]"))
        await files.values.put("list", ["a", "b"])
        for wrong in (7, None, {"a": 1}, "text"):
            with pytest.raises(TypeError):
                await files.raw.put("wrong", wrong)  # type: ignore[arg-type]
    assert await fs.read_bytes("raw/list") == b"ab"
    assert await fs.read_bytes("raw/file") == DATA
    assert [await fs.read_json(f"values/{name}") for name in ("stream", "file", "list")] == [[1, 2], [3], ["a", "b"]]
    with pytest.raises(ZeroDivisionError):
        async with Files() as files:
            await files.raw.put("file", (bytes([1 // (2 - n)]) for n in range(3)))
    assert await fs.read_bytes("raw/file") == DATA


async def test_names_that_fail_end_the_loop(fs: aiofs.FileSystem) -> None:
    await fs.write_bytes("file", b"x")

    def names() -> Iterator[str]:
        yield "file"
        raise ZeroDivisionError

    found = []
    with pytest.raises(ZeroDivisionError):
        async for path, _ in fs.read_many(names(), concurrency=1):
            found.append(path)
    assert found == ["file"]
    assert len(asyncio.all_tasks()) == 1


async def test_pieces_whose_bytes_are_not_in_one_row() -> None:
    """A generator's small pieces are gathered, those of a list are written one by one."""
    fs, odd = aiofs.MemoryFileSystem(), memoryview(b"abcdef")[::2]
    for source in ([odd, odd], (piece for piece in [odd, odd])):
        await fs.write_bytes("file", source)
        assert await fs.read_bytes("file") == b"aceace"
