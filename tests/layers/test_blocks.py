"""What layers that seal blocks share: no wrong byte is returned, a range costs its blocks, sizes cost nothing."""

from __future__ import annotations

import os
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiofs.backends.memory import MemoryDriver
from aiofs.errors import Conflict, Damaged, Unsupported
from aiofs.filesystem import FileSystem
from aiofs.layers import Checked, Gzip, Prefix, blocks
from layers.test_codecs import Restless
from layers.test_gzip import Counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.layers.blocks import Blocks

MIB = 1 << 20
BLOCK = blocks.BLOCK
SMALL = 50
LAYERS: list[Blocks] = [Checked()]
layers = pytest.mark.parametrize("layer", LAYERS, ids=repr)
SIZES = st.one_of(st.integers(0, 4 * SMALL + 5), st.sampled_from([SMALL * count for count in range(5)]))


@contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks of 50 bytes, so that a file of many blocks is small."""
    with mock.patch.object(blocks, "BLOCK", SMALL):
        yield


def over(layer: Blocks, window: int | None = None) -> tuple[FileSystem, FileSystem]:
    driver = MemoryDriver()
    driver.window = window
    store = FileSystem(driver)
    return store, store.over(layer)


def content(size: int, seed: int = 0) -> bytes:
    return Random(seed).randbytes(size)


def swapped(stored: bytes, layer: Blocks, one: int, two: int) -> bytes:
    """Return the stored file with two whole frames in each other's place."""
    frame = SMALL + layer.overhead
    head = layer.header_size
    frames = [stored[start : start + frame] for start in range(head, len(stored), frame)]
    one, two = one % len(frames), two % len(frames)
    frames[one], frames[two] = frames[two], frames[one]
    return stored[:head] + b"".join(frames)


