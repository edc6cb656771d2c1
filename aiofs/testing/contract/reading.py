"""Behaviours 8 to 24: reading, ranges, lines, text, positions, and changing in place."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.harness import needs

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness

DATA = bytes(range(256)) * 20
LONG = bytes(range(256)) * 1000
RANGES = ((0, 1), (0, 5120), (1, 5119), (2000, 2000), (2000, 2001), (4000, 5000))


class ReadingFiles:
    """Reading, ranges, lines and text."""

    async def test_08_read_all(self, store: Harness) -> None:
        """Reading without a size returns everything, and b"" after that."""
        await store.put("file", DATA)
        async with store.fs.open("file") as file:
            assert await file.read() == DATA
            assert await file.read() == b""
            assert await file.read(10) == b""
            assert await file.readall() == b""
        async with store.fs.open("file") as file:
            assert await file.read(None) == DATA

    async def test_09_read_n(self, store: Harness) -> None:
        """Reads of any size return all bytes in order, and fewer than asked only at the end."""
        data = DATA * 60
        await store.put("file", data)
        for size in (1000, 4096, 65536, 100_003, len(data) + 1):
            async with store.fs.open("file") as file:
                pieces = []
                while piece := await file.read(size):
                    pieces.append(piece)
            assert b"".join(pieces) == data
            assert all(len(piece) == size for piece in pieces[:-1])
        async with store.fs.open("file") as file:
            single = [await file.read(1) for _ in range(3000)]
            assert b"".join(single) == data[:3000]
            assert await file.read(7) + await file.read() == data[3000:]

    async def test_10_read_zero(self, store: Harness) -> None:
        """Reading 0 bytes returns b"" and makes no request."""
        await store.put("file", DATA)
        fs, chaos = store.troubled()
        async with fs.open("file") as file:
            before = chaos.calls.copy()
            assert await file.read(0) == b""
            assert await file.readinto(bytearray()) == 0
            assert chaos.calls == before
            assert await file.read() == DATA

    async def test_11_range_middle(self, store: Harness) -> None:
        """A range is the same as Python's slice."""
        await store.put("file", DATA)
        for start, stop in RANGES:
            assert await store.fs.read_bytes("file", start, stop) == DATA[start:stop]
            async with store.fs.open("file") as file:
                await file.seek(start)
                assert await file.read(stop - start) == DATA[start:stop]

    async def test_12_range_to_end(self, store: Harness) -> None:
        """A range without an end goes to the end."""
        await store.put("file", DATA)
        for start in (0, 1, 5000, 5119):
            assert await store.fs.read_bytes("file", start) == DATA[start:]

    async def test_13_range_past_end(self, store: Harness) -> None:
        """A range that ends after the end of the file is cut there."""
        await store.put("file", DATA)
        assert await store.fs.read_bytes("file", 5000, 9999) == DATA[5000:]
        async with store.fs.open("file") as file:
            await file.seek(5000)
            assert await file.read(9999) == DATA[5000:]

    async def test_14_range_at_size(self, store: Harness) -> None:
        """A range that begins at the end or after it is empty."""
        await store.put("file", DATA)
        for start, stop in ((5120, None), (5120, 5130), (6000, None), (6000, 6001)):
            assert await store.fs.read_bytes("file", start, stop) == b""

    async def test_15_ranges_on_empty_file(self, store: Harness) -> None:
        """Every range of an empty file is empty."""
        await store.put("empty")
        for start, stop in ((0, None), (0, 10), (5, None), (5, 10)):
            assert await store.fs.read_bytes("empty", start, stop) == b""
        async with store.fs.open("empty") as file:
            assert await file.read() == b""
            assert await file.readline() == b""
            assert await file.seek(0, io.SEEK_END) == 0

    async def test_16_short_backend_read(self, store: Harness) -> None:
        """If a stream ends before its file does, reading raises; it never returns a shorter file."""
        data = DATA * 50
        await store.put("file", data)
        stored = await store.stored_size() or len(data)
        for cut in (0, 1, stored // 2, stored - 1):
            fs, chaos = store.troubled()
            chaos.cut(cut)
            with pytest.raises(OSError) as caught:  # noqa: PT011 -- any of them will do
                async with fs.open("file") as file:
                    while await file.read(1000):
                        pass
            assert caught.value.filename == "file"
            fs, chaos = store.troubled()
            chaos.cut(cut)
            with pytest.raises(OSError):  # noqa: PT011 -- any of them will do
                await fs.read_bytes("file")

    async def test_17_lines(self, store: Harness) -> None:
        r"""Lines end with \n only, can have any length, and the last one needs no \n."""
        data = b"first\nsecond\r\nlone\rcr\n\n" + b"x" * 200_000 + b"\nafter\x0b\x0c\x85\nlast"
        await store.put("lines", data)
        expected = io.BytesIO(data).readlines()
        async with store.fs.open("lines") as file:
            assert [line async for line in file] == expected
        async with store.fs.open("lines") as file:
            assert await file.readlines() == expected
        async with store.fs.open("lines") as file:
            assert await file.readline() == b"first\n"
            assert await file.readline(3) == b"sec"
            assert await file.tell() == 9
            assert await file.readline(-1) == b"ond\r\n"
            assert await file.read(4) == b"lone"

    async def test_18_text_split(self, store: Harness) -> None:
        """A character is decoded correctly, wherever its bytes are divided into chunks."""
        text = "a" + "\N{SNOWMAN}\N{GRINNING FACE}é" * 40_000
        await store.put("text", text.encode())
        async with store.fs.open("text", encoding="utf-8") as file:
            assert await file.read() == text
        async with store.fs.open("text", encoding="utf-8") as file:
            pieces = []
            while piece := await file.read(1021):
                pieces.append(piece)
            assert "".join(pieces) == text

    async def test_129_tasks_share_a_reader(self, store: Harness) -> None:
        """Tasks that share a handle take turns: together they read every byte once."""
        data = b"".join(b"%07d\n" % number for number in range(50_000))
        await store.put("file", data)
        async with store.fs.open("file") as file:
            pieces = await asyncio.gather(*(file.read(8000) for _ in range(50)))
            assert b"".join(sorted(pieces)) == data
            await file.seek(0)
            lines = await asyncio.gather(*(file.readline() for _ in range(4000)))
            assert b"".join(sorted(lines)) == data[: 8 * 4000]
        async with store.fs.open("file", encoding="ascii") as file:
            texts = await asyncio.gather(*(file.read(8000) for _ in range(50)))
            assert "".join(sorted(texts)).encode() == data


@needs("writable")
class TextHandles:
    """Text handles."""

    async def test_94_text_as_builtins(self, store: Harness) -> None:
        """Encodings and line ends are the same as with `io.TextIOWrapper`."""
        text = "one\ntwo\r\nthree\rfour\u2028five\x0b\n\N{SNOWMAN}"
        for encoding in ("utf-8", "utf-16", "utf-8-sig", "utf-32-le"):
            for newline in (None, "", "\n", "\r", "\r\n"):
                raw = io.BytesIO()
                wrapper = io.TextIOWrapper(raw, encoding, newline=newline)
                wrapper.write(text)
                wrapper.flush()
                async with store.fs.open("text", "w", encoding=encoding, newline=newline) as file:
                    assert await file.write(text) == len(text)
                assert await store.get("text") == raw.getvalue()
                raw.seek(0)
                expected = io.TextIOWrapper(raw, encoding, newline=newline).readlines()
                async with store.fs.open("text", encoding=encoding, newline=newline) as file:
                    assert [line async for line in file] == expected


class Seeking:
    """Positions."""

    async def test_19_seek_set_cur_end(self, store: Harness) -> None:
        """`seek` from the start, from the position and from the end agrees with `tell`."""
        await store.put("file", LONG)
        mirror = io.BytesIO(LONG)
        steps = ((100, 0), (50, 1), (-20, 1), (-1, 2), (-256_000, 2), (70_000, 0), (0, 2), (3, 0), (130_000, 1))
        async with store.fs.open("file") as file:
            assert await file.seekable()
            for offset, whence in steps:
                assert await file.seek(offset, whence) == mirror.seek(offset, whence)
                assert await file.tell() == mirror.tell()
                assert await file.read(300) == mirror.read(300)
                assert await file.tell() == mirror.tell()

    async def test_20_seek_negative(self, store: Harness) -> None:
        """A position before the start raises ValueError, one that no file has OverflowError; the handle stays."""
        await store.put("file", LONG)
        async with store.fs.open("file") as file:
            await file.seek(10)
            for offset, whence in ((-1, 0), (-11, 1), (-len(LONG) - 1, 2), (0, 3), (0, -1)):
                with pytest.raises(ValueError, match=r".+"):
                    await file.seek(offset, whence)
                assert await file.tell() == 10
            with pytest.raises(OverflowError, match="position"):
                await file.seek(1 << 63)
            assert await file.read(2) == LONG[10:12]
        with pytest.raises(OverflowError, match="position"):
            await store.fs.read_bytes("file", 1 << 70)
        assert await store.fs.read_bytes("file", 1 << 62, 1 << 70) == b""

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
        await store.put("file", LONG)
        fs, chaos = store.troubled()
        async with fs.open("file") as file:
            assert await file.read(10) == LONG[:10]
            before = chaos.calls.copy()
            await file.seek(100_000)
            await file.seek(10)
            assert chaos.calls == before
            if (await store.fs.stat("file")).size is not None:
                await file.seek(0, io.SEEK_END)
                await file.seek(10)
                assert chaos.calls == before
            assert await file.read(10) == LONG[10:20]
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
        data = bytearray(LONG * (1 + 2 * store.part_size // len(LONG)))
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
        big = LONG * (1 + store.part_size // len(LONG))
        await store.put("log", big)
        async with store.fs.open("log", "a") as file:
            await file.write(LONG)
        assert await store.get("log") == big + LONG

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
