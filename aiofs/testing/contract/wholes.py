"""Behaviours 265 to 284: whole files from any source of bytes, as text and JSON, many at a time, and on the disk."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import tempfile
import threading
import weakref
from array import array
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.driver import ABSENT
from aiofs.errors import Unsupported
from aiofs.powers import HasLocalPaths
from aiofs.testing.harness import Stop, needs, until
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiofs.testing.harness import Harness

OLD, DATA = b"the old bytes", bytes(range(256)) * 9
MANY = 20


class Upload:
    """What web frameworks give: an object with an asynchronous `read`."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        await asyncio.sleep(0)
        return self._file.read(size)


class Answer:
    """What httpx gives: its `read` takes no size, and `aiter_bytes` gives the pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        """Return everything."""
        return self._data

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Yield the pieces."""
        for start in range(0, len(self._data), 1000):
            yield self._data[start : start + 1000]


class Blocking:
    """An object with a blocking `read`, which remembers the threads that it was called in."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.threads: set[int] = set()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        self.threads.add(threading.get_ident())
        return self._file.read(size)


async def pieces(data: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    """Yield the bytes in pieces, and then raise."""
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]
    if error is not None:
        raise error


def plain_pieces(data: bytes) -> Iterator[bytearray]:
    """Yield the bytes in pieces, in a buffer that is used again, as some readers do."""
    buffer = bytearray()
    for start in range(0, len(data), 1000):
        buffer[:] = data[start : start + 1000]
        yield buffer


def sources(data: bytes) -> list[Any]:
    """Return the bytes in all kinds of sources."""
    file = io.BytesIO(b"before" + data)
    file.seek(len(b"before"))
    return [
        memoryview(data),
        array("B", data),
        [data[:100], b"", memoryview(data)[100:]],
        plain_pieces(data),
        pieces(data),
        file,
        Blocking(data),
        Upload(data),
        Answer(data),
    ]


@needs("writable")
class Sources:
    """Whatever has bytes can be written."""

    async def test_265_every_source(self, store: Harness) -> None:
        """`write_bytes` and `append_bytes` take bytes, iterables, asynchronous iterables, and objects with a `read`."""
        for source in sources(DATA):
            await store.put("file", OLD)
            entry = await store.fs.write_bytes("file", source)
            assert await store.get("file") == DATA, source
            assert entry.path == "file"
        for source in sources(DATA):
            await store.put("file", OLD)
            await store.fs.append_bytes("file", source)
            assert await store.get("file") == OLD + DATA, source
        await store.fs.write_bytes("file", [])
        assert await store.get("file") == b""
        large = DATA * (2 * store.part_size // len(DATA) + 1)
        await store.fs.write_bytes("file", pieces(large))
        assert await store.get("file") == large

    async def test_266_blocking_sources(self, store: Harness) -> None:
        """A blocking `read`, and an iterator, run in a thread."""
        source = Blocking(DATA)
        threads: set[int] = set()

        def generated() -> Iterator[bytes]:
            threads.add(threading.get_ident())
            yield DATA
            threads.add(threading.get_ident())

        await store.fs.write_bytes("file", source)
        await store.fs.write_bytes("file", generated())
        assert threading.get_ident() not in source.threads | threads
        assert source.threads
        assert threads
        assert await store.get("file") == DATA

    async def test_267_no_bytes(self, store: Harness) -> None:
        """A source without bytes raises TypeError before any I/O; for a `str` the error names `write_text`."""
        await store.put("file", OLD)
        opening = store.fs.open("file")
        wrongs: list[Any] = [0, None, 1.5, {}, {b"a": b"b"}, {b"a"}, io.StringIO("text"), opening, bytes, object()]
        async with store.fs.open("file", "w"):  # whoever asked for the lock would get a BlockingIOError
            for verb in (store.fs.write_bytes, store.fs.append_bytes):
                with pytest.raises(TypeError, match="write_text"):
                    await verb("file", "text")  # type: ignore[arg-type]
                for wrong in wrongs:
                    with pytest.raises(TypeError):
                        await verb("file", wrong)
        with pytest.raises(TypeError, match="size"):
            await store.fs.write_bytes("file", _NoSize())  # type: ignore[arg-type]
        await store.put("file", OLD)
        assert await store.get("file") == OLD

    async def test_268_failing_sources(self, store: Harness) -> None:
        """If a source fails, or gives no bytes, nothing is published; its own error is raised, and it is closed."""
        await store.put("file", OLD)
        closed: list[str] = []

        def generated(last: Any) -> Iterator[Any]:
            try:
                yield b"x" * 3 * 1024 * 1024
                yield last
                raise Stop
            finally:
                closed.append("a generator")

        bad: list[tuple[Any, type[Exception]]] = [
            (pieces(DATA, Stop()), Stop),
            (generated(b"x"), Stop),
            (generated("text"), TypeError),
            ([DATA, "text"], TypeError),
            ([DATA, 7], TypeError),
            (pieces(DATA, OSError("of the source")), OSError),
        ]
        for source, error in bad:
            async with store.no_leftovers():
                with pytest.raises(error) as caught:
                    await store.fs.write_bytes("file", source)
                assert getattr(caught.value, "filename", None) is None
            assert await store.get("file") == OLD
        assert closed == ["a generator"] * 2
        with pytest.raises(Stop):
            await store.fs.append_bytes("new", pieces(DATA, Stop()))
        assert await store.names() == ["file"]
        await store.write_at_once("file")

    async def test_269_cancelled_sources(self, store: Harness) -> None:
        """A write that is cancelled while it waits for its source publishes nothing, and closes the source."""
        await store.put("file", OLD)
        reached, closed = asyncio.Event(), asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            try:
                yield DATA
                reached.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        async with store.no_leftovers():
            task = asyncio.create_task(store.fs.write_bytes("file", endless()))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert closed.is_set()
        assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_270_files_of_ours(self, store: Harness) -> None:
        """An open file of a file system is a source, also for the file that it reads."""
        await store.put("source", DATA)
        async with store.fs.open("source") as source:
            await store.fs.write_bytes("target", source)
        assert await store.get("target") == DATA
        async with store.fs.open("source") as source:
            assert await source.read(10) == DATA[:10]
            await store.fs.write_bytes("source", source)
        assert await store.get("source") == DATA[10:]
        async with store.fs.open("source") as source:
            await store.fs.append_bytes("source", source)
        assert await store.get("source") == DATA[10:] * 2
        async with store.fs.open("source", "r+") as source:
            with pytest.raises(BlockingIOError):
                await store.fs.write_bytes("source", source)
        async with store.fs.open("source", "rt", encoding="latin-1") as text:
            with pytest.raises(TypeError):
                await store.fs.write_bytes("target", text)  # type: ignore[arg-type]
        assert await store.get("target") == DATA

    async def test_271_bounded_memory(self, store: Harness) -> None:
        """However much a source gives, only a few of its pieces are in memory."""
        alive: weakref.WeakSet[_Piece] = weakref.WeakSet()
        most = 0

        def generated() -> Iterator[_Piece]:
            nonlocal most
            for _ in range(64):
                piece = _Piece(1 << 16)
                alive.add(piece)
                most = max(most, len(alive))
                yield piece

        async def awaited() -> AsyncIterator[_Piece]:
            for piece in generated():
                yield piece

        for source in (generated(), awaited()):
            await store.fs.write_bytes("file", source)
        assert most < 8
        assert await store.get("file") == bytes(64 << 16)

    async def test_272_sources_in_a_transaction(self, store: Harness) -> None:
        """Transactions take the same sources, and a source that fails there changes nothing."""
        await store.put("file", OLD)
        async with transaction(store.fs) as tx:
            await tx.write_bytes("file", pieces(DATA))
            await tx.append_bytes("file", Upload(DATA))
            with pytest.raises(Stop):
                await tx.write_bytes("file", pieces(OLD, Stop()))
            assert await store.get("file") == OLD
        assert await store.get("file") == 2 * DATA


@needs("writable")
class WholeTexts:
    """Text and JSON, downloads, and many files at a time."""

    async def test_273_text(self, store: Harness) -> None:
        """`write_text` takes what `write_bytes` takes beside the bytes, and returns the entry."""
        fs = store.fs
        entry = await fs.write_text("file", "zwölf\n", "latin-1")
        assert await store.get("file") == "zwölf\n".encode("latin-1")
        assert entry.path == "file"
        about: dict[str, Any] = {"metadata": {"owner": "ann"}}
        if store.can.metadata:
            await fs.write_text("file", "new", **about)
            await fs.write_json("json", [], **about)
            assert [(await fs.stat(path)).metadata for path in ("file", "json")] == [{"owner": "ann"}] * 2
        else:
            with pytest.raises(Unsupported):
                await fs.write_text("file", "new", **about)
        if store.can.conditional:
            with pytest.raises(FileExistsError):
                await fs.write_text("file", "new", match=ABSENT)
        async with store.fs.open("file", "r+"):
            with pytest.raises(BlockingIOError):
                await fs.write_text("file", "new", wait=0.01)

    async def test_274_json(self, store: Harness) -> None:
        """`write_json` and `read_json` use the standard library, or functions of the user's for text or bytes."""
        fs = store.fs
        value = {"zwölf": [1, None, 2.5]}
        await fs.write_json("file", value)
        assert json.loads(await store.get("file") or b"") == value
        assert await fs.read_json("file") == value
        await fs.write_json("file", value, dumps=lambda given: json.dumps(given, indent=1).encode())
        assert await fs.read_json("file", loads=lambda data: (json.loads(data), len(data) > 30)) == (value, True)
        for wrong, dumps in ((object(), json.dumps), (1, lambda _: 7)):
            with pytest.raises(TypeError):
                await fs.write_json("file", wrong, dumps=dumps)  # type: ignore[arg-type]
        assert await fs.read_json("file") == value
        await store.put("file", b"{")
        with pytest.raises(ValueError, match="line 1") as caught:
            await fs.read_json("file")
        assert any("'file'" in note for note in caught.value.__notes__)
        with pytest.raises(FileNotFoundError):
            await fs.read_json("missing")

    async def test_275_download(self, store: Harness) -> None:
        """`download` writes a file to a local path, or to an open file whose `write` blocks or is awaited."""
        fs = store.fs
        large = DATA * 1000
        await store.put("folder/file", large)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "target")
            for place in (target, str(target)):
                entry = await fs.download("folder/file", place)
                assert _read(target) == large
                assert os.listdir(folder) == ["target"]
                assert entry.path == "folder/file"
            with io.FileIO(target, "w") as raw:
                await fs.download("folder/file", raw)
                assert not raw.closed
            assert _read(target) == large
        memory = io.BytesIO()
        await fs.download("folder/file", memory)
        assert memory.getvalue() == large
        async with fs.open("copy", "w") as file:
            await fs.download("folder/file", file)
        assert await store.get("copy") == large

    async def test_276_failed_download(self, store: Harness) -> None:
        """A download that fails leaves the local file as it was, and nothing beside it."""
        fs, chaos = store.troubled()
        await store.put("file", DATA)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "target")
            _write(target, OLD)
            chaos.fail("chunk", OSError(errno.EIO, "broken"))
            with pytest.raises(OSError, match="broken"):
                await fs.download("file", target)
            with pytest.raises(FileNotFoundError) as caught:
                await fs.download("missing", target)
            assert caught.value.filename == "missing"
            with pytest.raises(FileNotFoundError) as caught:
                await store.fs.download("file", Path(folder, "no folder", "target"))
            with pytest.raises(IsADirectoryError):
                await store.fs.download("file", folder)
            wrongs: list[Any] = [None, 7, io.StringIO(), b"path"]
            for wrong in wrongs:
                with pytest.raises(TypeError):
                    await store.fs.download("missing", wrong)
            assert _read(target) == OLD
            assert os.listdir(folder) == ["target"]

    async def test_277_read_many(self, store: Harness) -> None:
        """`read_many` gives the bytes of each file, or its error."""
        names = [f"folder/{number}" for number in range(MANY)]
        for name in names:
            await store.put(name, name.encode())

        async def streamed() -> AsyncIterator[str]:
            for name in names:
                yield name

        for given in (names, iter(names), streamed()):
            found = {path: data async for path, data in store.fs.read_many(given, concurrency=3)}
            assert found == {name: name.encode() for name in names}
        found = {path: data async for path, data in store.fs.read_many(["folder/0", "missing", "/bad"])}
        assert found["folder/0"] == b"folder/0"
        assert isinstance(found["missing"], FileNotFoundError)
        assert isinstance(found["/bad"], ValueError)
        assert [item async for item in store.fs.read_many([])] == []

    async def test_278_write_many(self, store: Harness) -> None:
        """`write_many` writes each file, from any source, and gives its entry, or its error."""
        files: dict[str, Any] = {f"folder/{number}": b"%d" % number for number in range(MANY)}
        found = {path: entry async for path, entry in store.fs.write_many(files, concurrency=3)}
        assert {path: getattr(entry, "path", entry) for path, entry in found.items()} == {path: path for path in files}
        assert {name: await store.get(name) for name in await store.names()} == files
        odd: list[tuple[str, Any]] = [("a", pieces(DATA)), ("b", "text"), ("c", pieces(DATA, Stop())), ("/d", b"")]
        found = {path: entry async for path, entry in store.fs.write_many(odd)}
        assert await store.get("a") == DATA
        assert [type(found[path]) for path in ("b", "c", "/d")] == [TypeError, Stop, ValueError]
        async with transaction(store.fs) as tx:
            async for _, result in tx.write_many({"folder/0": b"new", "e": b"new"}):
                assert not isinstance(result, Exception)
            assert await store.get("folder/0") == b"0"
        assert await store.get("folder/0") == await store.get("e") == b"new"

    async def test_279_leaving_the_loop(self, store: Harness) -> None:
        """At most `concurrency` files are read ahead, and leaving the loop cancels them."""
        await store.put("file", DATA)
        taken = 0

        def endless() -> Iterator[str]:
            nonlocal taken
            while True:
                taken += 1
                yield "file"

        async for _, data in store.fs.read_many(endless(), concurrency=3):
            assert data == DATA
            break
        await until(lambda: not _under_way())
        assert taken <= 3
        async with store.no_leftovers(), aclosing(store.fs.write_many(_stuck(), concurrency=2)) as writing:
            async for path, _ in writing:
                assert path == "quick"
                break
        assert not _under_way()
        assert await store.names() == ["file", "quick"]

    async def test_280_wrong_concurrency(self, store: Harness) -> None:
        """A `concurrency` that is no whole number greater than 0, and what is not several, are refused at once."""
        fs: Any = store.fs
        for verb in (fs.read_many, fs.write_many):
            for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
                with pytest.raises(error, match="concurrency"):
                    verb([], concurrency=wrong)
            for no_files in (None, 1, "name"):
                with pytest.raises(TypeError):
                    verb(no_files)
        with pytest.raises(TypeError, match="wait"):
            fs.write_many({}, wait="1")
        with pytest.raises(ValueError, match="wait"):
            fs.write_many({}, wait=-1)
        closed = store.fresh()
        await closed.aclose()
        with pytest.raises(ValueError, match="closed"):
            await anext(closed.read_many(["file"]))


