"""Positions and sizes are whole numbers; what else is asked for is refused on the spot, not when the file closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import aiofs

if TYPE_CHECKING:
    from aiofs.modes import BinaryMode

BETWEEN_BYTES: Any = 1.5


@pytest.mark.parametrize("mode", ["r", "r+", "w", "a"])
async def test_seek_between_bytes(mode: BinaryMode) -> None:
    fs = aiofs.MemoryFileSystem()
    await fs.write_bytes("file", b"abc")
    async with fs.open("file", mode) as file:
        before = await file.tell()
        with pytest.raises(TypeError):
            await file.seek(BETWEEN_BYTES)
        assert await file.tell() == before
    assert await fs.read_bytes("file") == (b"" if mode == "w" else b"abc")


@pytest.mark.parametrize("mode", ["r+", "w", "a"])
async def test_truncate_between_bytes(mode: BinaryMode) -> None:
    fs = aiofs.MemoryFileSystem()
    await fs.write_bytes("file", b"abc")
    async with fs.open("file", mode) as file:
        with pytest.raises(TypeError):
            await file.truncate(BETWEEN_BYTES)
        with pytest.raises(ValueError, match="-1"):
            await file.truncate(-1)
    assert await fs.read_bytes("file") == (b"" if mode == "w" else b"abc")


async def test_whole_store_is_no_empty_name() -> None:
    """The error repeats what was asked for."""
    with pytest.raises(ValueError, match="path '/' begins with '/'"):
        await aiofs.MemoryFileSystem().ls("/")
