"""Behaviours 19 to 24: positions, and changing in place."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.needs import needs

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness

DATA = bytes(range(256)) * 1000


class Seeking:
    """Positions."""

    async def test_19_seek_set_cur_end(self, store: Harness) -> None:
        """`seek` from the start, from the position and from the end agrees with `tell`."""
        await store.put("file", DATA)
        mirror = io.BytesIO(DATA)
        steps = ((100, 0), (50, 1), (-20, 1), (-1, 2), (-256_000, 2), (70_000, 0), (0, 2), (3, 0), (130_000, 1))
        async with store.fs.open("file") as file:
            assert await file.seekable()
            for offset, whence in steps:
                assert await file.seek(offset, whence) == mirror.seek(offset, whence)
                assert await file.tell() == mirror.tell()
                assert await file.read(300) == mirror.read(300)
                assert await file.tell() == mirror.tell()

    async def test_20_seek_negative(self, store: Harness) -> None:
        """A position before the start raises ValueError and does not move the handle."""
        await store.put("file", DATA)
        async with store.fs.open("file") as file:
            await file.seek(10)
            for offset, whence in ((-1, 0), (-11, 1), (-len(DATA) - 1, 2), (0, 3), (0, -1)):
                with pytest.raises(ValueError, match=r".+"):
                    await file.seek(offset, whence)
                assert await file.tell() == 10
            assert await file.read(2) == DATA[10:12]

    async def test_21_seek_past_end(self, store: Harness) -> None:
        """After the end there is nothing to read, and `seek` leads back."""
        await store.put("file", b"0123456789")
        async with store.fs.open("file") as file:
            assert await file.seek(1000) == 1000
            assert await file.read() == b""
            assert await file.read(5) == b""
            assert await file.tell() == 1000
            assert await file.seek(-3, io.SEEK_END) == 7
            assert await file.read() == b"789"

    async def test_23_seek_is_lazy(self, store: Harness) -> None:
        """`seek` to the end and back makes no request; if the size is known, finding the end makes none either."""
        await store.put("file", DATA)
        fs, chaos = store.troubled()
        async with fs.open("file") as file:
            assert await file.read(10) == DATA[:10]
            before = chaos.calls.copy()
            await file.seek(100_000)
            await file.seek(10)
            assert chaos.calls == before
            if (await store.fs.stat("file")).size is not None:
                await file.seek(0, io.SEEK_END)
                await file.seek(10)
                assert chaos.calls == before
            assert await file.read(10) == DATA[10:20]
        assert chaos.open["streams"] == 0


@needs("writable")
class Changing:
    """Changing a file in place."""

    async def test_22_write_past_end(self, store: Harness) -> None:
        """Writing after the end fills the gap with zeros."""
        await store.put("file", b"abc")
        async with store.fs.open("file", "r+") as file:
            await file.seek(6)
            await file.write(b"xyz")
            assert await file.tell() == 9
            await file.seek(0)
            assert await file.read() == b"abc\0\0\0xyz"
        assert await store.get("file") == b"abc\0\0\0xyz"

    async def test_24_truncate(self, store: Harness) -> None:
        """`truncate` keeps the position; growing adds zeros; without a size it cuts at the position."""
        for size, expected in ((4, b"0123"), (10, b"0123456789"), (12, b"0123456789\0\0"), (0, b"")):
            await store.put("file", b"0123456789")
            async with store.fs.open("file", "r+") as file:
                await file.seek(2)
                assert await file.truncate(size) == size
                assert await file.tell() == 2
                assert await file.read() == expected[2:]
            assert await store.get("file") == expected
        await store.put("file", b"0123456789")
        async with store.fs.open("file", "r+") as file:
            await file.seek(5)
            assert await file.truncate() == 5
            with pytest.raises(ValueError, match=r".+"):
                await file.truncate(-1)
            await file.seek(0, io.SEEK_END)
            await file.write(b"!")
        assert await store.get("file") == b"01234!"
        async with store.fs.open("file", "w") as file:
            await file.write(b"0123456789")
            assert await file.truncate(3) == 3
        assert (await store.get("file") or b"").startswith(b"012")

    async def test_95_edit_in_place(self, store: Harness) -> None:
        """`r+` changes the bytes that are overwritten and keeps the rest, also across parts and buffers."""
        data = bytearray(DATA * (1 + 2 * store.part_size // len(DATA)))
        await store.put("file", bytes(data))
        edits = ((0, b"start"), (65_530, b"x" * 20), (store.part_size - 3, b"border"), (len(data) - 2, b"past end"))
        async with store.fs.open("file", "r+") as file:
            for offset, piece in edits:
                await file.seek(offset)
                assert await file.write(piece) == len(piece)
                data[offset : offset + len(piece)] = piece
                await file.seek(max(0, offset - 10))
                assert await file.read(30) == bytes(data[max(0, offset - 10) :][:30])
            await file.seek(0)
            assert await file.read() == bytes(data)
        assert await store.get("file") == bytes(data)

    async def test_96_append(self, store: Harness) -> None:
        """`a` writes at the end, wherever the position is, and makes a missing file."""
        async with store.fs.open("log", "a") as file:
            await file.write(b"one ")
        async with store.fs.open("log", "a") as file:
            assert await file.tell() == 4
            await file.seek(0)
            await file.write(b"two ")
            await file.write(b"three")
        assert await store.get("log") == b"one two three"
        before = await store.fs.stat("log")
        async with store.fs.open("log", "a"):
            pass
        assert (await store.fs.stat("log")).version == before.version
        big = DATA * (1 + store.part_size // len(DATA))
        await store.put("log", big)
        async with store.fs.open("log", "a") as file:
            await file.write(DATA)
        assert await store.get("log") == big + DATA

    async def test_97_seek_back_in_w(self, store: Harness) -> None:
        """`w` can seek back within the bytes that were not sent to the store yet."""
        async with store.fs.open("file", "w") as file:
            await file.write(b"0000 body")
            await file.seek(0)
            await file.write(b"head")
            await file.seek(0, io.SEEK_END)
            await file.write(b" tail")
        assert await store.get("file") == b"head body tail"

    @needs("rewrite")
    async def test_98_rewrite_parts(self, store: Harness) -> None:
        """`w` can seek back into parts that were sent to the store, and cut them."""
        size = store.part_size
        async with store.fs.open("file", "w") as file:
            await file.write(b"a" * (2 * size + 10))
            await file.seek(size - 2)
            await file.write(b"bbbb")
            await file.seek(0)
            await file.write(b"c")
            await file.truncate(size + 5)
        assert await store.get("file") == b"c" + b"a" * (size - 3) + b"bbbb" + b"aaa"
