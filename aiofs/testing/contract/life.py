"""Behaviours 73 to 78, and 305 to 307: servers, event loops, and closing."""

from __future__ import annotations

import asyncio
import errno
import gc
import sys
import traceback
import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.errors import AccessDenied
from aiofs.layers.policy import ReadOnly
from aiofs.probing import probe
from aiofs.testing.harness import needs
from aiofs.testing.model import run_model

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aiofs.filesystem import FileSystem
    from aiofs.testing.chaos import Verb
    from aiofs.testing.harness import Harness


class Life:
    """Servers, loops and the life of a connection."""

    @needs("server")
    async def test_73_unreachable(self, store: Harness) -> None:
        """A store that cannot be reached raises a ConnectionError that is `retryable` and contains no secret."""
        assert store.unreachable is not None, "a suite with a server gives `unreachable=`"
        for error in await _failures(store, store.dressed(store.unreachable())):
            assert isinstance(error, ConnectionError), repr(error)
            assert getattr(error, "retryable", False), repr(error)

    @needs("credentials")
    async def test_74_denied(self, store: Harness) -> None:
        """Refused credentials raise a PermissionError, and no message shows them."""
        assert store.denied is not None, "a suite with credentials gives `denied=`"
        assert store.secrets, "a suite with credentials gives `secrets=`"
        for error in await _failures(store, store.dressed(store.denied())):
            assert isinstance(error, PermissionError), repr(error)
            assert not getattr(error, "retryable", False)

    @needs("writable")
    async def test_305_probe(self, store: Harness) -> None:
        """`aiofs.probe` finds out what a store does, and leaves nothing behind."""
        await store.put("kept", b"x")
        async with store.no_leftovers():
            report = await probe(store.fs)
        can = store.can
        assert (report.writes, report.removes) == (True, True)
        assert (report.locks, report.conditional) == (can.locks, can.conditional), report.advice
        assert (report.fences, report.metadata) == (can.fences, can.metadata)
        assert report.file_and_folder == can.file_and_folder
        assert await store.names() == ["kept"]
        assert str(report).startswith(f"{report.store}\n  this user may write files ")
        assert not [secret for secret in store.secrets if secret in f"{report} {report!r}"]

    async def test_306_probe_without_rights(self, store: Harness) -> None:
        """A probe by somebody who may not write or remove files writes nothing, and says why."""
        fs, chaos = store.troubled()
        report = await probe(fs.over(ReadOnly()))
        assert (report.writes, report.removes, report.locks) == (False, False, None)
        assert not [verb for verb in ("begin", "delete", "lock") if chaos.calls[verb]]
        if store.can.writable:
            chaos.fail("delete", AccessDenied.of("file", "this user may not remove files"))
            report = await probe(fs)
            assert (report.writes, report.removes) == (False, False)
            assert "(this user may not remove files)" in report.advice[0]
            assert not [verb for verb in ("begin", "lock") if chaos.calls[verb]]

    @needs("server")
    async def test_307_probe_of_nothing(self, store: Harness) -> None:
        """A probe of a server that is not there raises the ConnectionError of every other call."""
        assert store.unreachable is not None, "a suite with a server gives `unreachable=`"
        with pytest.raises(ConnectionError) as caught:
            await probe(store.dressed(store.unreachable()))
        assert not [secret for secret in store.secrets if secret in f"{caught.value!r}"]

    async def test_74_no_secret_shown(self, store: Harness) -> None:
        """No `repr` and no `str` shows a secret."""
        await store.put("file", b"x")
        async with store.fs.open("file") as file:
            shown = [repr(store.fs), str(store.fs), repr(file), str(file), str(store.driver), repr(store.driver)]
        with pytest.raises(FileNotFoundError) as caught:
            await store.fs.stat("missing")
        shown += ["".join(traceback.format_exception(caught.value))]
        for secret in store.secrets:
            assert not [text for text in shown if secret in text]

    async def test_75_closed_system(self, store: Harness) -> None:
        """Every method of a closed file system raises ValueError; it can be closed twice; others continue to work."""
        await store.put("file", b"x")
        fs = store.fresh()
        async with fs:
            assert await fs.read_bytes("file") == b"x"
        await fs.aclose()
        calls = (
            lambda: fs.open("file").__aenter__(),
            lambda: fs.open("file", "w").__aenter__(),
            lambda: fs.stat("file"),
            lambda: fs.read_bytes("file"),
            lambda: fs.write_bytes("file", b""),
            lambda: fs.rm("file"),
            lambda: _listed(fs),
        )
        for call in calls:
            with pytest.raises(ValueError, match="closed"):
                await call()
        assert await store.fs.read_bytes("file") == b"x"
        assert await store.fresh().read_bytes("file") == b"x"

    @needs("writable")
    async def test_75_closed_before_its_files(self, store: Harness) -> None:
        """Closing a file system aborts its open files: nothing is published, and closing such a file raises."""
        await store.put("file", b"x" * 100_000)
        for mode in ("r", "r+", "w", "a"):
            async with store.no_leftovers():
                fs = store.fresh()
                file = await fs.open("file", mode)
                if mode != "r":
                    await file.write(b"new" * store.part_size)
                else:
                    assert await file.read(1) == b"x"
                await fs.aclose()
                with pytest.raises(ValueError, match="closed"):
                    await file.read(1)
                if mode != "r":
                    with pytest.raises(ValueError, match=r"'file', opened at .+ nothing was published"):
                        await file.close()
                await file.abort()
                assert file.closed
            assert await store.get("file") == b"x" * 100_000
        await store.write_at_once("file")

    @needs("writable")
    async def test_75_closed_meanwhile(self, store: Harness) -> None:
        """Calls that are under way when the file system is closed are finished: a commit publishes its file."""
        uses: dict[Verb, Callable[[FileSystem], Awaitable[object]]] = {
            "read": lambda fs: fs.read_bytes("file"),
            "commit": lambda fs: fs.write_bytes("file", b"new"),
        }
        await store.put("file", b"old")
        for verb, use in uses.items():
            fs, chaos = store.troubled()
            gate = chaos.stall(verb)
            using = asyncio.ensure_future(use(fs))
            await gate.reached.wait()
            closing = asyncio.create_task(fs.aclose())
            await asyncio.sleep(0)
            gate.open()
            await asyncio.gather(using, closing)
        assert await store.get("file") == b"new"
        await store.write_at_once("file")

    @needs("writable")
    async def test_76_second_loop(self, store: Harness) -> None:
        """A process can run one event loop after another, with a new file system in each."""

        async def work(data: bytes) -> None:
            async with store.bare().over(*store.layers) as fs:
                async with fs.open("file", "w") as file:
                    await file.write(data)
                assert await fs.read_bytes("file") == data
                assert await fs.ls() == ["file"]

        def twice() -> None:
            for data in (b"one", b"two"):
                asyncio.run(work(data))

        await asyncio.to_thread(twice)
        assert await store.get("file") == b"two"

    @needs("writable", "blockbuster")
    async def test_77_never_blocks(self, store: Harness) -> None:
        """No call blocks the event loop."""
        from blockbuster import blockbuster_ctx  # noqa: PLC0415 -- only this behaviour needs it

        data = b"line\n" * 200_000
        with blockbuster_ctx():
            fs = store.fresh()
            async with fs.open("folder/file", "w") as file:
                await file.write(data)
                await file.flush()
            async with fs.open("folder/file", "r+") as file:
                await file.seek(10)
                await file.write(b"x" * 100_000)
            async with fs.open("folder/file", "a") as file:
                await file.write(b"end")
            async with fs.open("folder/file") as file:
                await file.readline()
                await file.seek(500_000)
                assert await file.read(100)
            assert len(await fs.read_bytes("folder/file")) == len(data) + 3
            async with fs.open("folder/text", "w", encoding="utf-8") as text:
                await text.write("text\n" * 1000)
            async with fs.open("folder/text", encoding="utf-8") as text:
                assert len([line async for line in text]) == 1000
            await fs.copy("folder/file", "copy")
            await fs.move("copy", "moved")
            assert await fs.ls() == ["folder/file", "folder/text", "moved"]
            assert [entry.path async for entry in fs.scan("folder")] == ["folder/file", "folder/text"]
            await fs.stat("moved")
            await fs.rm("moved", "folder/text")
            await fs.aclose()

    @needs("writable")
    async def test_78_no_warnings(self, store: Harness) -> None:
        """Everything that was opened is closed: garbage collection causes no warning."""
        with warnings.catch_warnings(record=True) as caught, _unraisable() as raised:
            warnings.simplefilter("always")
            fs = store.fresh()
            async with fs.open("file", "w") as file:
                await file.write(b"x" * 1000)
            async with fs.open("file") as file:
                await file.read(10)
            await fs.read_bytes("file", 5)
            async for _ in fs.ls():
                break
            await fs.rm("file")
            await fs.aclose()
            del fs, file
            gc.collect()
            await asyncio.sleep(0)
            gc.collect()
        assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []
        assert raised == []

    @needs("writable")
    async def test_118_model(self, store: Harness) -> None:
        """Random sequences of operations have the same results as a model of the contract."""
        await asyncio.to_thread(run_model, store)

    @needs("writable")
    async def test_119_many_at_once(self, store: Harness) -> None:
        """A hundred tasks can use one file system at the same time."""

        async def work(number: int) -> None:
            name = f"{number % 10}/{number}"
            await store.fs.write_bytes(name, b"%d" % number)
            assert await store.fs.read_bytes(name) == b"%d" % number
            async with store.fs.open(name, "a") as file:
                await file.write(b"!")
            assert (await store.fs.stat(name)).path == name

        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(work(number))
        assert len(await store.names()) == 100
        assert await store.get("7/77") == b"77!"


