"""Listings: one object that is both an asynchronous iterator's source and awaitable as a list."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiofs.names import is_reserved

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator

    from aiofs.driver import Driver, Entry
    from aiofs.names import Pattern

T = TypeVar("T")


class Listing(Generic[T]):
    """`async for` streams it, page after page; `await` gives all of it as a list. Each starts anew."""

    def __init__(self, start: Callable[[], AsyncIterator[T]]) -> None:
        self._start = start

    def __aiter__(self) -> AsyncIterator[T]:
        return self._start()

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self._collect().__await__()

    async def _collect(self) -> list[T]:
        return [item async for item in self._start()]


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a store to list: names below a folder (`""` or ending in `/`) that begin, come behind, and match so."""

    folder: str
    prefix: str
    after: str
    wanted: Pattern | None
    one_level: bool

    async def entries(self, driver: Driver) -> AsyncGenerator[Entry]:
        """Yield the entries of `driver`, without the package's own files."""
        wanted, cut = self.wanted, len(self.folder)
        one_level = self.one_level or (wanted is not None and wanted.one_level)
        listing = driver.list(self.folder + self.prefix, after=self.after, delimiter="/" if one_level else None)
        async with aclosing(listing):
            async for entry in listing:
                if is_reserved(entry.path):
                    continue
                if wanted is None or (not entry.is_folder and wanted.matches(entry.path[cut:])):
                    yield entry


async def walk_names(names: AsyncIterable[str], top: str) -> AsyncIterator[tuple[str, list[str], list[str]]]:
    """Yield `(folder, folders in it, files in it)` for sorted names, from `top` down; nothing where none is below."""
    levels: dict[str, tuple[dict[str, None], list[str]]] = {top: ({}, [])}
    async for name in names:
        folder, _, leaf = name.rpartition("/")
        _make(levels, folder)
        levels[folder][1].append(leaf)
    todo = [top] if not top or any(levels[top]) else []
    while todo:
        folder = todo.pop()
        if folder in levels:
            found, files = levels[folder]
            folders = list(found)
            yield folder, folders, files
            todo += [f"{folder}/{child}" if folder else child for child in reversed(folders)]


def _make(levels: dict[str, tuple[dict[str, None], list[str]]], folder: str) -> None:
    """Make the level of `folder`, and those above it, where they are new; each is entered in its parent."""
    made = []
    while folder not in levels:
        levels[folder] = ({}, [])
        made.append(folder)
        folder = folder.rpartition("/")[0]
    for folder in made:
        above, _, leaf = folder.rpartition("/")
        levels[above][0][leaf] = None
