"""What mode an opening is given tells what file it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from aiofs import Checkpoint, FileLike, TextFile

if TYPE_CHECKING:
    from aiofs import FileSystem


async def binary_unless_text_is_asked_for(fs: FileSystem) -> None:
    async with fs.open("a") as reading, fs.open("b", "w") as writing, fs.open("c", "rb+") as editing:
        assert_type(reading, FileLike)
        assert_type(writing, FileLike)
        assert_type(editing, FileLike)
        assert_type(await reading.read(), bytes)
        assert_type(await reading.readlines(), list[bytes])
        assert_type([line async for line in reading], list[bytes])
        assert_type(await writing.write(b"bytes"), int)


async def partial_writes(fs: FileSystem) -> None:
    async with fs.open("a", "w", partial="") as writing:
        assert_type(writing, FileLike)
        assert_type(await writing.checkpoint(), Checkpoint)
        fs.open("a", "wt", partial="")  # type: ignore[call-overload]


async def text_by_mode_or_by_encoding(fs: FileSystem) -> None:
    async with fs.open("a", "rt") as reading, fs.open("b", "w", encoding="utf-8") as writing:
        assert_type(reading, TextFile)
        assert_type(writing, TextFile)
        assert_type(await reading.read(), str)
        assert_type(await reading.readline(), str)
        assert_type([line async for line in reading], list[str])
        assert_type(await writing.write("text"), int)


async def awaited_it_is_the_same(fs: FileSystem) -> None:
    assert_type(await fs.open("a", "r"), FileLike)
    assert_type(await fs.open("a", "xt"), TextFile)
