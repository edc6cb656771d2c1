"""Behaviours 1 to 7: bytes are stored exactly as they were written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.testing.needs import needs

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness


@needs("writable")
class WrittenBytes:
    """Bytes are stored exactly as they were written."""

    async def test_01_empty_file(self, store: Harness) -> None:
        """`w` without a write makes an empty file."""
        async with store.fs.open("empty", "w"):
            pass
        assert await store.get("empty") == b""
        assert (await store.fs.stat("empty")).size in {0, None}

    async def test_02_one_byte(self, store: Harness) -> None:
        """A file of one byte is read back."""
        async with store.fs.open("one", "w") as file:
            assert await file.write(b"\x00") == 1
        assert await store.get("one") == b"\x00"

    async def test_03_all_256_values(self, store: Harness) -> None:
        """Every byte value is read back, also if it looks like a line end or a text encoding."""
        data = bytes(range(256)) + b"\r\n\r\n\n\r\x1a\xff\xfe\xef\xbb\xbf"
        async with store.fs.open("values", "w") as file:
            await file.write(data)
        assert await store.get("values") == data

    async def test_04_part_edges(self, store: Harness) -> None:
        """Files of sizes around the size of a part are read back."""
        size = store.part_size
        for length in (size - 1, size, size + 1, 3 * size + 7):
            data = _pattern(length)
            async with store.fs.open("edge", "w") as file:
                assert await file.write(data) == length
            assert await store.get("edge") == data

    async def test_05_many_small_writes(self, store: Harness) -> None:
        """Many writes of all kinds of buffers make the same file as one big write."""
        data = _pattern(store.part_size + 5000)
        async with store.fs.open("small", "w") as file:
            start = 0
            step = max(1, len(data) // 997)
            for turn, start in enumerate(range(0, len(data), step)):
                piece = data[start : start + step]
                await file.write((piece, bytearray(piece), memoryview(piece))[turn % 3])
        assert await store.get("small") == data
        strided = memoryview(bytes(range(200)))[::2]
        async with store.fs.open("strided", "w") as file:
            assert await file.write(strided) == 100
            await file.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
        assert await store.get("strided") == strided.tobytes() + b"abc"

    async def test_06_overwrite_shorter(self, store: Harness) -> None:
        """A shorter file that replaces a longer one has no bytes of it at its end."""
        await store.put("file", b"a long piece of text")
        async with store.fs.open("file", "w") as file:
            await file.write(b"short")
        assert await store.get("file") == b"short"
        assert (await store.fs.stat("file")).size in {5, None}

    async def test_07_buffer_reuse(self, store: Harness) -> None:
        """Changing a buffer after it was written does not change the file."""
        size = store.part_size
        for length in (100, size, size + 10):
            buffer = bytearray(b"a" * length)
            async with store.fs.open("reused", "w") as file:
                await file.write(buffer)
                buffer[:] = b"b" * length
                await file.write(memoryview(buffer))
                buffer[:] = b"c" * length
            assert await store.get("reused") == b"a" * length + b"b" * length
        target = bytearray(3)
        async with store.fs.open("reused") as file:
            await file.readinto(target)
            target[:] = b"zzz"
        assert await store.get("reused") == b"a" * length + b"b" * length


def _pattern(length: int) -> bytes:
    """Return bytes that repeat with a period that divides no size of a part, so that their order can be checked."""
    period = bytes(range(251))
    return (period * (length // 251 + 1))[:length]
