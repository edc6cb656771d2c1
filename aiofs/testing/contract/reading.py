"""Behaviours 8 to 18: reading, ranges, lines and text."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.needs import needs

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness

DATA = bytes(range(256)) * 20
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
