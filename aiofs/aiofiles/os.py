"""`os` for asyncio: aiofiles' own functions, a `scandir` that does not block the loop, and `walk`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, AnyStr

import aiofiles.os
from aiofiles.os import (
    access,
    getcwd,
    listdir,
    makedirs,
    mkdir,
    readlink,
    remove,
    removedirs,
    rename,
    renames,
    replace,
    rmdir,
    stat,
    symlink,
    unlink,
)

from aiofiles import ospath as path
from aiofs.aiofiles.base import wrap

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import Self

__all__ = [
    "access",
    "getcwd",
    "listdir",
    "makedirs",
    "mkdir",
    "path",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "symlink",
    "unlink",
    "walk",
    "wrap",
]

if hasattr(aiofiles.os, "link"):
    from aiofiles.os import link

    __all__ += ["link"]
if hasattr(aiofiles.os, "sendfile"):
    from aiofiles.os import sendfile

    __all__ += ["sendfile"]
if hasattr(aiofiles.os, "statvfs"):
    from aiofiles.os import statvfs

    __all__ += ["statvfs"]


async def scandir(
    path: Any = ".", *, loop: AbstractEventLoop | None = None, executor: Executor | None = None
) -> Entries[Any]:
    """Return the entries of a folder. A thread has read all of them, so iterating does not wait for the disk.

    :raises OSError: as `os.scandir`.
    """
    return Entries(await _read_folder(path, loop=loop, executor=executor))


class Entries(Iterator[os.DirEntry[AnyStr]]):
    """The entries of a folder, for `for` and `async for`, `with` and `async with`."""

    def __init__(self, entries: list[os.DirEntry[AnyStr]]) -> None:
        self._entries: Iterator[os.DirEntry[AnyStr]] = iter(entries)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> os.DirEntry[AnyStr]:
        return next(self._entries)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> os.DirEntry[AnyStr]:
        for entry in self._entries:
            return entry
        raise StopAsyncIteration

    def close(self) -> None:
        """Give no more entries."""
        self._entries = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def walk(
    top: Any,
    topdown: bool = True,
    onerror: Callable[[OSError], object] | None = None,
    followlinks: bool = False,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
) -> AsyncIterator[tuple[Any, list[Any], list[Any]]]:
    """Walk a tree as `os.walk` does, each folder in a thread. With `topdown` the list of folders may be changed."""
    folders = os.walk(top, topdown, onerror, followlinks)
    while (folder := await _next_folder(folders, loop=loop, executor=executor)) is not None:
        yield folder


@wrap
def _read_folder(path: Any) -> list[os.DirEntry[Any]]:
    with os.scandir(path) as entries:
        return list(entries)


@wrap
def _next_folder(folders: Iterator[tuple[Any, list[Any], list[Any]]]) -> tuple[Any, list[Any], list[Any]] | None:
    return next(folders, None)
