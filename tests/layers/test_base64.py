"""What is special about Base64: other programs read it, and damage does not go unnoticed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiofs.backends.memory import MemoryDriver
from aiofs.errors import Damaged
from aiofs.filesystem import FileSystem
from aiofs.layers import Base64

PART = Base64.encoded_at_once


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, PART - 1, PART, PART + 1, 3 * PART + 2])
async def test_it_is_plain_base64(size: int) -> None:
    store = FileSystem(MemoryDriver())
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    await store.over(Base64()).write_bytes("file", data)
    assert await store.read_bytes("file") == base64.b64encode(data)
    assert (await store.over(Base64()).stat("file")).size == size


@given(st.binary(max_size=30), st.integers(0, 35), st.integers(0, 35), st.sampled_from([None, 10]))
async def test_any_range(data: bytes, start: int, length: int, window: int | None) -> None:
    driver = MemoryDriver()
    driver.window = window
    await FileSystem(driver).write_bytes("file", base64.b64encode(data))
    fs = FileSystem(driver).over(Base64())
    assert await fs.read_bytes("file", start, start + length) == data[start : start + length]


@pytest.mark.parametrize("content", [b"abc", b"a===", b"ab=c", b"ab c", b"YWJj\nZGVm", b"\xff\xff\xff\xff"])
async def test_what_is_no_base64_is_damaged(content: bytes) -> None:
    store = FileSystem(MemoryDriver())
    await store.write_bytes("file", content)
    with pytest.raises(Damaged) as caught:
        await store.over(Base64()).read_bytes("file")
    assert caught.value.filename == "file"