@needs("read-only")
class ReadOnlyStore:
    """Stores that can only be read."""

    async def test_120_read_only(self, store: Harness) -> None:
        """Every change raises PermissionError, or an error that says it is not supported, before anything happens."""
        await store.put("file", b"old")
        fs = store.fs
        for mode in ("w", "r+", "a", "x"):
            with pytest.raises(OSError) as caught:  # noqa: PT011 -- its errno says which
                await fs.open("file" if mode != "x" else "new", mode)
            assert caught.value.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP}
        calls = (
            partial(fs.rm, "file"),
            partial(fs.write_bytes, "file", b""),
            partial(fs.copy, "file", "new"),
            partial(fs.move, "file", "new"),
        )
        for call in calls:
            with pytest.raises(OSError) as caught:  # noqa: PT011 -- the same
                await call()
            assert caught.value.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP}
        assert await store.names() == ["file"]
        assert await store.get("file") == b"old"


async def _failures(store: Harness, fs: FileSystem) -> list[OSError]:
    """Return the errors of all kinds of requests, and check that none of them shows a secret."""

    async def write() -> None:
        async with fs.open("file", "w") as file:
            await file.write(b"x")

    failures = []
    calls = (
        partial(fs.stat, "file"),
        partial(fs.read_bytes, "file"),
        partial(_listed, fs),
        write,
        partial(fs.rm, "file"),
    )
    for call in calls:
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- the caller looks at it
            await call()
        failures.append(caught.value)
        assert caught.value.errno is not None
        assert caught.value.__cause__ is not None, f"{caught.value!r} does not say what the store's own client said"
        words = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert not [secret for secret in store.secrets if secret in words]
    return failures


async def _listed(fs: FileSystem) -> list[str]:
    return [name async for name in fs.ls()]


@contextmanager
def _unraisable() -> Iterator[list[str]]:
    """Collect exceptions that are raised where they cannot be caught."""
    raised: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda raising: raised.append(f"{raising.exc_value!r} in {raising.object!r}")
    try:
        yield raised
    finally:
        sys.unraisablehook = before
