"""What is special about Checked: its format, which stays, and a new id in each version."""

from __future__ import annotations

import hashlib

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.errors import Damaged, Unsupported
from aiofs.filesystem import FileSystem
from aiofs.layers import Checked
from layers.sealed import checked_file

ID = bytes(range(24))
DATA = bytes(range(256)) * 300


def test_format_1_stays_as_it_is() -> None:
    stored = checked_file(DATA, ID)
    assert stored[:40] == b"\x89aiofsC\x01" + ID + DATA[:8]
    assert len(stored) == 32 + len(DATA) + 2 * 32
    assert hashlib.sha256(stored).hexdigest() == "f18ec1800c95ee9a3f67e9c086e59813bca862fde2865152a440536d8f90512f"


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131072, 1 << 20, (1 << 20) + 5, 3 << 20])
async def test_it_writes_and_reads_the_format_of_the_page(size: int) -> None:
    store = FileSystem(MemoryDriver())
    data = (DATA * (size // len(DATA) + 1))[:size]
    await store.over(Checked()).write_bytes("file", data)
    stored = await store.read_bytes("file")
    assert stored == checked_file(data, stored[8:32])
    await store.write_bytes("other", checked_file(data, ID))
    assert await store.over(Checked()).read_bytes("other") == data


async def test_each_version_has_another_id() -> None:
    store = FileSystem(MemoryDriver())
    stored = set()
    for _ in range(3):
        await store.over(Checked()).write_bytes("file", DATA)
        stored.add((await store.read_bytes("file"))[8:32])
    assert len(stored) == 3


async def test_what_is_no_such_file_is_said_so() -> None:
    store = FileSystem(MemoryDriver())
    for content in (b"", b"plain text", b"plain text that is long enough to hold a header, and a digest of 32 bytes"):
        await store.write_bytes("file", content)
        with pytest.raises(Damaged, match=r"Checked: the file was (cut short, or is no such|not written by)") as caught:
            await store.over(Checked()).read_bytes("file")
        assert caught.value.filename == "file"
    stored = bytearray(checked_file(DATA))
    stored[7] = 2
    await store.write_bytes("file", stored)
    with pytest.raises(Unsupported, match="a file of Checked has format 2, and this version of aiofs knows 1"):
        await store.over(Checked()).read_bytes("file")
