"""Behaviours 330 to 339: code without asyncio."""

from __future__ import annotations

import asyncio
import gc
import io
import pickle
import threading
import warnings
import zipfile
from typing import TYPE_CHECKING

import pytest

from aiofs import blocking
from aiofs.errors import Unsupported
from aiofs.testing.harness import PATIENCE, Stop, needs
from aiofs.transactions.transaction import TransactionalFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiofs.blocking import BlockingFileSystem
    from aiofs.testing.harness import Harness

DATA = bytes(range(256)) * 1500
TEXT = "Grüße\nund\r\nmehr\n"
THREADS = 4  # no more than any machine runs by asyncio.to_thread


class BlockingFiles:
    """Files and verbs without `await`. A thread does the work, as the loop of the test may be that of the server."""

    @pytest.fixture(autouse=True)
    def _blocking_ends(self) -> Iterator[None]:
        """End the loop of blocking code, so that each behaviour has a new one and leaves none."""
        yield
        blocking.shutdown()

    @needs("writable")
    async def test_330_blocking_verbs(self, store: Harness) -> None:
        """`fs.blocking` has the verbs without `await`, with the same results and errors; listings are iterated."""
        fs = store.fs.blocking

        def work() -> None:
            fs.write_bytes("folder/one", DATA)
            fs.write_text("folder/two", TEXT, encoding="utf-8")
            assert fs.read_bytes("folder/one", 10, 300) == DATA[10:300]
            assert fs.read_text("folder/two", encoding="utf-8", newline="") == TEXT
            assert fs.exists("folder/one")
            assert fs.stat("folder/one").path == "folder/one"
            with fs.lock("jobs/nightly") as lease:
                assert not lease.lost
                lease.check()
                with pytest.raises(BlockingIOError), fs.lock("jobs/nightly"):
                    pass
            with fs.lock("jobs/nightly"):
                pass
            fs.copy("folder/one", "three")
            fs.move("folder/two", "two")
            assert list(fs.ls()) == ["folder/one", "three", "two"]
            assert [entry.path for entry in fs.scan("folder")] == ["folder/one"]
            assert list(fs.at("folder").ls()) == list(fs.at("folder").glob("*")) == ["one"]
            assert list(fs.walk()) == [("", ["folder"], ["three", "two"]), ("folder", [], ["one"])]
            if store.can.conditional:
                fs.update("three", lambda old: old + b"!")
                assert fs.read_bytes("three") == DATA + b"!"
            fs.rm("three", "two")
            assert not fs.exists("two")
            for missing in (lambda: fs.read_bytes("two"), lambda: fs.open("two"), lambda: fs.rm("two")):
                with pytest.raises(FileNotFoundError) as caught:
                    missing()
                assert caught.value.filename == "two"
            with pytest.raises(ValueError, match=r".+"):
                fs.read_bytes("/two")
            with pytest.raises(FileExistsError):
                fs.open("folder/one", "x")

        await asyncio.to_thread(work)
        assert await store.get("folder/one") == DATA

    @needs("writable")
    async def test_331_file_objects(self, store: Harness) -> None:
        """`open` returns the file objects of `io`, which Python's own modules use as files."""
        fs = store.fs.blocking

        def work() -> None:
            with fs.open("text", "w", encoding="utf-8", newline="") as file:
                assert isinstance(file, io.TextIOWrapper)
                file.writelines(TEXT.splitlines(keepends=True))
            with fs.open("text", "rt", encoding="utf-8") as file:
                assert list(file) == io.StringIO(TEXT, newline=None).readlines()
            with fs.open("pickled", "w") as writer:
                assert isinstance(writer, io.BufferedWriter)
                pickle.dump([DATA, TEXT], writer)
            assert writer.entry.path == "pickled"
            with fs.open("pickled") as reader:
                assert isinstance(reader, io.BufferedReader)
                assert pickle.load(reader) == [DATA, TEXT]  # noqa: S301 -- this test wrote it
                assert reader.seek(-10, io.SEEK_END) == reader.tell()
                assert len(reader.read()) == 10
                assert reader.seekable()
                reader.seek(0)
                assert [len(piece) for piece in reader.chunks(100_000)][:2] == [100_000] * 2

        await asyncio.to_thread(work)

    @needs("writable")
    async def test_332_blocking_block(self, store: Harness) -> None:
        """Leaving the `with` block by an exception publishes nothing, also if a text layer over the file closed it."""
        await store.put("file", b"old")
        fs = store.fs.blocking

        def work() -> None:
            with pytest.raises(Stop), fs.open("file", "w") as file:
                file.write(b"half of")
                raise Stop
            with pytest.raises(Stop), fs.open("file", "w") as file, io.TextIOWrapper(file) as text:
                text.write("half of")
                raise Stop
            with pytest.raises(Stop), fs.open("file", "wt", encoding="utf-8") as text:
                text.write("half of")
                raise Stop
            file = fs.open("file", "a")
            file.write(b"half of")
            file.abort()
            assert file.closed
            file.close()
            assert fs.read_bytes("file") == b"old"
            with fs.open("file", "w") as file, io.TextIOWrapper(file, "utf-8") as text:
                text.write("new")

        await asyncio.to_thread(work)
        assert await store.get("file") == b"new"
        await store.write_at_once("file")

    @needs("writable")
    async def test_333_never_closed(self, store: Harness) -> None:
        """A file that is collected before it was closed publishes nothing, also below a text layer of the user's."""
        await store.put("file", b"old")
        fs = store.fs.blocking

        def lose(wrap: Callable[[BlockingFileSystem], object]) -> list[str]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                wrap(fs)
                gc.collect()
            return [str(warning.message) for warning in caught if warning.category is ResourceWarning]

        def bytes_only(fs: BlockingFileSystem) -> None:
            fs.open("file", "w").write(b"half of")

        def below_text(fs: BlockingFileSystem) -> None:
            io.TextIOWrapper(fs.open("file", "w"), "utf-8").write("half of")

        def text(fs: BlockingFileSystem) -> None:
            fs.open("file", "w", encoding="utf-8").write("half of")

        for wrap in (bytes_only, below_text, text):
            told = await asyncio.to_thread(lose, wrap)
            assert any("'file'" in words and "lost" in words for words in told)
            await store.freed("file")
            assert await store.get("file") == b"old"

    @needs("writable")
    async def test_334_seekable(self, store: Harness) -> None:
        """`seekable` is False for a new file that the store takes in order, and an archive is written all the same."""
        fs = store.fs.blocking

        def work() -> None:
            with fs.open("archive", "w") as file:
                assert file.seekable() == store.can.rewrite
                if not file.seekable():
                    with pytest.raises(io.UnsupportedOperation):
                        file.seek(0)
                with zipfile.ZipFile(file, "w") as archive:
                    archive.writestr("one", DATA)
                    archive.writestr("two", TEXT)
            with fs.open("archive") as reader, zipfile.ZipFile(reader) as archive:
                assert archive.read("two").decode() == TEXT
                assert archive.read("one") == DATA
                assert archive.testzip() is None

        await asyncio.to_thread(work)

    @needs("writable")
    async def test_335_blocking_edits(self, store: Harness) -> None:
        """`r+` is an `io.BufferedRandom`, which reads what it wrote; `a` writes at the end."""
        await store.put("file", DATA)
        fs = store.fs.blocking

        def work() -> bytes:
            mirror = io.BytesIO(DATA)
            with fs.open("file", "r+") as file:
                assert isinstance(file, io.BufferedRandom)
                for offset in (300_000, 5, 250_000, len(DATA) - 2):
                    for both in (file, mirror):
                        both.seek(offset)
                        both.write(b"changed")
                    assert file.read(100) == mirror.read(100)
                    assert file.tell() == mirror.tell()
                file.seek(0)
                assert file.read() == mirror.getvalue()
            with fs.open("file", "a") as file:
                file.write(b"the end")
            return mirror.getvalue() + b"the end"

        expected = await asyncio.to_thread(work)
        assert await store.get("file") == expected

    @needs("writable")
    async def test_336_broken_off_listing(self, store: Harness) -> None:
        """A listing that is left early ends; one that goes on gives each name once."""
        names = [f"file {number:03}" for number in range(3 * store.page)]
        for name in names:
            await store.put(name)
        fs = store.fs.blocking

        def work() -> None:
            for name in fs.ls():
                assert name == names[0]
                break
            listing = iter(fs.ls())
            assert [next(listing), next(listing)] == names[:2]
            listing.close()
            assert list(listing) == []
            assert list(fs.ls()) == names

        await asyncio.to_thread(work)

    @needs("writable")
    async def test_337_many_threads(self, store: Harness) -> None:
        """Threads use one blocking file system at the same time; if several write one file, one of them succeeds."""
        fs = store.fs.blocking
        begun = threading.Barrier(THREADS)

        def work(number: int) -> bool:
            fs.write_bytes(f"of {number}", DATA[number:])
            begun.wait(PATIENCE)
            try:
                with fs.open("one", "w") as file:
                    file.write(b"%d" % number)
                    begun.wait(PATIENCE)
            except BlockingIOError:
                begun.wait(PATIENCE)
                return False
            return True

        won = await asyncio.gather(*[asyncio.to_thread(work, number) for number in range(THREADS)])
        assert won.count(True) == 1
        assert await store.get("one") == b"%d" % won.index(True)
        for number in range(THREADS):
            assert await store.get(f"of {number}") == DATA[number:]


