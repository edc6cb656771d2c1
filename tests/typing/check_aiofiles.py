"""What mode an opening is given tells what handle it gives, as with the builtin `open`."""

from __future__ import annotations

from typing import assert_type

from aiofs import aiofiles
from aiofs.aiofiles.base import AsyncBase
from aiofs.aiofiles.threadpool.binary import AsyncBufferedIOBase, AsyncBufferedReader, AsyncFileIO
from aiofs.aiofiles.threadpool.text import AsyncTextIOWrapper


async def text_unless_bytes_are_asked_for() -> None:
    async with aiofiles.open("a") as reading, aiofiles.open("b", "w", encoding="utf-8") as writing:
        assert_type(reading, AsyncTextIOWrapper)
        assert_type(writing, AsyncTextIOWrapper)
        assert_type(await reading.read(), str)
        assert_type([line async for line in reading], list[str])
        assert_type(await writing.write("text"), int)


async def bytes_by_mode_and_buffering() -> None:
    async with aiofiles.open("a", "rb") as reading, aiofiles.open("b", "wb") as writing:
        assert_type(reading, AsyncBufferedReader)
        assert_type(writing, AsyncBufferedIOBase)
        assert_type(await reading.read(), bytes)
        assert_type(await reading.readline(), bytes)
        assert_type([line async for line in reading], list[bytes])
        assert_type(await writing.write(b"bytes"), int)
    async with aiofiles.open("a", "r+b") as editing, aiofiles.open("a", "rb", buffering=0) as bare:
        assert_type(editing, AsyncBufferedReader)
        assert_type(bare, AsyncFileIO)


async def awaited_it_is_the_same() -> None:
    assert_type(await aiofiles.open("a"), AsyncTextIOWrapper)
    assert_type(await aiofiles.open("a", "rb"), AsyncBufferedReader)


class Upper(AsyncBase[str]):
    """A class of a program's own, as it is written with aiofiles' stubs."""

    async def readline(self) -> str:
        return "LINE\n"


async def the_base_is_generic(own: Upper, base: AsyncBase[str]) -> None:
    assert_type([line async for line in own], list[str])
    assert_type(await anext(base), str)
    text: AsyncBase[str] = await aiofiles.open("a")
    reading: AsyncBase[bytes] = await aiofiles.open("a", "rb")
    wrong: AsyncBase[bytes] = await aiofiles.open("a")  # type: ignore[assignment]
    assert_type([line async for line in text], list[str])
    assert_type([line async for line in reading], list[bytes])
    await wrong.__anext__()
