"""What is special about layers of names: what the store gets to see, and listings in order all the same."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.layers import HashPrefix, Percent
from aiofs.names import check_path
from aiofs.stores import OSFileSystem
from aiofs.transactions.fsck import fsck
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from aiofs.driver import Entry

SAFE = re.compile(r"[A-Za-z0-9._~%/-]+")
WINDOWS_REFUSES = re.compile(r"(?i)(^|/)(con|nul|com1)(\.[^/]*)?(/|$)|\.(/|$)")


def is_path(text: str) -> bool:
    try:
        return bool(check_path(text))
    except ValueError:
        return False


paths = st.text(st.sampled_from("ab/.% +:é\u3042\\"), min_size=1, max_size=12).filter(is_path)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("plain-name_1.txt", "plain-name_1.txt"),
        ("a folder/ü", "a%20folder/%C3%BC"),
        ("100%", "100%25"),
        ("con/aux.txt/COM1", "%63on/%61ux.txt/%43OM1"),
        ("console", "console"),
        ("dot.", "dot%2E"),
        ("...", "..%2E"),
    ],
)
async def test_percent_writes_safe_names(name: str, stored: str) -> None:
    store = FileSystem(MemoryDriver())
    await store.over(Percent()).write_bytes(name, b"")
    assert await store.ls() == [stored]
    assert await store.over(Percent()).ls() == [name]


@given(paths)
def test_percent_is_safe_and_reversible(path: str) -> None:
    stored = Percent().inward(path)
    assert SAFE.fullmatch(stored)
    assert not WINDOWS_REFUSES.search(stored)
    assert Percent().outward(stored) == path


async def test_percent_leaves_out_what_it_would_not_write() -> None:
    store = FileSystem(MemoryDriver())
    for name in ("a b", "%zz", "%41", "%ff", "fine"):
        await store.write_bytes(name, b"")
    assert await store.over(Percent()).ls() == ["fine"]


@given(st.sets(paths, max_size=12), st.sampled_from(["", "a", "a/", "é/"]), st.sampled_from(["", "a", "a/b", "é"]))
@pytest.mark.parametrize("layer", [Percent(), HashPrefix(1)], ids=str)
async def test_listings_are_those_of_a_store_without_the_layer(
    layer: Percent | HashPrefix, names: set[str], prefix: str, after: str
) -> None:
    plain = MemoryDriver()
    layered = layer.bind(MemoryDriver())
    for name in names:
        await FileSystem(plain).write_bytes(name, b"")
        await FileSystem(layered).write_bytes(name, b"")
    for delimiter in (None, "/"):
        expected = [entry.path async for entry in plain.list(prefix, after=after, delimiter=delimiter)]
        assert [entry.path async for entry in layered.list(prefix, after=after, delimiter=delimiter)] == expected


async def test_hash_prefix_spreads_names() -> None:
    store = FileSystem(MemoryDriver())
    fs = store.over(HashPrefix())
    names = [f"2026-11-20/{number:05}" for number in range(1000)]
    for name in names:
        await fs.write_bytes(name, b"")
    folders = await store.ls(recursive=False)
    assert len(folders) > 200
    assert all(re.fullmatch("[0-9a-f]{2}/", folder) for folder in folders)
    assert await fs.ls() == names
    assert await fs.ls(recursive=False) == ["2026-11-20/"]


async def test_hash_prefix_leaves_out_names_in_the_wrong_place() -> None:
    store = FileSystem(MemoryDriver())
    await store.over(HashPrefix()).write_bytes("mine", b"")
    for name in ("00/other", "zz/other", "other", "0/x"):
        await store.write_bytes(name, b"")
    assert await store.over(HashPrefix()).ls() == ["mine"]


@pytest.mark.timeout(20)
async def test_hash_prefix_finds_journals_where_listings_leave_folders_without_files_out(tmp_path: Path) -> None:
    fs = OSFileSystem(tmp_path).over(HashPrefix())
    async with transaction(fs) as tx:
        await tx.write_bytes("file", b"new")
        under_way = await fsck(fs)
    assert ("unfinished transaction", True) in [(finding.kind, finding.live) for finding in under_way]
    assert await fs.ls() == ["file"]
    assert await fsck(fs) == []


@pytest.mark.timeout(20)
async def test_hash_prefix_finds_journals_of_a_folder(tmp_path: Path) -> None:
    spread = OSFileSystem(tmp_path).over(HashPrefix())
    fs = spread.at("folder")
    async with transaction(fs) as tx:
        await tx.write_bytes("file", b"new")
        under_way = await fsck(fs)
    assert ("unfinished transaction", True) in [(finding.kind, finding.live) for finding in under_way]
    assert await spread.ls() == ["folder/file"]
    assert await fsck(fs) == []


class Unhurried(MemoryDriver):
    """Does not come to list a folder, and takes longer for one than for another to stop trying."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        if prefix:
            self.asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(int(prefix[0], 16)):
                    await asyncio.sleep(0)
        async for entry in super().list(prefix, after=after, delimiter=delimiter):
            yield entry


async def test_a_listing_of_hash_prefix_can_be_cancelled() -> None:
    driver = Unhurried()
    fs = FileSystem(driver).over(HashPrefix(1))
    for number in range(40):
        await fs.write_bytes(f"{number}", b"")

    async def listed() -> list[str]:
        return await fs.ls()

    listing = asyncio.create_task(listed())
    await driver.asked.wait()
    listing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listing


@pytest.mark.parametrize("length", [0, 5])
def test_hash_prefix_has_1_to_4_digits(length: int) -> None:
    with pytest.raises(ValueError, match="length"):
        HashPrefix(length)
