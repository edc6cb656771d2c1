"""Behaviours 260 to 264: what handles know of what they read and wrote, and reading in pieces."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.harness import Stop, needs
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from aiofs.driver import Entry
    from aiofs.filesystem import FileSystem
    from aiofs.modes import BinaryMode
    from aiofs.testing.harness import Harness

OLD, NEW = b"the old bytes", b"the new bytes, which are more"


class Handles:
    """What handles know of what they read and wrote."""

    async def test_260_entry_of_what_is_read(self, store: Harness) -> None:
        """A handle that reads has the entry of its version at once, also after that was replaced."""
        await store.put("folder/file", OLD)
        there = await store.writer.stat("folder/file")
        for fs, path in ((store.fs, "folder/file"), (store.fs.at("folder"), "file")):
            async with fs.open(path) as file:
                assert _facts(file.entry) == (path, there.version)
                assert file.entry.size in {None, len(OLD)}
                await file.read(3)
            assert _facts(file.entry) == (path, there.version)
            async with fs.open(path, "rt") as text:
                assert _facts(text.entry) == (path, there.version)

    @needs("writable")
    async def test_261_entry_of_what_was_written(self, store: Harness) -> None:
        """A handle that writes has the entry of what it published once it is closed; before that ValueError."""
        for fs in (store.fs, store.fs.at("folder")):
            await _check_entries(fs, "file")
        async with transaction(store.fs) as tx:
            await _check_entries(tx, "in transaction")
        async with store.fs.open("text", "wt") as text:
            await text.write("text")
        assert text.entry.path == "text"

    async def test_262_pieces(self, store: Harness) -> None:
        """`chunks` yields what is left in pieces of a size, of which only the last may be shorter."""
        data = bytes(range(256)) * 40
        await store.put("file", data)
        await store.put("empty", b"")
        for size in (1000, 5120, len(data), 1 << 20):
            async with store.fs.open("file") as file:
                await file.seek(100)
                pieces = [piece async for piece in file.chunks(size)]
            assert pieces == [data[start : start + size] for start in range(100, len(data), size)]
        async with store.fs.open("empty") as file:
            assert [piece async for piece in file.chunks()] == []
        async with store.fs.open("file") as file:
            async with aclosing(file.chunks(10)) as pieces_of_file:
                async for piece in pieces_of_file:
                    assert piece == data[:10]
                    break
            assert await file.read(5) == data[10:15]
            for wrong in (0, -1):
                with pytest.raises(ValueError, match="size"):
                    file.chunks(wrong)
        async with store.fs.open("file", encoding="latin-1", newline="") as text:
            assert "".join([piece async for piece in text.chunks(777)]) == data.decode("latin-1")


@needs("writable", "conditional")
class Ranges:
    """Ranges of one version."""

    async def test_263_broken_download(self, store: Harness) -> None:
        """`read_bytes` with a version goes on with the bytes of that version, or raises BlockingIOError."""
        await store.put("file", OLD)
        async with store.fs.open("file") as file:
            first = await file.read(4)
        version = file.entry.version
        assert version is not None
        assert first + await store.fresh().read_bytes("file", 4, match=version) == OLD
        assert await store.fs.read_bytes("file", 1, 3, match=version) == OLD[1:3]
        await store.put("file", NEW)
        with pytest.raises(BlockingIOError) as caught:
            await store.fs.read_bytes("file", 4, match=version)
        assert caught.value.filename == "file"
        await store.fs.rm("file")
        with pytest.raises((BlockingIOError, FileNotFoundError)):
            await store.fs.read_bytes("file", 4, match=version)


async def _check_entries(fs: FileSystem, path: str) -> None:
    modes: list[tuple[BinaryMode, bytes]] = [("x", OLD), ("w", OLD), ("a", OLD + NEW), ("r+", NEW + OLD)]
    for mode, data in modes:
        file = await fs.open(path, mode)
        if mode != "r+":
            with pytest.raises(ValueError, match="entry"):
                _ = file.entry
        await file.write(NEW if mode in {"a", "r+"} else OLD)
        await file.close()
        there = await fs.stat(path)
        assert file.entry.path == path
        assert file.entry.version in {None, there.version}
        assert file.entry.size == len(data)
    with pytest.raises(Stop):
        async with fs.open(path, "w") as file:
            raise Stop
    with pytest.raises(ValueError, match="entry"):
        _ = file.entry
    async with fs.open(path, "a") as file:
        pass  # nothing is published, and the file is what it was
    assert file.entry.version == (await fs.stat(path)).version


def _facts(entry: Entry) -> tuple[str, str | None]:
    return entry.path, entry.version