class BlockingTransactions:
    """Transactions without `await`."""

    async def test_338_another_loops_transaction(self, store: Harness) -> None:
        """A transaction is of one event loop: used from another one, as by `tfs.blocking`, it is `Unsupported`."""
        await store.put("old", b"old")
        tfs = TransactionalFileSystem(store.fs)
        fs = tfs.blocking

        def work() -> None:
            for refused in (
                lambda: fs.write_bytes("new", b""),
                lambda: fs.read_bytes("old"),
                lambda: fs.rm("old"),
                lambda: fs.copy("old", "new"),
                lambda: list(fs.ls()),
                lambda: blocking.run(tx.exists("old")),
                lambda: blocking.run(tx.commit()),
            ):
                with pytest.raises(OSError, match="belongs to the event loop in which it began") as caught:
                    refused()
                assert isinstance(caught.value, Unsupported)

        try:
            async with tfs.transaction() as tx:
                await tfs.write_bytes("new", b"new")
                await asyncio.to_thread(work)
                await tfs.rm("old")
            assert await asyncio.to_thread(lambda: list(fs.ls())) == await store.names() == ["new"]
        finally:
            await asyncio.to_thread(blocking.shutdown)

    async def test_339_blocking_transaction(self, store: Harness) -> None:
        """`with aiofs.blocking.transaction(fs)` publishes all at its end; after an exception nothing."""
        await store.put("old", b"old")
        fs = store.fs.blocking

        def work() -> None:
            with blocking.transaction(fs) as tx:
                tx.move("old", "moved")
                with tx.open("new", "w", encoding="utf-8") as file:
                    file.write(TEXT)
                assert tx.exists("new")
                assert not fs.exists("new")
                with pytest.raises(Stop), tx.savepoint():
                    tx.rm("moved")
                    raise Stop
            assert list(fs.ls()) == ["moved", "new"]
            with pytest.raises(Stop), blocking.transaction({"it": fs}) as several:
                several["it"].rm("moved", "new")
                raise Stop
            assert several.state == "rolled back"
            assert list(fs.ls()) == ["moved", "new"]

        try:
            await asyncio.to_thread(work)
        finally:
            await asyncio.to_thread(blocking.shutdown)
