"""What is special about policies: what they refuse does not happen, and the store does not even hear of it."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Literal

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.errors import TooLarge
from aiofs.filesystem import FileSystem
from aiofs.layers import Allow, Limit, Matching, ReadOnly, WriteOnly
from aiofs.powers import Appends, Copies, Moves, Presigns, Removes, Snapshots, Sweeps
from aiofs.testing import Chaos

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Signing(MemoryDriver):
    """Files in memory that have URLs."""

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        return f"https://store/{path}?{method}&{expires}"


async def test_read_only_refuses_every_write_before_the_store_hears_of_it() -> None:
    driver = Signing()
    await FileSystem(driver).write_bytes("file", b"bytes")
    chaos = Chaos()
    fs = FileSystem(driver).over(chaos, ReadOnly())
    attempts = [
        *(fs.open("file", mode).__aenter__() for mode in ("w", "a", "x", "r+")),
        fs.write_bytes("new", b""),
        fs.rm("file"),
        fs.rm("missing", missing_ok=True),
        fs.copy("file", "copied"),
        fs.move("file", "moved"),
        fs.driver.resume({"path": "file"}),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionError, match="read-only") as caught:
            await attempt
        assert caught.value.errno == errno.EROFS
        assert caught.value.filename in {"file", "new", "missing", "copied", "moved"}
    assert not chaos.calls
    assert await fs.read_bytes("file") == b"bytes"
    assert await fs.ls() == ["file"]


async def test_what_read_only_leaves_of_the_powers() -> None:
    driver = FileSystem(Signing()).over(ReadOnly()).driver
    for power in (Copies, Moves, Sweeps, Removes, Snapshots, Appends):
        assert driver.offers(power) is None
    assert FileSystem(MemoryDriver()).over(ReadOnly()).driver.offers(Presigns) is None
    fs = FileSystem(Signing()).over(ReadOnly())
    assert await fs.url("file", expires=5) == "https://store/file?GET&5"
    with pytest.raises(PermissionError):
        await fs.url("file", "PUT")


async def test_a_drop_box() -> None:
    store = FileSystem(Signing())
    box = store.over(WriteOnly())
    await box.write_bytes("file", b"bytes")
    async with box.open("new", "x") as file:
        await file.write(b"new")
    with pytest.raises(FileExistsError):
        async with box.open("new", "x") as file:
            pass
    assert await box.url("file", "PUT", expires=5) == "https://store/file?PUT&5"
    attempts: list[Awaitable[object]] = [
        box.read_bytes("file"),
        box.stat("file"),
        box.ls(),
        box.rm("file"),
        box.move("file", "new"),
        box.copy("file", "new"),
        box.url("file"),
        *(box.open("file", mode).__aenter__() for mode in ("r", "a", "r+")),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionError, match="write-only") as caught:
            await attempt
        assert caught.value.errno == errno.EACCES
    assert await store.ls() == ["file", "new"]


async def test_allowing_single_verbs() -> None:
    store = FileSystem(MemoryDriver())
    await store.write_bytes("a", b"a")
    assert await store.over(Allow("list")).ls() == ["a"]
    assert await store.over(Allow("read")).read_bytes("a") == b"a"
    with pytest.raises(PermissionError):
        await store.over(Allow("read")).ls()
    await store.over(Allow("remove")).rm("a")
    assert await store.ls() == []
    with pytest.raises(ValueError, match="verbs"):
        Allow("fly")  # type: ignore[arg-type]


async def test_a_file_over_the_limit_is_refused_while_it_is_written() -> None:
    store = FileSystem(MemoryDriver())
    fs = store.over(Limit(3 << 20))
    await fs.write_bytes("file", bytes(3 << 20))
    parts = 0

    async def write_on_and_on(mode: str) -> None:
        nonlocal parts
        async with fs.open("file", mode) as file:
            while True:
                await file.write(b"x" * (1 << 20))
                parts += 1

    for mode in ("w", "a"):
        with pytest.raises(TooLarge) as caught:
            await write_on_and_on(mode)
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == "file"
    assert parts <= 4
    with pytest.raises(TooLarge):
        await fs.write_bytes("small", bytes((3 << 20) + 1))
    assert await store.ls() == ["file"]
    assert await store.read_bytes("file") == bytes(3 << 20)


async def test_a_copy_over_the_limit_is_refused_too() -> None:
    store = FileSystem(MemoryDriver())
    await store.write_bytes("large", b"12345678901")
    await store.write_bytes("small", b"1234567890")
    fs = store.over(Limit(10))
    with pytest.raises(TooLarge) as caught:
        await fs.copy("large", "copy of large")
    assert caught.value.filename == "copy of large"
    await fs.copy("small", "copy of small")
    assert await store.ls() == ["copy of small", "large", "small"]


@pytest.mark.parametrize(
    "names", [r"[a-z/]+\.txt", re.compile(r"[a-z/]+\.txt"), lambda name: name.endswith(".txt") and name.islower()]
)
async def test_only_names_that_match(names: str) -> None:
    store = FileSystem(MemoryDriver())
    for name in ("a.txt", "a.txt.exe", "folder/b.txt", "UPPER.txt"):
        await store.write_bytes(name, b"")
    fs = store.over(Matching(names))
    assert await fs.ls() == ["a.txt", "folder/b.txt"]
    assert await fs.ls(recursive=False) == ["a.txt", "folder/"]
    await fs.copy("a.txt", "folder/c.txt")
    for attempt in (fs.stat("a.txt.exe"), fs.rm("UPPER.txt"), fs.copy("a.txt", "a.exe"), fs.write_bytes("é.png", b"")):
        with pytest.raises(ValueError, match="as all names of this file system must"):
            await attempt
    with pytest.raises(ValueError, match=r"'a\.txt\\n'"):
        fs.open("a.txt\n", "w")
    assert await store.ls() == ["UPPER.txt", "a.txt", "a.txt.exe", "folder/b.txt", "folder/c.txt"]
