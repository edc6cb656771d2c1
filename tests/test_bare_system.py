"""What a user's own class with just `open`, `rm` and `ls` gets from FileLikeSystem."""

from __future__ import annotations

import copy
import gc
import weakref
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import aiofs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from _typeshed import ReadableBuffer


class Page(aiofs.FileLike):
    """A file of the user's, with the two methods it needs."""

    def __init__(self, name: str, mode: str, pages: dict[str, bytes]) -> None:
        super().__init__(name, mode)
        self._pages = pages
        self._data = bytearray() if mode == "w" else bytearray(pages[name])
        self._position = 0

    async def read(self, size: int | None = -1) -> bytes:
        stop = None if size is None or size < 0 else self._position + size
        data = bytes(self._data[self._position : stop])
        self._position += len(data)
        return data

    async def write(self, data: ReadableBuffer) -> int:
        self._data += memoryview(data)
        return memoryview(data).nbytes

    def publish(self) -> None:
        self._pages[self.name] = bytes(self._data)


class Pages(aiofs.FileLikeSystem):
    """A user's system: three methods over a dictionary."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}

    @asynccontextmanager
    async def open(self, path: str, mode: str = "r") -> AsyncIterator[Page]:
        if mode == "r" and path not in self.pages:
            raise FileNotFoundError(2, "No such page", path)
        page = Page(path, mode, self.pages)
        yield page
        if mode == "w":
            page.publish()

    async def rm(self, *paths: str) -> None:  # type: ignore[override]  # what is left out is added
        for path in paths:
            if path not in self.pages:
                raise FileNotFoundError(2, "No such page", path)
            del self.pages[path]

    async def ls(self, path: str = "") -> AsyncIterator[str]:  # type: ignore[override]  # it becomes a listing
        for name in sorted(self.pages):
            if not path or name.startswith(f"{path}/"):
                yield name


@pytest.fixture
async def pages() -> Pages:
    system = Pages()
    await system.write_bytes("a/one.txt", b"first\nsecond")
    await system.write_bytes("a/b/two.txt", b"2")
    await system.write_text("three", "drei\n")
    return system


def test_exactly_three_methods_are_abstract() -> None:
    assert aiofs.FileLikeSystem.__abstractmethods__ == {"open", "rm", "ls"}


async def test_reading_and_describing(pages: Pages) -> None:
    assert await pages.read_bytes("a/one.txt") == b"first\nsecond"
    assert await pages.read_bytes("a/one.txt", 2, 4) == b"rs"
    assert await pages.read_bytes("a/one.txt", 100) == b""
    assert await pages.read_text("three") == "drei\n"
    entry = await pages.stat("a/one.txt")
    assert (entry.path, entry.size) == ("a/one.txt", 12)
    assert entry.version != (await pages.stat("three")).version
    assert await pages.exists("three")
    assert not await pages.exists("four")


async def test_a_copy_over_itself_opens_nothing_to_write(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    whole = Pages.open

    def opened(system: Pages, path: str, mode: str = "r") -> AbstractAsyncContextManager[Page]:
        modes.append(mode)
        return whole(system, path, mode)

    monkeypatch.setattr(Pages, "open", opened)
    await pages.copy("three", "three")
    assert set(modes) == {"r"}, "where w empties the file at once, its bytes would be lost"
    with pytest.raises(FileNotFoundError):
        await pages.copy("four", "four")


async def test_files_that_give_less_than_asked_for_are_asked_again(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Page.read

    async def read(page: Page, size: int | None = -1) -> bytes:
        return await whole(page, size if size is None else min(size, 3))

    monkeypatch.setattr(Page, "read", read)
    assert await pages.read_bytes("a/one.txt", 4, 11) == b"t\nsecon"
    assert await pages.read_bytes("a/one.txt", 4, 100) == b"t\nsecond"
    assert await pages.read_bytes("a/one.txt", 4, 2) == b""


async def test_what_a_system_leaves_out_is_added(pages: Pages) -> None:
    system: aiofs.FileLikeSystem = pages
    assert await system.ls("a") == ["a/b/two.txt", "a/one.txt"]
    assert [name async for name in system.ls("a/b")] == ["a/b/two.txt"]
    await system.rm("a/one.txt", "never", "three", missing_ok=True)
    assert await system.ls() == ["a/b/two.txt"]


async def test_listing(pages: Pages) -> None:
    assert [name async for name in pages.glob("a/**")] == ["a/b/two.txt", "a/one.txt"]
    assert await pages.glob("*") == ["three"]
    assert [(entry.path, entry.size) for entry in await pages.scan("a")] == [("a/b/two.txt", 1), ("a/one.txt", 12)]
    assert [level async for level in pages.walk()] == [
        ("", ["a"], ["three"]),
        ("a", ["b"], ["one.txt"]),
        ("a/b", [], ["two.txt"]),
    ]
    assert [level async for level in pages.walk("a")] == [("a", ["b"], ["one.txt"]), ("a/b", [], ["two.txt"])]


async def test_a_walk_goes_as_deep_as_names_do_and_can_be_pruned(pages: Pages) -> None:
    await pages.write_bytes("d/" * 1500 + "file", b"")
    assert len([folder async for folder, _, _ in pages.walk()]) == 1503
    seen = []
    async for folder, folders, _ in pages.walk():
        seen.append(folder)
        folders[:] = ["not there", *(name for name in folders if name != "d")]
    assert seen == ["", "a", "a/b"]


async def test_copying_and_moving(pages: Pages) -> None:
    await pages.copy("three", "four")
    await pages.move("three", "five")
    await pages.move("five", "five")
    assert sorted(pages.pages) == ["a/b/two.txt", "a/one.txt", "five", "four"]
    assert pages.pages["four"] == pages.pages["five"] == b"drei\n"


async def test_lines_and_friends_of_a_bare_file(pages: Pages) -> None:
    async with pages.open("a/one.txt") as page:
        assert await page.readline() == b"first\n"
        assert await page.readline(3) == b"sec"
        buffer = bytearray(10)
        assert await page.readinto(buffer) == 3
        assert bytes(buffer[:3]) == b"ond"
    async with pages.open("a/one.txt") as page:
        assert [line async for line in page] == [b"first\n", b"second"]
    async with pages.open("a/one.txt") as page:
        assert await page.readlines(1) == [b"first\n"]
        assert await page.readall() == b"second"


async def test_folder_of_a_bare_system_is_a_whole_file_system(pages: Pages) -> None:
    folder = pages.at("a")
    async with folder.open("one.txt", "r+") as file:
        await file.seek(-6, 2)
        await file.write(b"SECOND")
        with pytest.raises(BlockingIOError):
            await folder.write_bytes("one.txt", b"")
    assert pages.pages["a/one.txt"] == b"first\nSECOND"
    async with folder.open("one.txt", "a") as file:
        await file.write(b"!")
    assert await folder.ls() == ["b/two.txt", "one.txt"]
    assert await folder.read_bytes("one.txt") == b"first\nSECOND!"
    with pytest.raises(FileExistsError):
        await (await folder.open("one.txt", "x")).close()
    await folder.rm("one.txt")
    with pytest.raises(FileNotFoundError):
        await folder.rm("one.txt")


@pytest.mark.parametrize(
    "made",
    [
        lambda pages: pages.at("a"),
        lambda pages: pages.over().at("a"),
        lambda pages: aiofs.TransactionalFileSystem(pages).at("a"),
    ],
    ids=["at", "over", "transactional"],
)
async def test_all_that_is_made_of_a_system_has_the_same_locks(
    pages: Pages, made: Callable[[Pages], aiofs.FileSystem]
) -> None:
    async with pages.at("a").open("one.txt", "w") as file:
        await file.write(b"alone")
        with pytest.raises(BlockingIOError):
            await made(pages).write_bytes("one.txt", b"at the same time")
    assert pages.pages["a/one.txt"] == b"alone"
    copied = copy.copy(pages)
    copied.pages = {}
    await copied.at("a").write_bytes("one.txt", b"elsewhere")
    assert pages.pages["a/one.txt"] == b"alone"


async def test_a_system_that_cannot_be_hashed_goes_when_nobody_holds_it() -> None:
    @dataclass
    class Book(Pages):
        pages: dict[str, bytes]

    book = Book({})
    async with aiofs.transaction(book) as tx:
        await tx.write_bytes("new", b"new")
    assert await book.at("folder").ls() == []
    gone = weakref.ref(book)
    del book, tx
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("bad", ["", "/a", "a/../b"])
async def test_bad_names_do_not_reach_the_users_code(pages: Pages, bad: str) -> None:
    for call in (pages.stat, pages.read_bytes, pages.exists):
        with pytest.raises(ValueError, match="path"):
            await call(bad)


async def test_transactions_keep_their_journal_beside_the_files() -> None:
    pages = Pages()
    pages.pages |= {"changed": b"old", "removed": b"old"}
    with pytest.raises(RuntimeError, match="stop"):
        async with aiofs.transaction(pages) as tx:
            await tx.write_bytes("changed", b"lost")
            raise RuntimeError("stop")
    assert pages.pages == {"changed": b"old", "removed": b"old"}
    async with aiofs.transaction(pages) as tx:
        await tx.write_bytes("new", b"new")
        async with tx.open("changed", "a") as file:
            await file.write(b" and new")
        await tx.rm("removed")
    assert pages.pages == {"changed": b"old and new", "new": b"new"}
    assert await aiofs.fsck(pages) == []
