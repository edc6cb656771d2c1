"""Behaviours 68 to 72: removing, versions and errors."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest

from aiofs.testing.harness import needs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiofs.driver import Entry
    from aiofs.modes import BinaryMode
    from aiofs.properties import Properties
    from aiofs.testing.harness import Harness


@needs("writable")
class Removing:
    """Removing files."""

    async def test_68_rm_then_gone(self, store: Harness) -> None:
        """`rm` removes one file or several, for all connections, and they can be written again."""
        for name in ("a", "b/c", "b/d", "e"):
            await store.put(name, b"old")
        other = store.fresh()
        await store.fs.rm("a")
        assert not await other.exists("a")
        with pytest.raises(FileNotFoundError):
            await store.fs.open("a")
        with pytest.raises(FileNotFoundError):
            await other.stat("a")
        await store.fs.rm("b/c", "e")
        assert await store.names() == ["b/d"]
        async with store.fs.open("a", "x") as file:
            await file.write(b"new")
        assert await store.get("a") == b"new"
        await store.fs.rm("a", "b/d")
        assert await store.names() == []
        assert await store.leftovers() == []

    async def test_69_rm_missing(self, store: Harness) -> None:
        """`rm` of a missing file raises FileNotFoundError with its name, unless `missing_ok=True`."""
        await store.put("a", b"stays")
        with pytest.raises(FileNotFoundError) as caught:
            await store.fs.rm("folder/missing")
        assert caught.value.filename == "folder/missing"
        await store.fs.rm("folder/missing", missing_ok=True)
        await store.fs.rm("missing", "a", missing_ok=True)
        assert await store.names() == []

    async def test_70_rm_literal(self, store: Harness) -> None:
        """Names are literal: brackets, stars and question marks are not patterns."""
        for name in ("1.txt", "a.txt"):
            await store.put(name, b"stays")
        for name in ("[1].txt", "*.txt", "?.txt", "**"):
            if not store.cannot_hold(name):
                with pytest.raises(FileNotFoundError):
                    await store.fs.rm(name)
                await store.put(name, b"goes")
                await store.fs.rm(name)
        assert await store.names() == ["1.txt", "a.txt"]

    async def test_113_rm_all_or_none(self, store: Harness) -> None:
        """If one of several files cannot be removed, none is."""
        for name in ("a", "b", "c"):
            await store.put(name, b"old")
        with pytest.raises(FileNotFoundError) as caught:
            await store.fs.rm("a", "b", "missing", "c")
        assert caught.value.filename == "missing"
        assert await store.names() == ["a", "b", "c"]
        await store.fs.rm("a", "a", "b")
        assert await store.names() == ["c"]

    async def test_114_rm_glob(self, store: Harness) -> None:
        """`rm(glob=)` removes the files that match the pattern, and no others."""
        for name in ("a.txt", "b.csv", "d/a.txt", "d/e.txt"):
            await store.put(name)
        await store.fs.rm(glob="d/*.txt")
        assert await store.names() == ["a.txt", "b.csv"]
        await store.fs.rm("b.csv", glob="*.txt")
        assert await store.names() == []

    async def test_115_copy_and_move(self, store: Harness) -> None:
        """`copy` and `move` keep the bytes and replace a file of the new name; after `move` the old name is gone."""
        await store.put("a", b"bytes of a")
        await store.put("b", b"a much longer text in b")
        await store.fs.copy("a", "b")
        assert await store.get("a") == await store.get("b") == b"bytes of a"
        await store.fs.move("a", "folder/c")
        assert await store.names() == ["b", "folder/c"]
        await store.fs.move("folder/c", "b")
        assert await store.names() == ["b"]
        assert await store.get("b") == b"bytes of a"
        await store.fs.copy("b", "b")
        await store.fs.move("b", "b")
        assert await store.get("b") == b"bytes of a"
        for call in (store.fs.copy, store.fs.move):
            with pytest.raises(FileNotFoundError) as caught:
                await call("missing", "b")
            assert caught.value.filename == "missing"
        assert await store.get("b") == b"bytes of a"
        assert await store.leftovers() == []

    async def test_116_copy_and_move_respect_writers(self, store: Harness) -> None:
        """Neither replaces a file that somebody is writing."""
        await store.put("a", b"bytes of a")
        await store.put("b", b"bytes of b")
        async with store.fs.open("b", "w") as file:
            await file.write(b"new")
            for call in (store.fs.copy, store.fs.move):
                with pytest.raises(BlockingIOError) as caught:
                    await call("a", "b")
                assert caught.value.filename == "b"
            with pytest.raises(BlockingIOError):
                await store.fs.move("b", "c")
        assert await store.names() == ["a", "b"]
        assert await store.get("b") == b"new"
        await store.write_at_once("a")


class FileFacts:
    """Versions, metadata and errors."""

    @needs("writable")
    async def test_71_version_changes(self, store: Harness) -> None:
        """The version changes with every write, also of the same bytes, and at no other time."""
        await store.put("other", b"")
        seen = []
        for data in (b"a", b"a", b"b", b"a", b""):
            await store.put("file", data)
            version = (await store.fs.stat("file")).version
            assert version is not None
            await store.fs.read_bytes("file")
            await store.put("other", data)
            assert (await store.fresh().stat("file")).version == version
            seen.append(version)
        assert len(set(seen)) == len(seen) if store.versions_differ else len(set(seen)) > 1
        assert seen[1] != seen[2]

    async def test_72_errors_are_oserror(self, store: Harness) -> None:
        """A failure is an OSError with errno and filename, and the error of the store is its cause."""
        fs = store.fs
        calls: list[Callable[[], Awaitable[object]]] = [
            partial(fs.stat, "folder/missing"),
            partial(fs.read_bytes, "folder/missing"),
        ]
        if store.can.writable:
            calls.append(partial(fs.copy, "folder/missing", "other"))
        for call in calls:
            with pytest.raises(FileNotFoundError) as caught:
                await call()
            assert caught.value.errno == errno.ENOENT
            assert caught.value.filename == "folder/missing"
            assert "folder/missing" in str(caught.value)

    @needs("writable")
    async def test_72_failures_name_their_file(self, store: Harness) -> None:
        """An OSError of the store keeps its class and errno, and gets the name of the file."""
        await store.put("file", b"old bytes")
        for verb in ("read", "chunk", "lock", "begin", "write", "commit"):
            fs, chaos = store.troubled()
            mode: BinaryMode = "r" if verb in {"read", "chunk"} else "w"
            chaos.fail(verb, TimeoutError(errno.ETIMEDOUT, "too slow"))
            with pytest.raises(TimeoutError) as caught:
                async with fs.open("file", mode) as file:
                    await (file.read() if mode == "r" else file.write(b"new"))
            assert caught.value.errno == errno.ETIMEDOUT
            assert caught.value.filename == "file"
        assert await store.get("file") == b"old bytes"

    @needs("writable", "metadata")
    async def test_117_metadata(self, store: Harness) -> None:
        """Metadata belongs to a version, and is kept by `r+`, `a` and `copy`."""
        about = {"kind": "letter", "empty": "", "sign": 'é ☃ = % " ,'}
        async with store.fs.open("file", "w", metadata=about) as file:
            await file.write(b"text")
        assert dict((await store.fresh().stat("file")).metadata or {}) == about
        for mode in ("r+", "a"):
            async with store.fs.open("file", mode) as file:
                await file.write(b"more")
            assert dict((await store.fs.stat("file")).metadata or {}) == about
        await store.fs.copy("file", "copy")
        assert dict((await store.fs.stat("copy")).metadata or {}) == about
        await store.put("file", b"new")
        assert not (await store.fs.stat("file")).metadata

    @needs("writable", "properties")
    async def test_132_properties(self, store: Harness) -> None:
        """Content type and other properties belong to a version, and are kept by `r+`, `a` and `copy`."""
        wanted = {name: value for name, value in _PROPERTIES.items() if name in store.driver.capabilities.properties}
        properties = cast("Properties", wanted)
        async with store.fs.open("file", "w", **properties) as file:
            await file.write(b"text")
        assert _properties_of(await store.fresh().stat("file"), wanted) == wanted
        for mode in ("r+", "a"):
            async with store.fs.open("file", mode) as file:
                await file.write(b"more")
            assert _properties_of(await store.fs.stat("file"), wanted) == wanted
        await store.fs.copy("file", "copy")
        assert _properties_of(await store.fs.stat("copy"), wanted) == wanted
        await store.put("file", b"new")
        anew = _properties_of(await store.fs.stat("file"), wanted)
        assert not any(anew[name] == wanted[name] for name in wanted)

    @needs("writable", "history")
    async def test_133_history(self, store: Harness) -> None:
        """Old versions are listed, the newest first, can be read, and can be restored as the newest one."""
        for data in (b"first", b"second"):
            await store.put("file", data)
            await store.put("other", data)
        versions = await store.fs.history("file")
        assert [entry.path for entry in versions] == ["file", "file"]
        for entry, data in zip(versions, (b"second", b"first"), strict=True):
            async with store.fresh().open("file", version_id=entry.version_id) as file:
                assert await file.read() == data
        first = versions[1].version_id
        assert first is not None
        async with store.fresh().open("file", "r+"):
            with pytest.raises(BlockingIOError):
                await store.fs.restore("file", first)
        assert await store.get("file") == b"second"
        await store.fs.restore("file", first)
        assert await store.get("file") == b"first"
        ids = [entry.version_id async for entry in store.fs.history("file")]
        assert ids[1:] == [entry.version_id for entry in versions]
        with pytest.raises(FileNotFoundError) as caught:
            await store.fs.restore("missing", first)
        assert caught.value.filename == "missing"


_PROPERTIES = {
    "content_type": "text/csv; charset=utf-8",
    "cache_control": "max-age=60, private",
    "content_disposition": 'attachment; filename="may.csv"',
    "content_language": "de, en",
}


def _properties_of(entry: Entry, names: Iterable[str]) -> dict[str, object]:
    known = {"content_type": entry.content_type, **(entry.properties or {})}
    return {name: known.get(name) for name in names}
