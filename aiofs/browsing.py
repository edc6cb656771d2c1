"""Browsing: the listings of a file system over a driver."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from aiofs.errors import placed
from aiofs.lifetimes import Call
from aiofs.listing import Listing, Pattern, Selection, check_limit
from aiofs.names import check_folder, check_prefix, under
from aiofs.powers import Walks
from aiofs.system import FileLikeSystem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from aiofs.driver import Driver, Entry
    from aiofs.lifetimes import Calls
    from aiofs.names import AnyName

T = TypeVar("T")


class Browsing(FileLikeSystem):
    """The listings of a `FileSystem`."""

    _driver: Driver
    _calls: Calls

    @abstractmethod
    def _check_open(self) -> None:
        """Raise `ValueError` if the file system was closed."""

    def ls(
        self,
        path: AnyName = "",
        *,
        recursive: bool = True,
        prefix: str = "",
        after: str = "",
        glob: str | None = None,
        limit: int | None = None,
    ) -> Listing[str]:
        """List names: `async for name in fs.ls("folder")` streams them, `await fs.ls("folder")` collects them.

        They come in the order of UTF-8 bytes: all files below the folder, or one level with its folders (ending in
        `/`) if not `recursive`. Names must begin with `prefix` after the folder, and match the pattern `glob` there.
        The list begins after the whole name `after`, and has at most `limit` names.
        """
        selection = self._selection(path, recursive, prefix, after, glob, limit)

        async def names() -> AsyncIterator[str]:
            async for entry in self._selected(selection):
                yield entry.path

        return Listing(names, lambda: f"{selection} in {self}")

    def scan(
        self,
        path: AnyName = "",
        *,
        recursive: bool = True,
        prefix: str = "",
        after: str = "",
        glob: str | None = None,
        limit: int | None = None,
    ) -> Listing[Entry]:
        """List as `ls` does, with size, time and version of each file as far as the store's listing knows them."""
        selection = self._selection(path, recursive, prefix, after, glob, limit)
        return Listing(lambda: self._selected(selection), lambda: f"{selection} in {self}")

    def glob(self, pattern: str, *, limit: int | None = None) -> Listing[str]:
        """List the files whose whole name matches: `*`, `?` and `[abc]` within a segment, `**` across segments.

        At most `limit` of them are listed.
        """
        wanted = Pattern(pattern)
        below = pattern[len(under(wanted.folder)) :]
        return self.ls(wanted.folder, glob=below, limit=limit)

    async def is_folder(self, path: AnyName) -> bool:
        """Whether this is a folder: the root `""`, or a name with a file below it. `exists` tells it of files."""
        folder = check_folder(path)
        selection = self._selection("", False, under(folder), "", None, 1)
        if not folder:
            return True
        async with aclosing(self._selected(selection)) as found:
            async for _ in found:
                return True
        return False

    async def walk(self, path: AnyName = "") -> AsyncIterator[tuple[str, list[str], list[str]]]:
        """Yield `(folder, folders in it, files in it)` from `path` downwards, as `os.walk` does."""
        top = check_folder(path)
        walks = self._driver.offers(Walks)
        if walks is not None:
            async with aclosing(self._each(top, lambda: walks.walk(top))) as levels:
                async for level in levels:
                    yield level
            return
        todo = [top]
        while todo:
            folder = todo.pop()
            cut = len(under(folder))
            entries = await self.ls(folder, recursive=False)
            if folder and not entries:
                continue  # a folder is there as long as a file is
            folders = [name[cut:-1] for name in entries if name.endswith("/")]
            yield folder, folders, [name[cut:] for name in entries if not name.endswith("/")]
            todo += [under(folder) + child for child in reversed(folders)]

    def _selection(  # noqa: PLR0917 -- what `ls` was given
        self, path: AnyName, recursive: bool, prefix: str, after: str, glob: str | None, limit: int | None
    ) -> Selection:
        """Check the words of a listing before anything is listed."""
        self._check_open()
        check_limit(limit)
        wanted = None if glob is None else Pattern(glob)
        folder = under(check_folder(path))
        return Selection(folder, check_prefix(prefix), check_prefix(after), wanted, not recursive, limit)

    async def _selected(self, selection: Selection) -> AsyncGenerator[Entry]:
        """Yield the selected entries; warn if there are none, and the folder looks like a pattern."""
        folder, found = selection.folder.removesuffix("/"), False
        async with aclosing(self._each(folder, lambda: selection.entries(self._driver))) as entries:
            async for entry in entries:
                found = True
                yield entry
        if not found and selection.limit != 0 and {"*", "?"}.intersection(folder):
            words = f"no file is below the folder {folder!r}: names are literal, and a pattern is given as glob="
            warnings.warn(words, UserWarning, stacklevel=2)

    async def _each(self, path: str, start: Callable[[], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """Yield what the store lists, in a call of this file system that pauses while the user has an item."""
        self._check_open()
        with placed(path), Call(self._calls) as call:
            async with aclosing(start()) as found:
                async for item in found:
                    call.pause()
                    yield item
                    self._check_open()
                    call.go_on()
