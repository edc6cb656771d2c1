"""Behaviours 1 to 7 and 25 to 28: bytes are stored exactly as they were written, and what each mode does."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.testing.harness import needs

if TYPE_CHECKING:
    from aiofs.modes import BinaryMode
    from aiofs.testing.harness import Harness

BAD_MODES = ("", "z", "rw", "rr", "rb+b", "w+", "wx", "bt", "b", "t", "+", "r++", "R", "U", "r ", "a+", "x+", "r+w")
READING = ("read", "read1", "readall", "readline", "readlines", "peek")


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


class Modes:
    """The modes of `open`."""

    async def test_25_missing(self, store: Harness) -> None:
        """`r` raises FileNotFoundError at `open` if the file is missing, and makes nothing."""
        await _refused_at_open(store, "r")
        with pytest.raises(FileNotFoundError):
            await store.fs.read_bytes("folder/missing")

    @needs("writable")
    async def test_25_missing_to_change(self, store: Harness) -> None:
        """So does `r+`, and the name is not locked afterwards."""
        await _refused_at_open(store, "r+")
        await store.write_at_once("folder/missing")

    async def test_26_bad_mode(self, store: Harness) -> None:
        """An unknown mode raises ValueError before any request."""
        fs, chaos = store.troubled()
        wrong: list[tuple[Any, dict[str, Any]]] = [(mode, {}) for mode in BAD_MODES]
        wrong += [("rb", {"encoding": "utf-8"}), ("wb", {"newline": ""}), ("r", {"newline": "x"})]
        for mode, options in wrong:
            with pytest.raises(ValueError, match=r".+"):
                await fs.open("file", mode, **options)
        with pytest.raises(TypeError):
            await fs.open("file", 7)  # type: ignore[call-overload]
        with pytest.raises(LookupError):
            await fs.open("file", "r", encoding="no-such-encoding")
        assert not chaos.calls
        assert await store.names() == []

    async def test_27_read_on_r(self, store: Harness) -> None:
        """A handle for reading cannot write."""
        await store.put("file", b"text")
        async with store.fs.open("file") as reading:
            file: Any = reading
            assert await file.readable()
            assert not await file.writable()
            for call in (file.write(b"x"), file.writelines([b"x"]), file.truncate(0)):
                with pytest.raises(io.UnsupportedOperation):
                    await call
            assert await file.read() == b"text"
        assert await store.get("file") == b"text"

    @needs("writable")
    async def test_27_write_on_w(self, store: Harness) -> None:
        """A handle for writing cannot read."""
        for mode in ("w", "x", "a"):
            async with store.fs.open(f"file-{mode}", mode) as writing:
                file: Any = writing
                assert await file.writable()
                assert not await file.readable()
                for name in READING:
                    with pytest.raises(io.UnsupportedOperation):
                        await getattr(file, name)()
                with pytest.raises(io.UnsupportedOperation):
                    await file.readinto(bytearray(1))
                with pytest.raises(io.UnsupportedOperation):
                    async for _ in file:
                        pytest.fail("a line was read from a file open for writing")
                await file.write(b"ok")
            assert await store.get(f"file-{mode}") == b"ok"

    @needs("writable")
    async def test_28_untouched(self, store: Harness) -> None:
        """`r+` without a change keeps the bytes and the version."""
        await store.put("file", b"text")
        before = await store.fs.stat("file")
        async with store.fs.open("file", "r+") as file:
            assert await file.readable()
            assert await file.writable()
            assert await file.read() == b"text"
            await file.seek(1)
            await file.write(b"")
        after = await store.fs.stat("file")
        assert await store.get("file") == b"text"
        assert after.version == before.version
        assert after.modified == before.modified

    @needs("writable")
    async def test_99_exclusive(self, store: Harness) -> None:
        """`x` makes a file, and raises FileExistsError if there is one."""
        async with store.fs.open("new", "x") as file:
            await file.write(b"first")
        with pytest.raises(FileExistsError) as caught:
            async with store.fs.open("new", "x") as file:
                await file.write(b"second")
        assert caught.value.filename == "new"
        assert await store.get("new") == b"first"
        await store.write_at_once("new")

    async def test_100_handle_facts(self, store: Harness) -> None:
        """A handle has `name`, `mode` and `closed`, as the builtin's has."""
        await store.put("folder/file", b"text")
        file = await store.fs.open("folder/file", "rb")
        assert (file.name, file.mode, file.closed) == ("folder/file", "rb", False)
        assert not await file.isatty()
        await file.close()
        assert file.closed
        assert "folder/file" in repr(file)

    async def test_101_buffered_reads(self, store: Harness) -> None:
        """`peek`, `read1` and `readinto` give the same bytes as `read`."""
        data = bytes(range(256)) * 600
        await store.put("file", data)
        async with store.fs.open("file") as file:
            ahead = await file.peek(10)
            assert ahead
            assert data.startswith(ahead)
            assert await file.tell() == 0
            first = await file.read1(5)
            assert first
            assert data.startswith(first)
            buffer = bytearray(100_000)
            assert await file.readinto(buffer) == 100_000
            assert buffer == data[len(first) : len(first) + 100_000]
            rest = await file.readall()
            assert rest == data[len(first) + 100_000 :]
            assert await file.peek(1) == b""
            assert await file.read1(1) == b""
            assert await file.readinto(buffer) == 0
        for hint in (1, 11, 267, 1000):
            async with store.fs.open("file") as file:
                lines = await file.readlines(hint)
                assert lines == io.BufferedReader(io.BytesIO(data)).readlines(hint)

    @needs("writable")
    async def test_102_str_on_binary(self, store: Harness) -> None:
        """Writing text to a binary handle, or bytes to a text handle, raises TypeError and stores nothing."""
        with pytest.raises(TypeError, match="encod"):
            async with store.fs.open("file", "w") as binary:
                await binary.write("text")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            async with store.fs.open("file", "w", encoding="utf-8") as text:
                await text.write(b"bytes")  # type: ignore[arg-type]
        assert await store.get("file") is None


async def _refused_at_open(store: Harness, mode: BinaryMode) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await store.fs.open("folder/missing", mode)
    assert caught.value.filename == "folder/missing"
    with pytest.raises(FileNotFoundError):
        async with store.fs.open("folder/missing", mode):
            pytest.fail("the block of a file that is missing was entered")
    assert await store.names() == []
    assert await store.leftovers() == []
