"""Behaviours 220 to 231: compare and set, with `match`."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.driver import ABSENT, ANY
from aiofs.errors import Unsupported
from aiofs.testing.harness import needs
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.filesystem import FileSystem
    from aiofs.modes import BinaryMode
    from aiofs.testing.harness import Harness

OLD, NEW, THEIRS = b"the old bytes", b"the new bytes, which are more", b"theirs"
WRITERS = 8


@needs("writable", "conditional")
class MatchingVersions:
    """Compare and set, with `match`."""

    async def test_220_versions_from_anywhere(self, store: Harness) -> None:
        """The version that `stat`, `scan`, a handle or `write_bytes` gives can be matched."""
        fs = store.fs
        await store.put("folder/file", OLD)
        for source in (_from_stat, _from_scan, _from_reader, _from_writing):
            version = await source(fs, "folder/file")
            if version is not None:  # a listing need not know it
                await fs.write_bytes("folder/file", source.__name__.encode(), match=version)
                assert await store.get("folder/file") == source.__name__.encode()

    async def test_221_stale_version(self, store: Harness) -> None:
        """If the file has another version, nothing is published: a Conflict, a BlockingIOError, names the path."""
        fs = store.fs
        await store.put("file", OLD)
        stale = await _from_stat(fs, "file")
        await store.put("file", THEIRS)
        for write in _writes("file"):
            with pytest.raises(BlockingIOError) as caught:
                await write(fs, stale)
            assert caught.value.filename == "file"
            assert not getattr(caught.value, "retryable", False)
            assert await store.get("file") == THEIRS
        for write in _writes("file"):
            await store.put("file", THEIRS)
            await write(fs, await _from_stat(store.fresh(), "file"))
            assert await store.get("file") in {NEW, THEIRS + NEW, NEW + THEIRS[len(NEW) :]}
        await fs.rm("file")
        for write in _writes("file"):
            with pytest.raises((BlockingIOError, FileNotFoundError)):
                await write(fs, stale)
        assert await store.names() == []
        await store.write_at_once("file")

    async def test_222_absent(self, store: Harness) -> None:
        """With `ABSENT` a file is only made, never replaced: if there is one, a FileExistsError is raised."""
        fs = store.fs
        for write in _writes("file", "w", "a"):
            await write(fs, ABSENT)
            assert await store.get("file") == NEW
            with pytest.raises(FileExistsError) as caught:
                await write(fs, ABSENT)
            assert caught.value.filename == "file"
            await fs.rm("file")

    async def test_223_one_of_many_wins(self, store: Harness) -> None:
        """Of several writers that match the same version at the same time one publishes; the others are refused."""
        for text in (b"first %d", b"then %d"):  # never the same bytes, which may be the same version
            match = await _from_stat(store.fs, "file") if await store.fs.exists("file") else ABSENT
            systems = [store.fresh() for _ in range(WRITERS)]
            writes = [fs.write_bytes("file", text % n, match=match) for n, fs in enumerate(systems)]
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert len(failed) == WRITERS - 1, outcomes
            assert all(isinstance(error, BlockingIOError | FileExistsError) for error in failed), outcomes
            (winner,) = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
            assert await store.get("file") == text % winner

    async def test_224_rm_of_a_version(self, store: Harness) -> None:
        """`rm` of one path removes it only if it is that version."""
        fs = store.fs
        await store.put("file", OLD)
        stale = await _from_stat(fs, "file")
        await store.put("file", THEIRS)
        for missing_ok in (False, True):
            with pytest.raises(BlockingIOError) as caught:
                await fs.rm("file", match=stale, missing_ok=missing_ok)
            assert caught.value.filename == "file"
            assert await store.get("file") == THEIRS
        async with store.fresh().open("file", "r+"):
            with pytest.raises(BlockingIOError):
                await fs.rm("file", match=await _from_stat(fs, "file"))
        async with store.no_leftovers():
            await fs.rm("file", match=await _from_stat(fs, "file"))
        assert await store.names() == []
        with pytest.raises(FileNotFoundError):
            await fs.rm("file", match=stale)
        await fs.rm("file", match=stale, missing_ok=True)

    async def test_225_copy_and_move(self, store: Harness) -> None:
        """`copy` and `move` replace the target only if it is that version; the source stays if it is not."""
        fs = store.fs
        for verb in (fs.copy, fs.move):
            await store.put("source", NEW)
            await store.put("target", OLD)
            stale = await _from_stat(fs, "target")
            await store.put("target", THEIRS)
            for match, error in ((stale, BlockingIOError), (ABSENT, FileExistsError)):
                with pytest.raises(error):
                    await verb("source", "target", match=match)
                assert await store.get("source") == NEW
                assert await store.get("target") == THEIRS
            await verb("source", "target", match=await _from_stat(fs, "target"))
            assert await store.get("target") == NEW
            assert await store.get("source") == (NEW if verb == fs.copy else None)
            await store.put("source", OLD)
            await verb("source", "other", match=ABSENT)
            assert await store.get("other") == OLD
            await fs.rm("other")
        with pytest.raises(BlockingIOError):
            await fs.copy("target", "target", match=stale)
        await store.write_at_once("target")

    async def test_226_changed_while_it_is_open(self, store: Harness) -> None:
        """What is matched at `open` is matched again in the step that publishes."""
        fs = store.fs
        for mode in ("w", "a", "r+"):
            await store.put("file", OLD)
            version = await _from_stat(fs, "file")
            with pytest.raises(BlockingIOError):
                async with fs.open("file", mode, match=version) as file:
                    await file.write(NEW)
                    await store.meddle_with("file", THEIRS)
            assert await store.get("file") == THEIRS
        await fs.rm("file")
        with pytest.raises(FileExistsError):
            async with fs.open("file", "w", match=ABSENT) as file:
                await file.write(NEW)
                await store.meddle_with("file", THEIRS)
        assert await store.get("file") == THEIRS

    async def test_227_what_match_cannot_be(self, store: Harness) -> None:
        """`None` raises TypeError, so an unknown version overwrites nothing; what can never match raises ValueError."""
        fs: Any = store.fs
        await store.put("file", OLD)
        version = await _from_stat(fs, "file")
        wrongs: list[Any] = [None, 7, b"bytes"]
        for write in (*_writes("file"), *_others("file")):
            for wrong in wrongs:
                with pytest.raises(TypeError, match="match"):
                    await write(fs, wrong)
            with pytest.raises(ValueError, match="match"):
                await write(fs, "")
        for mode in ("r", "x"):
            with pytest.raises(ValueError, match="match"):
                fs.open("file", mode, match=version)
        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: fs.rm("file", "other", match=version),
            lambda: fs.rm(match=version),
            lambda: fs.rm("file", glob="*", match=version),
            lambda: fs.rm("file", match=ABSENT),
            lambda: fs.open("file", "r+", match=ABSENT),
            lambda: fs.read_bytes("file", match=ABSENT),
        ]
        for call in refused:
            with pytest.raises(ValueError, match="match"):
                await call()
        assert await store.get("file") == OLD
        await fs.write_bytes("file", NEW, match=ANY)
        assert await store.get("file") == NEW

    async def test_228_matched_in_a_transaction(self, store: Harness) -> None:
        """Within a transaction `match` is about the file as the transaction sees it, and the commit compares again."""
        fs = store.fs
        await store.put("file", OLD)
        stale = await _from_stat(fs, "file")
        await store.put("file", THEIRS)
        version = await _from_stat(fs, "file")
        async with transaction(fs) as tx:
            for match, error in ((stale, BlockingIOError), (ABSENT, FileExistsError)):
                with pytest.raises(error):
                    await tx.write_bytes("file", NEW, match=match)
                with pytest.raises(error):
                    await tx.copy("file", "file", match=match)
            with pytest.raises(BlockingIOError):
                await tx.rm("file", match=stale)
            first = await tx.write_bytes("file", NEW, match=version)
            with pytest.raises(BlockingIOError):
                await tx.write_bytes("file", THEIRS, match=version)
            assert first.version is not None
            await tx.append_bytes("file", b"!", match=first.version)
            await tx.write_bytes("made", NEW, match=ABSENT)
        assert await store.get("file") == NEW + b"!"
        assert await store.get("made") == NEW
        async with transaction(fs) as tx:
            await tx.write_bytes("file", THEIRS)
            with pytest.raises(BlockingIOError):
                await tx.write_bytes("file", OLD, match=first.version)  # of another transaction
        for path, match in (("file", stale), ("new", stale), ("made", ABSENT)):
            with pytest.raises((BlockingIOError, FileExistsError)):
                async with transaction(fs) as tx:
                    await tx.write_bytes("other", NEW)
                    await tx.write_bytes(path, THEIRS, match=match)
        assert await store.names() == ["file", "made"]

    async def test_229_changed_before_the_commit(self, store: Harness) -> None:
        """If the matched file is changed between the write and the commit, the transaction is rolled back."""
        fs = store.fs
        await store.put("file", OLD)
        version = await _from_stat(fs, "file")
        with pytest.raises(BlockingIOError):
            async with transaction(fs) as tx:
                await tx.write_bytes("other", NEW)
                await tx.write_bytes("file", NEW, match=version)
                await store.meddle_with("file", THEIRS)
        assert await store.get("file") == THEIRS
        assert await store.names() == ["file"]

    async def test_230_entry_of_a_write(self, store: Harness) -> None:
        """`write_bytes` and `append_bytes` return what the file is now: path, size and version, as `stat` has them."""
        for fs in (store.fs, store.fs.at("folder")):
            for write, size in ((fs.write_bytes, len(NEW)), (fs.append_bytes, 2 * len(NEW))):
                entry = await write("file", NEW)
                there = await fs.stat("file")
                assert (entry.path, entry.version) == ("file", there.version)
                assert entry.size == there.size == size
                assert entry.version is not None

    async def test_231_absent_is_one_object(self, store: Harness) -> None:
        """The repr of `ABSENT` is its name; it is the same object after pickling and copying, and in layers."""
        for word in (ABSENT, ANY):
            assert _pickled(word) is copy.deepcopy(word) is word
            assert repr(word).startswith("aiofs.A")
        await store.fs.write_bytes("file", NEW, match=_pickled(ABSENT))
        assert await store.get("file") == NEW


@needs("writable", "unconditional")
class Unmatched:
    """A store that does not compare versions."""

    async def test_232_refused_by_name(self, store: Harness) -> None:
        """Where a store does not compare versions in the step that publishes, `match` is refused before any I/O."""
        await store.put("file", OLD)
        for fs in (store.fs, store.fs.at("folder")):
            for write in (*_writes("file"), *_others("file")):
                for match in ("a-version", ABSENT):
                    with pytest.raises(Unsupported, match="match"):
                        await write(fs, match)
        async with transaction(store.fs, auto_commit=False) as tx:
            with pytest.raises(Unsupported, match="match"):
                await tx.write_bytes("file", NEW, match="a-version")
        assert await store.names() == ["file"]
        assert await store.get("file") == OLD


async def _from_stat(fs: FileSystem, path: str) -> str:
    version = (await fs.stat(path)).version
    assert version is not None
    return version


async def _from_scan(fs: FileSystem, path: str) -> str | None:
    (entry,) = [entry async for entry in fs.scan() if entry.path == path]
    return entry.version


async def _from_reader(fs: FileSystem, path: str) -> str | None:
    async with fs.open(path) as file:
        await file.read(3)
        assert file.entry.path == path
    return file.entry.version


async def _from_writing(fs: FileSystem, path: str) -> str | None:
    return (await fs.write_bytes(path, OLD)).version


def _writes(path: str, *modes: BinaryMode) -> list[Callable[[FileSystem, str], Awaitable[object]]]:
    """Return the ways to write NEW with a `match`."""

    def opened(mode: BinaryMode) -> Callable[[FileSystem, str], Awaitable[object]]:
        async def write(fs: FileSystem, match: str) -> None:
            async with fs.open(path, mode, match=match) as file:
                await file.write(NEW)

        return write

    return [
        *(opened(mode) for mode in modes or ("w", "a", "r+")),
        lambda fs, match: fs.write_bytes(path, NEW, match=match),
        lambda fs, match: fs.append_bytes(path, NEW, match=match),
    ]


def _others(path: str) -> list[Callable[[FileSystem, str], Awaitable[object]]]:
    """Return the calls with a `match` that write no new bytes."""
    return [
        lambda fs, match: fs.rm(path, match=match),
        lambda fs, match: fs.copy(path, "other", match=match),
        lambda fs, match: fs.move(path, "other", match=match),
        lambda fs, match: fs.copy(path, path, match=match),
        lambda fs, match: fs.read_bytes(path, match=match),
    ]


def _pickled(word: str) -> str:
    there_and_back: str = pickle.loads(pickle.dumps(word))  # noqa: S301 -- our own
    return there_and_back
