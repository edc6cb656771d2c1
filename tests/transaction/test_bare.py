"""Transactions over a user's own system of three methods, which knows nothing of locks, versions or hidden names."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.files.handle import FileLike

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Dictionary(aiofs.FileLikeSystem):
    """Files in a dictionary; writing one name fails on demand."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.refused = ""

    @asynccontextmanager
    async def open(self, path: str, mode: str = "r") -> AsyncIterator[FileLike]:
        if "r" in mode and path not in self.files:
            raise FileNotFoundError(2, "no such file", path)
        file = Buffer(path, mode, self.files.get(path, b"") if "r" in mode else b"")
        yield file
        if "w" in mode:
            if path == self.refused:
                raise PermissionError(13, "refused", path)
            self.files[path] = file.data

    async def rm(self, *paths: str) -> None:
        for path in paths:
            if path not in self.files:
                raise FileNotFoundError(2, "no such file", path)
            del self.files[path]

    async def ls(self, path: str = "") -> AsyncIterator[str]:  # type: ignore[override]
        for name in sorted(self.files):
            if not path or name.startswith(f"{path}/"):
                yield name


class Buffer(FileLike):
    def __init__(self, name: str, mode: str, data: bytes) -> None:
        super().__init__(name, mode)
        self.data = data
        self._at = 0

    async def read(self, size: int | None = -1) -> bytes:
        stop = len(self.data) if size is None or size < 0 else self._at + size
        found, self._at = self.data[self._at : stop], min(stop, len(self.data))
        return found

    async def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(data)  # type: ignore[arg-type]


OLD = {"a": b"old a", "b": b"old b", "large": b"old" * 100_000}
NEW = {"a": b"new a", "b": b"new b", "c/d": b"new d", "large": b"new" * 100_000}


async def change(tx: aiofs.FileSystem) -> None:
    for path, data in NEW.items():
        await tx.write_bytes(path, data)


async def test_all_or_nothing() -> None:
    fs, journal = Dictionary(), aiofs.MemoryFileSystem()
    fs.files |= OLD
    with pytest.raises(ValueError, match="stop"):
        async with aiofs.transaction(fs, journal=journal) as tx:
            await change(tx)
            assert await tx.read_bytes("large") == NEW["large"]
            raise ValueError("stop")
    assert fs.files == OLD
    fs.refused = "c/d"
    with pytest.raises(PermissionError):
        async with aiofs.transaction(fs, journal=journal) as tx:
            await change(tx)
    assert fs.files == OLD
    fs.refused = ""
    async with aiofs.transaction(fs, journal=journal) as tx:
        await change(tx)
        assert fs.files == OLD
        with pytest.raises(BlockingIOError):
            async with aiofs.transaction(fs, journal=journal) as other:
                await other.write_bytes("a", b"other")
    assert fs.files == NEW
    assert [entry.path async for entry in journal.driver.list()] == []


class Delegating(aiofs.FileLikeSystem):
    """Hands everything on to a file system of the package, which keeps some names for itself."""

    def __init__(self, *, lists: bool) -> None:
        self.inner = aiofs.MemoryFileSystem()
        self._lists = lists

    def open(self, path: str, mode: str = "r") -> Any:
        return self.inner.open(path, mode)  # type: ignore[call-overload]

    async def rm(self, *paths: str) -> None:
        await self.inner.rm(*paths)

    async def ls(self, path: str = "") -> AsyncIterator[str]:  # type: ignore[override]
        if not self._lists:
            return  # whatever is asked for: only writing tells
        async for name in self.inner.ls(path):
            yield name


@pytest.mark.parametrize("lists", [True, False])
async def test_a_system_that_refuses_the_names_of_journals_says_what_to_do(lists: bool) -> None:
    fs = Delegating(lists=lists)
    await fs.write_bytes("a", b"old")
    with pytest.raises(aiofs.Unsupported, match=r"Delegating cannot keep the journal .* give journal= "):
        async with aiofs.transaction(fs) as tx:
            await tx.write_bytes("a", b"new")
    assert await fs.read_bytes("a") == b"old"
    journal = aiofs.MemoryFileSystem()
    async with aiofs.transaction(fs, journal=journal) as tx:
        await tx.write_bytes("a", b"new")
        await tx.write_bytes("b", b"new")
    assert {name: await fs.read_bytes(name) for name in ("a", "b")} == {"a": b"new", "b": b"new"}
    assert not (await aiofs.recover(fs, journal=journal)).ended