def mixed(stored: bytes, other: bytes, layer: Blocks, block: int) -> bytes:
    """Return the stored file with one frame of the other file, from the same place."""
    frame = SMALL + layer.overhead
    start = layer.header_size + block % max(1, -(-(len(stored) - layer.header_size) // frame)) * frame
    return stored[:start] + other[start : start + frame] + stored[start + frame :]


async def read_or_fail(fs: FileSystem, start: int, stop: int | None) -> bytes | None:
    """Return the bytes of the range, or `None` if they are damaged."""
    try:
        return await fs.read_bytes("file", start, stop)
    except (Damaged, Unsupported):
        return None


@layers
@given(
    size=SIZES,
    what=st.sampled_from(["flip", "cut", "cut frame", "swap", "mix", "mix header", "more", "lose", "repeat"]),
    one=st.integers(0, 400),
    two=st.integers(0, 400),
    ranged=st.tuples(st.integers(0, 250), st.integers(1, 250)),
    window=st.sampled_from([None, 40, 200]),
)
async def test_no_wrong_byte_is_returned(
    layer: Blocks, *, size: int, what: str, one: int, two: int, ranged: tuple[int, int], window: int | None
) -> None:
    with small_blocks():
        store, fs = over(layer, window)
        data = content(size)
        await fs.write_bytes("file", data)
        await fs.write_bytes("other", content(size, 1))
        stored, other = await store.read_bytes("file"), await store.read_bytes("other")
        frame, head = SMALL + layer.overhead, layer.header_size
        place = one % len(stored)
        border = head + one % 5 * frame
        broken = {
            "flip": stored[:place] + bytes([stored[place] ^ 1 << two % 8]) + stored[place + 1 :],
            "cut": stored[:place],
            "cut frame": stored[:border],
            "swap": swapped(stored, layer, one, two),
            "mix": mixed(stored, other, layer, one),
            "mix header": other[:head] + stored[head:],
            "more": stored + other[place:],
            "lose": stored[:border] + stored[border + frame :],
            "repeat": stored[: border + frame] + stored[border:],
        }[what]
        await store.write_bytes("file", broken)
        for begin, end in ((ranged[0], sum(ranged)), (0, None), (ranged[0], None)):
            got = await read_or_fail(fs, begin, end)
            assert got == data[begin:end] or (got is None and broken != stored)
            assert got is None or broken == stored or (begin, end) != (0, None), "all was read, and nothing was found"


@layers
@given(
    size=SIZES,
    steps=st.lists(
        st.tuples(st.sampled_from(["read", "r+", "a", "truncate"]), st.integers(0, 250), st.integers(0, 120)),
        max_size=6,
    ),
    window=st.sampled_from([None, 40, 200]),
)
async def test_it_is_like_a_plain_file(
    layer: Blocks, size: int, steps: list[tuple[str, int, int]], window: int | None
) -> None:
    with small_blocks():
        _, fs = over(layer, window)
        expected = bytearray(content(size))
        await fs.write_bytes("file", expected)
        for number, (step, wish, length) in enumerate(steps):
            place = min(wish, len(expected)) if step == "r+" else wish
            if step == "read":
                async with fs.open("file") as file:
                    for at in (place, place // 2, place + length):
                        await file.seek(at)
                        assert await file.read(length) == expected[at : at + length]
                    assert await file.seek(-min(length, len(expected)), os.SEEK_END) >= 0
                    assert await file.read() == expected[max(0, len(expected) - length) :]
            elif step == "r+":
                async with fs.open("file", "r+") as file:
                    await file.seek(place)
                    await file.write(content(length, number))
                expected[place : place + length] = content(length, number)
            elif step == "a":
                async with fs.open("file", "a") as file:
                    await file.write(content(length, number))
                expected += content(length, number)
            else:
                async with fs.open("file", "r+") as file:
                    await file.truncate(place)
                expected[:] = expected[:place].ljust(place, b"\0")
            assert await fs.read_bytes("file") == expected
            assert (await fs.stat("file")).size == len(expected)
            assert [entry.size async for entry in fs.scan()] == [len(expected)]


@layers
async def test_a_range_costs_its_blocks(layer: Blocks) -> None:
    driver = MemoryDriver()
    driver.window = 1 << 16
    counted = Counted()
    fs = FileSystem(driver).over(counted, layer)
    data = content(4 * MIB + 5)
    await fs.write_bytes("file", data)

    async def read(start: int, stop: int) -> tuple[int, int]:
        counted.counts.update(bytes=0, requests=0)
        assert await fs.read_bytes("file", start, stop) == data[start:stop]
        return counted.counts["requests"], counted.counts["bytes"]

    frame = BLOCK + layer.overhead
    assert await read(0, 10) == (1, layer.header_size + frame)
    assert await read(3 * MIB, 3 * MIB + 10) == (2, layer.header_size + frame)
    assert await read(3 * MIB - 1, 3 * MIB + 10) == (2, layer.header_size + 2 * frame)
    assert await read(0, len(data)) == (1, layer.header_size + 64 * frame + 5 + layer.overhead)
    counted.counts.update(bytes=0, requests=0)
    assert (await fs.stat("file")).size == len(data)
    assert [entry.size for entry in [entry async for entry in fs.scan()]] == [len(data)]
    assert counted.counts == {"bytes": 0, "requests": 0}


@layers
async def test_a_small_file_is_one_request(layer: Blocks) -> None:
    driver = MemoryDriver()
    driver.window = 1 << 16
    counted = Counted()
    fs = FileSystem(driver).over(counted, layer)
    await fs.write_bytes("small", b"some bytes")
    await fs.write_bytes("empty", b"")
    assert await fs.read_bytes("small") == b"some bytes"
    async with fs.open("small") as file:
        assert await file.read() == b"some bytes"
    assert await fs.read_bytes("empty") == b""
    assert counted.counts["requests"] == 3


@layers
async def test_a_damaged_block_does_not_stop_reading_others(layer: Blocks) -> None:
    store, fs = over(layer)
    data = content(3 * BLOCK)
    await fs.write_bytes("file", data)
    stored = bytearray(await store.read_bytes("file"))
    stored[layer.header_size + BLOCK + layer.overhead + 500] ^= 1
    await store.write_bytes("file", stored)
    assert await fs.read_bytes("file", 2 * BLOCK) == data[2 * BLOCK :]
    async with fs.open("file") as file:
        assert await file.read(BLOCK) == data[:BLOCK]
        for _ in range(2):
            with pytest.raises(Damaged, match="block 1"):
                await file.read(1)
        await file.seek(2 * BLOCK)
        assert await file.read() == data[2 * BLOCK :]
    with pytest.raises(Damaged):
        async with fs.open("file", "a") as file:
            await file.write(b"more")
    assert await store.read_bytes("file") == stored


@layers
async def test_a_file_cut_to_a_whole_block_is_not_shorter_or_empty(layer: Blocks) -> None:
    store, fs = over(layer)
    await fs.write_bytes("file", content(3 * BLOCK))
    stored = await store.read_bytes("file")
    await store.write_bytes("file", stored[: layer.header_size + 2 * (BLOCK + layer.overhead)])
    for start in (0, BLOCK, 2 * BLOCK, 5 * BLOCK):
        with pytest.raises(Damaged):
            await fs.read_bytes("file", start)
    await store.write_bytes("file", stored[: layer.header_size + layer.overhead])
    with pytest.raises(Damaged):
        await fs.read_bytes("file")


@layers
async def test_a_file_that_is_replaced_while_it_is_opened_is_opened_anew(layer: Blocks) -> None:
    driver = MemoryDriver()
    data = content(3 * BLOCK)
    await FileSystem(driver).over(layer).write_bytes("file", data)
    fs = FileSystem(driver).over(Restless(2), layer)
    assert await fs.read_bytes("file", BLOCK + 1, BLOCK + 10) == data[BLOCK + 1 : BLOCK + 10]
    version = (await driver.stat("file")).version
    with pytest.raises(Conflict) as caught:
        await FileSystem(driver).over(Restless(100), layer).read_bytes("file", BLOCK + 1)
    assert caught.value.filename == "file"
    with pytest.raises(Conflict):
        await FileSystem(driver).over(Restless(1), layer).driver.read("file", BLOCK, match=version)


@layers
async def test_it_works_over_and_below_other_layers(layer: Blocks) -> None:
    data = content(3 * BLOCK)
    for stack in ((Gzip(1), layer), (layer, Gzip(1)), (Prefix("a/"), layer, layer)):
        fs = FileSystem(MemoryDriver()).over(*stack)
        await fs.write_bytes("file", data)
        assert await fs.read_bytes("file") == data
        assert await fs.read_bytes("file", 2 * BLOCK - 5, 2 * BLOCK + 5) == data[2 * BLOCK - 5 : 2 * BLOCK + 5]
        assert (await fs.stat("file")).size == len(data)
