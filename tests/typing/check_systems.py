"""What a file system gives for what it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import aiofs
from aiofs import Entry, FileLike, FileSystem
from aiofs.listing import listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs import FileLikeSystem
    from aiofs.files.opening import Opening
    from aiofs.modes import BinaryMode


async def whole_files(fs: FileLikeSystem) -> None:
    assert_type(await fs.read_bytes("a"), bytes)
    assert_type(await fs.read_text("a"), str)
    assert_type(await fs.exists("a"), bool)
    assert_type(await fs.stat("a"), Entry)
    for data in (b"", bytearray(), memoryview(b"")):
        await fs.write_bytes("a", data)


async def between_stores(fs: FileSystem, system: FileLikeSystem) -> None:
    assert_type(await aiofs.copy(fs / "a", "s3://bucket/a", drop="metadata"), Entry)
    assert_type(await aiofs.move("a", system / "b", match=aiofs.ABSENT, wait=1, on_progress=print), Entry)
    assert_type(await (fs / "a").copy(system / "b"), aiofs.Path)
    assert_type(aiofs.blocking.copy("a", fs / "b"), Entry)
    assert_type(await system.is_folder("a"), bool)
    assert_type(fs.blocking.is_folder("a"), bool)
    assert_type(await system.touch("a", exist_ok=False), None)
    assert_type(fs.blocking.mkdir("a", parents=True), None)
    await aiofs.copy("a", "b", drop="everything")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def three_methods(fs: FileLikeSystem) -> None:
    async with fs.open("a", "w") as file, fs.open("b") as reading:
        assert_type(file, FileLike)
        assert_type(await file.write(b"bytes"), int)
        assert_type([line async for line in reading], list[bytes])
    await fs.rm("a", "b", missing_ok=True)
    assert_type(await fs.ls(), list[str])
    assert_type([name async for name in fs.ls("folder")], list[str])


def modes_that_are_none(fs: FileSystem, system: FileLikeSystem) -> None:
    fs.open("a", "w+")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    fs.open("a", "rb", encoding="utf-8")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    system.open("a", "w+")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def listings(fs: FileSystem) -> None:
    assert_type(await fs.ls(), list[str])
    assert_type([name async for name in fs.ls("folder")], list[str])
    assert_type(await fs.scan(), list[Entry])
    assert_type([entry.size async for entry in fs.scan()], list[int | None])
    assert_type(await fs.glob("*.txt"), list[str])


async def descriptions(fs: FileSystem) -> None:
    entry = await fs.stat("a")
    assert_type(entry.path, str)
    assert_type(entry.size, int | None)


def every_store_is_a_file_system() -> list[FileSystem]:
    return [aiofs.MemoryFileSystem(), aiofs.OSFileSystem("data"), aiofs.connect("memory://")]


class Three(aiofs.FileLikeSystem):
    """A user's own: three methods, and it is a file system."""

    def open(self, path: str, mode: BinaryMode = "r") -> Opening[FileLike]:
        return aiofs.MemoryFileSystem().open(path, mode)

    async def rm(self, *paths: str, missing_ok: bool = False) -> None:
        raise FileNotFoundError(paths, missing_ok)

    @listing
    async def ls(self, path: str = "") -> AsyncIterator[str]:
        yield path


async def the_three_are_enough() -> None:
    assert_type(Three().over(), FileSystem)
    await Three().write_bytes("a", b"bytes")


async def errors_are_what_callers_catch() -> None:
    try:
        await aiofs.MemoryFileSystem().read_bytes("a")
    except aiofs.NotFound as error:
        builtin: FileNotFoundError = error
        assert_type(error.retryable, bool)
        assert_type(builtin.errno, int | None)
