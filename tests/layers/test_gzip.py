"""What is special about Gzip: any gunzip reads it, seeking touches few bytes, and damage does not go unnoticed."""

from __future__ import annotations

import gzip
import os
import random
import time
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.driver import Layer
from aiofs.errors import Damaged
from aiofs.filesystem import FileSystem
from aiofs.layers import Gzip
from aiofs.layers import gzip as gzip_layer
from aiofs.layers.forward import ForwardedStream
from aiofs.layers.gzip import BLOCK

if TYPE_CHECKING:
    from aiofs.driver import ReadStream

MIB = 1 << 20
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))


@cache
def text(size: int, seed: int = 1) -> bytes:
    """Bytes that compress as text does."""
    words = [bytes(random.Random(seed + n).choices(b"abcdefghijklmnop", k=3 + n % 7)) for n in range(200)]
    choice = random.Random(seed)
    return b" ".join(choice.choices(words, k=size // 5))[:size].ljust(size)


class Counted(Layer):
    """Counts the bytes that are read through it, and the requests that were made for them."""

    def __init__(self) -> None:
        self.counts = {"bytes": 0, "requests": 0}

    async def read(self, path: str, start: int = 0, stop: int | None = None, **options: Any) -> ReadStream:
        self.counts["requests"] += 1
        return CountedStream(self.counts, await self.base.read(path, start, stop, **options))


class CountedStream(ForwardedStream):
    def __init__(self, counts: dict[str, int], base: ReadStream) -> None:
        super().__init__(base)
        self._counts = counts

    async def chunk(self, want: int) -> bytes:
        data = await super().chunk(want)
        self._counts["bytes"] += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        self._counts["requests"] += 1
        await super().seek(start, stop)


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
def stored(driver: MemoryDriver) -> FileSystem:
    """What is in the store, as it is."""
    return FileSystem(driver)


@pytest.fixture
def fs(driver: MemoryDriver) -> FileSystem:
    return FileSystem(driver).over(Gzip())


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 16 * BLOCK, 3 * MIB + 5])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
async def test_any_gunzip_reads_it(stored: FileSystem, size: int, level: int) -> None:
    data = text(size)
    await stored.over(Gzip(level)).write_bytes("file", data)
    raw = await stored.read_bytes("file")
    assert gzip.decompress(raw) == data
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert stream.decompress(raw) == data[:BLOCK]


async def test_the_same_bytes_always_compress_to_the_same(stored: FileSystem, fs: FileSystem) -> None:
    data = text(MIB + 7)
    await fs.write_bytes("one", data)
    async with fs.open("two", "w") as file:
        for start in range(0, len(data), 1000):
            await file.write(data[start : start + 1000])
    one, two = await stored.read_bytes("one"), await stored.read_bytes("two")
    assert one == two
    assert one[4:8] == bytes(4), "there is a time in it"
    assert len(one) < len(data) * 0.6