@needs("writable")
class LocalCopies:
    """Listings with a limit, and a file on the disk."""

    async def test_281_limit(self, store: Harness) -> None:
        """`ls`, `scan` and `glob` list the first `limit` names, and no more of the store than they need."""
        fs: Any = store.fs
        names = [f"folder/{number:02d}" for number in range(MANY)]
        for name in names:
            await store.put(name)
        for limit in (0, 1, MANY - 1, MANY, MANY + 1, None):
            assert await fs.ls(limit=limit) == names[:limit]
            assert await fs.ls("folder", after="folder/04", limit=limit) == names[5:][:limit]
            assert [entry.path async for entry in fs.scan(limit=limit)] == names[:limit]
            assert await fs.glob("**/*[13579]", limit=limit) == names[1::2][:limit]
            assert await fs.ls(recursive=False, limit=limit) == ["folder/"][:limit]
        for verb in (fs.ls, fs.scan, fs.glob):
            for wrong, error in ((-1, ValueError), (1.5, TypeError), ("1", TypeError), (True, TypeError)):
                with pytest.raises(error, match="limit"):
                    verb("folder", limit=wrong)

    async def test_282_read_only(self, store: Harness) -> None:
        """`local` gives the file on the disk, under its own name, and leaves no copy behind."""
        await store.put("folder/film.mp4", DATA)
        async with store.fs.local("folder/film.mp4") as path:
            assert path.read_bytes() == DATA
            assert path.suffix == ".mp4" or store.layers
        own = store.fs.driver.offers(HasLocalPaths) is not None
        assert path.exists() == own
        assert path.parent.exists() == own
        with pytest.raises(FileNotFoundError) as caught:
            async with store.fs.local("missing"):
                pass
        assert caught.value.filename == "missing"
        for mode, wait in (("a", 0), ("rb", 0), ("r", 1)):
            with pytest.raises(ValueError, match=r"mode|wait"):
                async with store.fs.local("folder/film.mp4", mode, wait=wait):  # type: ignore[arg-type]
                    pass
        assert await store.get("folder/film.mp4") == DATA

    async def test_283_written_back(self, store: Harness) -> None:
        """With `r+` and `w`, what the file on the disk holds at the end is published in one step, under the lock."""
        fs = store.fs
        await store.put("file", OLD)
        async with fs.local("file", "r+") as path:
            assert path.read_bytes() == OLD
            with path.open("ab") as file:
                file.write(DATA)
            with pytest.raises(BlockingIOError):
                await store.fresh().write_bytes("file", b"theirs")
            assert await store.get("file") == OLD
        assert await store.get("file") == OLD + DATA
        assert not path.parent.exists()
        async with fs.local("file", "r+") as path:
            path.with_name("other").write_bytes(b"short")
            path.with_name("other").replace(path)
        assert await store.get("file") == b"short"
        async with fs.local("new", "w", wait=1) as path:
            assert path.read_bytes() == b""
            path.write_bytes(DATA)
        assert await store.get("new") == DATA
        async with transaction(fs) as tx:
            async with tx.local("new", "r+") as path:
                path.write_bytes(b"in a transaction")
            async with tx.local("new") as path:
                assert path.read_bytes() == b"in a transaction"
            assert await store.get("new") == DATA
        assert await store.get("new") == b"in a transaction"

    async def test_284_not_written_back(self, store: Harness) -> None:
        """An exception in the block publishes nothing, and leaves nothing, nor does a file that is gone at the end."""
        await store.put("file", OLD)
        async with store.no_leftovers():
            for mode in ("r+", "w"):
                with pytest.raises(Stop):
                    async with store.fs.local("file", mode) as path:
                        path.write_bytes(DATA)
                        raise Stop
                assert not path.parent.exists()
                with pytest.raises(FileNotFoundError):
                    async with store.fs.local("file", mode) as path:
                        path.unlink()
            with pytest.raises(FileNotFoundError):
                async with store.fs.local("missing", "r+"):
                    pass
        assert await store.get("file") == OLD
        assert await store.names() == ["file"]
        await store.write_at_once("file")


class _Piece(bytearray):
    """Bytes that a weak reference can point to."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


class _NoSize:
    async def read(self) -> bytes:
        return b""


def _under_way() -> list[object]:
    """Return the tasks that read or write one of many files; a store may have other tasks."""
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    return [each for each in coroutines if getattr(each, "__qualname__", "").startswith("WholeFiles.")]


def _stuck() -> Iterator[tuple[str, Any]]:
    async def never() -> AsyncIterator[bytes]:
        yield DATA
        await asyncio.Event().wait()

    yield "stuck", never()
    yield "quick", b"quick"
    yield "stuck, too", never()
