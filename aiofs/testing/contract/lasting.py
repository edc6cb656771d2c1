"""Behaviours 285 to 289: permission bits of files on the disk, and files that the store removes by itself."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf, nan
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import blocking
from aiofs.backends.memory import MemoryDriver
from aiofs.between import copy, move
from aiofs.errors import Unsupported
from aiofs.filesystem import FileSystem
from aiofs.layers.gzip import Gzip
from aiofs.testing.harness import PATIENCE, needs
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.modes import BinaryMode
    from aiofs.system import FileLikeSystem
    from aiofs.testing.harness import Harness

KEPT_BY_FEW: dict[str, Any] = {"permissions": 0o640, "ttl": 9.5}
"""The properties that few stores keep, each with a value."""
LONG, SHORT = 1000, 0.1
"""Seconds for which a file lives: long enough for the test, and as short as can be."""
SLACK = timedelta(seconds=60)
WRONG: dict[str, list[tuple[Any, type[Exception]]]] = {
    "permissions": [("640", TypeError), (True, TypeError), (6.0, TypeError), (-1, ValueError), (0o1777, ValueError)],
    "ttl": [("9", TypeError), (True, TypeError), *((wrong, ValueError) for wrong in (0, -1, nan, inf, 1e12))],
}


@needs("writable")
class Lasting:
    """What few stores keep: permission bits, and time to live."""

    @needs("permissions")
    async def test_285_permissions(self, store: Harness) -> None:
        """`permissions=` gives a file exactly these bits; `r+`, `a`, `copy` and `w` without it keep them."""
        fs = store.fs

        async def bits() -> set[int]:
            assert store.root is not None
            return await asyncio.to_thread(_bits, store.root)

        umask = os.umask(0o077)
        try:
            await fs.write_bytes("file", b"text", permissions=0o664)
        finally:
            os.umask(umask)
        assert await bits() == {0o664}
        modes: tuple[BinaryMode, ...] = ("r+", "a", "w")
        for mode in modes:
            async with fs.open("file", mode) as file:
                await file.write(b"more")
            assert await bits() == {0o664}
        await fs.copy("file", "copy")
        assert await bits() == {0o664}
        async with transaction(fs) as tx:
            await tx.write_bytes("file", b"private", permissions=0o600)
            await tx.append_bytes("file", b", still")
            await tx.copy("file", "copy")
            await tx.write_bytes("new", b"private", permissions=0o600)
        assert await bits() == {0o600}
        assert await store.get("copy") == b"private, still"
        for path, number in (("copy", 0o604), ("file", 0o444), ("new", 0o640)):
            await fs.write_text(path, "an existing file", permissions=number)
        assert await bits() == {0o604, 0o444, 0o640}
        assert await store.leftovers() == []

    @needs("ttl")
    async def test_287_goes_away(self, store: Harness) -> None:
        """A file with `ttl=` goes away by itself, with everything that belongs to it; no listing shows it then."""
        fs = store.fs
        files = {"a/small": b"bytes", "a/empty": b"", "large": os.urandom(2 * store.part_size + 1)}
        begun = datetime.now(UTC)
        for path, data in files.items():
            await fs.write_bytes(path, data, ttl=LONG)
        async with fs.open("text", "x", encoding="utf-8", ttl=LONG) as file:
            await file.write("text")
        for path, data in {**files, "text": b"text"}.items():
            expires = (await store.fresh().stat(path)).expires
            assert expires is not None
            assert begun - SLACK <= expires - timedelta(seconds=LONG) <= datetime.now(UTC) + SLACK
            assert await store.get(path) == data
        assert await store.names() == ["a/empty", "a/small", "large", "text"]
        for path, data in {**files, "text": b"text"}.items():
            await fs.write_bytes(path, data, ttl=SHORT)
            await _gone(store, path)
        assert await store.names() == await fs.ls(recursive=False) == await fs.glob("**") == []
        assert [entry async for entry in fs.scan()] == []
        for call in (fs.stat, fs.read_bytes, fs.rm):
            with pytest.raises(FileNotFoundError):
                await call("large")
        assert await store.leftovers() == []
        async with fs.open("large", "x") as stays:
            await stays.write(b"new")
        assert (await fs.stat("large")).expires is None

    @needs("ttl")
    async def test_288_keeps_its_time(self, store: Harness) -> None:
        """`a`, `r+`, `update`, `copy` and `move` keep when a file goes away; written again, it stays for ever.

        A copy in a store that keeps no such time is refused without `drop="metadata"`.
        """
        fs = store.fs
        for data in (b"bytes", os.urandom(store.part_size + 1)):
            await fs.write_bytes("file", data, ttl=LONG)
            await fs.write_text("other", "stays")
            before = (await fs.stat("file")).expires
            assert before is not None
            modes: tuple[BinaryMode, ...] = ("a", "r+")
            for mode in modes:
                async with fs.open("file", mode) as file:
                    await file.write(b"more")
                assert _close_to(before, (await fs.stat("file")).expires)
            await fs.update("file", lambda old: old + b"!")
            await fs.copy("file", "other")
            await fs.move("file", "moved")
            await fs.copy("moved", "file")
            for path in ("file", "other", "moved"):
                assert _close_to(before, (await store.fresh().stat(path)).expires)
            for path in ("file", "other", "moved"):
                await fs.write_text(path, "stays")
                assert (await fs.stat(path)).expires is None
            await fs.copy("moved", "other")
            await fs.append_bytes("made", b"stays")
            assert [(await fs.stat(path)).expires for path in ("other", "made")] == [None, None]
            await fs.rm("made", "other")
        assert await store.leftovers() == []
        elsewhere = FileSystem(MemoryDriver())
        await fs.write_bytes("file", b"bytes", ttl=LONG)
        for call in (copy, move):
            with pytest.raises(Unsupported, match=r"ttl.* drop='metadata'"):
                await call(fs / "file", elsewhere / "file")
        assert await elsewhere.ls() == []
        await copy(fs / "file", elsewhere / "file", drop="metadata")
        await copy(fs / "file", fs.over(Gzip()) / "other")
        await move(fs.over(Gzip()) / "other", fs / "moved")
        assert _close_to((await fs.stat("file")).expires, (await store.fresh().stat("moved")).expires)
        await copy(elsewhere / "file", fs / "moved")
        assert (await fs.stat("moved")).expires is None

    @needs("ttl")
    async def test_289_in_the_middle(self, store: Harness) -> None:
        """A reader of a file that goes away gets all bytes or an error; in a transaction the time begins at its end."""
        fs = store.fs
        large = os.urandom(3 * store.part_size + 1)
        await fs.write_bytes("file", large, ttl=SHORT)
        with suppress(FileNotFoundError):  # on a busy machine
            async with fs.open("file") as file:
                found = b""
                with suppress(OSError):
                    found = await file.read(10)
                    await _gone(store, "file")
                    found += await file.read()
                    assert found == large
        await fs.write_bytes("base", large, ttl=LONG)
        async with transaction(fs) as tx:
            for path, data in (("file", b"bytes"), ("large", large)):
                await tx.write_bytes(path, data, ttl=LONG)
                await tx.append_bytes(path, b"!")
                await tx.copy(path, f"copy of {path}")
            await tx.copy("base", "copy of base")
            await tx.append_bytes("base", b"!")
            await tx.write_bytes("stays", b"", ttl=SHORT)
            await tx.write_bytes("stays", b"")
        assert await store.get("copy of large") == large + b"!"
        end = datetime.now(UTC) + timedelta(seconds=LONG)
        entries = {path: await store.fresh().stat(path) for path in await store.names()}
        assert len(entries) == 7
        for path, entry in entries.items():
            assert entry.expires is None if path == "stays" else _close_to(end, entry.expires)
        async with transaction(fs) as tx:
            await tx.write_bytes("file", b"bytes", ttl=SHORT)
            await tx.write_bytes("large", large, ttl=SHORT)
        await _gone(store, "file")
        await _gone(store, "large")
        assert await store.leftovers() == []

    async def test_286_kept_or_refused(self, store: Harness) -> None:
        """`permissions` and `ttl` are refused by name, before any I/O, where they are not kept or have no sense."""
        for name, value in KEPT_BY_FEW.items():
            fs, chaos = store.troubled()
            if name in store.can.properties:
                for call in _appending(fs, {name: value}):
                    with pytest.raises(ValueError, match=name):
                        await call()
                for wrong, kind in WRONG.get(name, []):
                    for call in _writing(fs, {name: wrong}):
                        with pytest.raises(kind, match=name):
                            await call()
            else:
                systems: list[FileLikeSystem] = [fs, fs.at("folder")]
                calls = [call for system in systems for call in _writing(system, {name: value})]
                calls.append(partial(_block, fs, {name: value}))
                for call in calls:
                    with pytest.raises(Unsupported, match=name):
                        await call()
                async with transaction(store.fs, auto_commit=False) as tx:
                    for call in _writing(tx, {name: value}):
                        with pytest.raises(Unsupported, match=name):
                            await call()
                bare = store.connect()
                with pytest.raises(Unsupported, match=name):
                    await bare.write_bytes("file", b"new", **{name: value})
            assert not chaos.calls
        assert await store.names() == []


def _close_to(before: datetime | None, after: datetime | None) -> bool:
    return before is not None and after is not None and abs(after - before) < SLACK


async def _gone(store: Harness, path: str) -> None:
    """Wait until the file went away by itself."""
    deadline = time.monotonic() + PATIENCE
    while await store.fs.exists(path):
        assert time.monotonic() < deadline, f"{path} stays"
        await asyncio.sleep(0.02)


def _bits(root: os.PathLike[str]) -> set[int]:
    """Return the permission bits of the files below a folder."""
    return {
        stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
        for folder, _, names in os.walk(root)
        for name in names
    }


def _writing(fs: FileLikeSystem, options: dict[str, Any]) -> list[Callable[[], Awaitable[object]]]:
    return [
        partial(fs.write_bytes, "file", b"new", **options),
        partial(fs.write_text, "file", "new", **options),
        partial(fs.write_json, "file", {}, **options),
        partial(_open, fs, "w", options),
        partial(_open, fs, "x", options),
        partial(_open, fs, "wt", options),
        partial(_open, fs, "w", {**options, "partial": ""}),
        partial((fs / "file").write_bytes, b"new", **options),
    ]


def _appending(fs: FileLikeSystem, options: dict[str, Any]) -> list[Callable[[], Awaitable[object]]]:
    return [partial(_open, fs, mode, options) for mode in ("a", "r+", "r", "at")]


async def _block(fs: FileSystem, options: dict[str, Any]) -> None:
    def work() -> None:
        try:
            with fs.blocking.open("file", "wb", **options):
                pass
        finally:
            blocking.shutdown()

    await asyncio.to_thread(work)


async def _open(fs: Any, mode: str, options: dict[str, Any]) -> None:
    async with fs.open("file", mode, **options):
        pass