async def test_an_index_of_many_members(stored: FileSystem, fs: FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that needs a second member: of 16 000 blocks in a full run, a gigabyte, and of 160 in others."""
    if not FULL:
        monkeypatch.setattr(gzip_layer, "_PER_MEMBER", 160)
    blocks = gzip_layer._PER_MEMBER + 10
    data = bytes(blocks * BLOCK)
    async with fs.open("zeros", "w") as file:
        for _ in range(blocks // 10):
            await file.write(data[: 10 * BLOCK])
        await file.write(b"end")
    assert (await fs.stat("zeros")).size == len(data) + 3
    assert await fs.read_bytes("zeros", len(data) - 2, len(data) + 3) == b"\0\0end"
    assert len(await stored.read_bytes("zeros")) < 4 * MIB


async def test_seeks_touch_few_bytes() -> None:
    counted = Counted()
    fs = FileSystem(MemoryDriver()).over(counted, Gzip(1))
    data = text(8 * MIB)
    await fs.write_bytes("large", data)
    assert (await fs.stat("large")).size == len(data)
    assert counted.counts["bytes"] <= 1 << 13
    counted.counts.update(bytes=0, requests=0)
    async with fs.open("large") as file:
        assert await file.seek(-10, os.SEEK_END) == len(data) - 10
        assert await file.read() == data[-10:]
        for position in (5, 5 * MIB, 2 * MIB + 1, 7 * MIB):
            await file.seek(position)
            assert await file.read(1000) == data[position : position + 1000]
    assert counted.counts["bytes"] < MIB
    counted.counts.update(bytes=0, requests=0)
    assert await fs.read_bytes("large", 6 * MIB, 6 * MIB + 10) == data[6 * MIB : 6 * MIB + 10]
    assert counted.counts["bytes"] < 2 * BLOCK
    assert counted.counts["requests"] <= 3


async def test_seeking_is_several_times_faster_than_reading_all(fs: FileSystem, stored: FileSystem) -> None:
    data = text(4 * MIB)
    await fs.write_bytes("file", data)
    await stored.write_bytes("plain", gzip.compress(data, 6))

    async def seconds(name: str) -> float:
        start = time.perf_counter()
        assert await fs.read_bytes(name, 3 * MIB, 3 * MIB + 100) == data[3 * MIB : 3 * MIB + 100]
        return time.perf_counter() - start

    assert min([await seconds("file") for _ in range(5)]) < min([await seconds("plain") for _ in range(5)]) / 4


async def test_a_small_file_is_one_request() -> None:
    driver = MemoryDriver()
    driver.window = 1 << 16
    counted = Counted()
    fs = FileSystem(driver).over(counted, Gzip())
    await fs.write_bytes("small", b"some bytes")
    assert await fs.read_bytes("small") == b"some bytes"
    assert (await fs.stat("small")).size == 10
    assert counted.counts["requests"] == 2


@pytest.mark.parametrize("window", [None, 1 << 16])
async def test_damage_is_found_wherever_it_is(driver: MemoryDriver, stored: FileSystem, window: int | None) -> None:
    driver.window = window
    fs = stored.over(Gzip())
    data = text(2 * BLOCK + 100)
    await fs.write_bytes("file", data)
    raw = await stored.read_bytes("file")
    unnoticed = []
    for position in random.Random(5).sample(range(len(raw)), 400):
        broken = bytearray(raw)
        broken[position] ^= 1 << position % 8
        await stored.write_bytes("file", broken)
        try:
            assert await fs.read_bytes("file") == data
        except Damaged:
            continue
        unnoticed.append(position)
    assert len(unnoticed) <= 8, "only bytes that say nothing, such as the operating system in a header, may differ"


@pytest.mark.parametrize("window", [None, 1 << 16])
async def test_a_file_cut_anywhere_is_found(driver: MemoryDriver, stored: FileSystem, window: int | None) -> None:
    driver.window = window
    fs = stored.over(Gzip())
    await fs.write_bytes("file", text(3 * BLOCK))
    raw = await stored.read_bytes("file")
    borders = [raw.index(raw[:16], 1) + shift for shift in (-1, 0, 1)]
    for size in [0, 1, 10, 16, *borders, len(raw) - 100, len(raw) - 1]:
        await stored.write_bytes("file", raw[:size])
        with pytest.raises(Damaged, match=r"cut|missing|not a gzip|end"):
            await fs.read_bytes("file")


async def test_a_range_with_a_damaged_block_is_refused_and_others_are_not(stored: FileSystem, fs: FileSystem) -> None:
    data = text(3 * BLOCK)
    await fs.write_bytes("file", data)
    raw = bytearray(await stored.read_bytes("file"))
    second = raw.index(raw[:16], 1)
    raw[second + 500] ^= 1
    await stored.write_bytes("file", raw)
    assert await fs.read_bytes("file", 0, BLOCK) == data[:BLOCK]
    assert await fs.read_bytes("file", 2 * BLOCK) == data[2 * BLOCK :]
    with pytest.raises(Damaged):
        await fs.read_bytes("file", BLOCK, BLOCK + 1)
    async with fs.open("file") as file:
        assert await file.read(BLOCK) == data[:BLOCK]
        for _ in range(2):
            with pytest.raises(Damaged):
                await file.read(1)


async def test_files_that_others_compressed(stored: FileSystem, fs: FileSystem) -> None:
    data = text(3 * MIB)
    await stored.write_bytes("one", gzip.compress(data, mtime=1))
    await stored.write_bytes(
        "several", gzip.compress(data[:MIB]) + gzip.compress(b"") + gzip.compress(data[MIB:]) + bytes(512)
    )
    for name in ("one", "several"):
        assert (await fs.stat(name)).size is None
        assert await fs.read_bytes(name) == data
        assert await fs.read_bytes(name, 2 * MIB, 2 * MIB + 5) == data[2 * MIB : 2 * MIB + 5]
        async with fs.open(name) as file:
            assert await file.seek(-7, os.SEEK_END) == len(data) - 7
            assert await file.read() == data[-7:]
            await file.seek(100)
            assert await file.read(100) == data[100:200]
        async with fs.open(name, "r+") as file:
            await file.seek(MIB)
            await file.write(b"changed")
        assert await fs.read_bytes(name) == data[:MIB] + b"changed" + data[MIB + 7 :]
        assert (await fs.stat(name)).size == len(data)
    await stored.write_bytes("append", gzip.compress(b"first "))
    async with fs.open("append", "a") as file:
        await file.write(b"second")
    assert await fs.read_bytes("append") == b"first second"


async def test_others_compressed_files_that_are_damaged(stored: FileSystem, fs: FileSystem) -> None:
    raw = gzip.compress(text(MIB))
    broken = bytearray(raw)
    broken[-5] ^= 1
    for name, content in {
        "cut": raw[:-9],
        "head": raw[:5],
        "broken": bytes(broken),
        "other": b"plain text",
        "rest": raw + b"x",
    }.items():
        await stored.write_bytes(name, content)
        with pytest.raises(Damaged) as caught:
            await fs.read_bytes(name)
        assert caught.value.filename == name


async def test_a_bomb_is_not_inflated_at_once(stored: FileSystem, fs: FileSystem) -> None:
    await stored.write_bytes("bomb", gzip.compress(bytes(100 * MIB), 9))
    async with fs.open("bomb") as file:
        piece = await file.read1(1 << 30)
        assert 0 < len(piece) <= MIB


@pytest.mark.parametrize("level", [-1, 10])
def test_levels_are_0_to_9(level: int) -> None:
    with pytest.raises(ValueError, match="level"):
        Gzip(level)
