"""What is special about Prefix: it sees and touches nothing beside its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.driver import ABSENT
from aiofs.filesystem import FileSystem
from aiofs.layers import Prefix
from aiofs.powers import Appends, Copies, Leftover, Moves, Presigns, Removes, Snapshots, Sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


class Signing(MemoryDriver):
    """Files in memory that have URLs."""

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        return f"https://store/{path}?{method}&{expires}"


@pytest.fixture
async def whole() -> AsyncIterator[FileSystem]:
    async with FileSystem(Signing()) as fs:
        for name in ("a", "a-b", "a/b", "a/c/d", "a0", "aa/b", "b"):
            await fs.write_bytes(name, name.encode())
        yield fs


async def contents(fs: FileSystem) -> dict[str, bytes]:
    return {name: await fs.read_bytes(name) async for name in fs.ls()}


async def test_it_lists_its_own_names_only(whole: FileSystem) -> None:
    folder = whole.at("a")
    assert await folder.ls() == ["b", "c/d"]
    assert await folder.ls(recursive=False) == ["b", "c/"]
    assert await folder.ls(after="b") == ["c/d"]
    assert await folder.at("c").ls() == ["d"]
    assert await whole.over(Prefix("a")).ls(glob="*") == ["-b", "0"]


async def test_whatever_happens_in_it_leaves_its_neighbours_alone(whole: FileSystem) -> None:
    before = await contents(whole)
    folder = whole.at("a")
    await folder.write_bytes("a", b"new")
    await folder.copy("a", "copied")
    await folder.move("copied", "moved")
    async with folder.open("b", "r+") as file:
        await file.write(b"B")
    await folder.rm("c/d")
    after = await contents(whole)
    assert {name: after.pop(name) for name in ("a/a", "a/moved", "a/b")} == {
        "a/a": b"new",
        "a/moved": b"new",
        "a/b": b"B/b",
    }
    assert after.items() <= before.items()
    assert before.keys() - after.keys() == {"a/b", "a/c/d"}


async def test_locks_are_those_of_the_whole(whole: FileSystem) -> None:
    async with whole.at("a").open("b", "w"):
        with pytest.raises(BlockingIOError) as caught:
            await whole.open("a/b", "w")
        assert caught.value.filename == "a/b"
        with pytest.raises(BlockingIOError) as caught:
            await whole.at("a").open("b", "w")
        assert caught.value.filename == "b"


async def test_powers_go_by_its_names(whole: FileSystem) -> None:
    folder = whole.at("a/c")
    assert folder.driver.offers(Copies) is not None
    assert folder.driver.offers(Moves) is None, "the store has no such power"
    assert folder.driver.offers(Sweeps) is not None
    assert folder.driver.offers(Appends) is None
    assert folder.driver.offers(Presigns) is not None
    assert await folder.url("d", "PUT", expires=5) == "https://store/a/c/d?PUT&5"


async def test_a_prepared_write_is_resumed_through_it(whole: FileSystem) -> None:
    driver = whole.at("a").driver
    lease = await driver.lock("new")
    session = await driver.begin("new", lease)
    await session.write(b"bytes")
    token = await session.prepare()
    assert token["path"] == "new"
    await lease.release()
    resumed = await driver.resume(token)
    assert (await resumed.commit()).path == "new"
    assert await whole.read_bytes("a/new") == b"bytes"


async def test_a_file_is_kept_and_put_back_through_it(whole: FileSystem) -> None:
    driver = whole.at("a").driver
    snapshots, removes = driver.offers(Snapshots), driver.offers(Removes)
    assert snapshots is not None
    assert removes is not None
    before = await driver.stat("b")
    await snapshots.keep("b", "tag")
    lease = await driver.lock("b")
    removal = await removes.begin_removal("b", lease, match=before.version or "")
    token = await removal.prepare()
    assert token["path"] == "b"
    await removal.commit()
    assert not await whole.exists("a/b")
    restored = await snapshots.restore("b", "tag", lease, match=ABSENT)
    await snapshots.drop("b", "tag")
    await lease.release()
    assert restored == before
    assert await whole.read_bytes("a/b") == b"a/b"


class Littered(Signing):
    """Files in memory with something left over."""

    def __init__(self, leftovers: list[Leftover]) -> None:
        super().__init__()
        self.left = leftovers

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        for leftover in self.left:
            if leftover.path.startswith(prefix):
                yield leftover

    async def sweep(self, leftover: Leftover) -> bool:
        self.left.remove(leftover)
        return True


async def test_it_sweeps_only_its_own() -> None:
    left = [Leftover(path, "staging file", None, None, live=False, token=path) for path in ("a/b", "b")]
    sweeps = FileSystem(Littered(left)).at("a").driver.offers(Sweeps)
    assert sweeps is not None
    found = [leftover async for leftover in sweeps.leftovers()]
    assert [leftover.path for leftover in found] == ["b"]
    assert await sweeps.sweep(found[0])
    assert [leftover.path for leftover in left] == ["b"]


def test_it_says_what_it_is() -> None:
    assert str(Prefix("a/")) == "Prefix('a/')"
    assert repr(FileSystem(MemoryDriver()).at("a")) == "<FileSystem Prefix('a/', MemoryDriver)>"


@pytest.mark.parametrize("prefix", ["/", "../", "a//", "./a", "a/\0", "/a/", ".aiofs/"])
def test_a_prefix_that_no_name_begins_with_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Prefix(prefix)
