"""Listings, which can be iterated or awaited as a list; and the patterns that names must match."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass
from fnmatch import translate
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from aiofs.names import NOT_A_NAME, is_reserved

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator

    from aiofs.driver import Driver, Entry


T = TypeVar("T")
P = ParamSpec("P")


class Listing(Generic[T]):
    """What `ls`, `scan`, `glob` and `history` return: `async for` streams it, `await` gives all of it as a list.

    Each `async for` and each `await` lists anew.
    """

    def __init__(self, start: Callable[[], AsyncIterator[T]], of: Callable[[], str] = lambda: "a file system") -> None:
        self._start = start
        self._of = of

    def __aiter__(self) -> AsyncIterator[T]:
        return self._start()

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self._collect().__await__()

    async def _collect(self) -> list[T]:
        return [item async for item in self._start()]

    def __repr__(self) -> str:
        return f"<listing of {self._of()}>"


def listing(method: Callable[P, AsyncIterator[T]]) -> Callable[P, Listing[T]]:
    """Make an async generator method return a `Listing`, which can also be awaited, as `FileLikeSystem.ls` has to.

    `FileLikeSystem` does this to the `ls` of every subclass; with the decorator a type checker knows it too.
    """

    @wraps(method)
    def listed(*args: P.args, **kwargs: P.kwargs) -> Listing[T]:
        return Listing(lambda: method(*args, **kwargs))

    return listed


@dataclass(frozen=True, slots=True)
class Selection:
    """Which names of a store to list: those below `folder` that begin with `prefix`, sort after `after`, and match.

    `folder` is `""` or ends with `/`.
    """

    folder: str
    prefix: str
    after: str
    wanted: Pattern | None
    one_level: bool
    limit: int | None = None

    def __str__(self) -> str:
        start = self.folder + self.prefix
        names = f"names that begin with {start!r}" if start else "names"
        return names if self.wanted is None else f"{names} and match {str(self.wanted)!r}"

    async def entries(self, driver: Driver) -> AsyncGenerator[Entry]:
        """Yield the entries of `driver`, without the package's own files."""
        wanted, cut, left = self.wanted, len(self.folder), self.limit
        if left == 0:
            return
        one_level = self.one_level or (wanted is not None and wanted.one_level)
        listing = driver.list(self.folder + self.prefix, after=self.after, delimiter="/" if one_level else None)
        async with aclosing(listing):
            async for entry in listing:
                if is_reserved(entry.path):
                    continue
                if wanted is None or (not entry.is_folder and wanted.matches(entry.path[cut:])):
                    yield entry
                    if left is not None:
                        left -= 1
                        if not left:
                            return


def check_limit(limit: int | None) -> None:
    """Raise `TypeError` or `ValueError` unless `limit` is `None` or a whole number that is not negative."""
    if isinstance(limit, bool) or not isinstance(limit, int | None):
        raise TypeError(f"limit={limit!r}: give a whole number, or None for all")
    if limit is not None and limit < 0:
        raise ValueError(f"limit={limit}: give a number that is not negative, or None for all")


async def limited(items: AsyncIterable[T], limit: int | None) -> AsyncGenerator[T]:
    """Yield the first `limit` items, or all for `None`, and take no more than these."""
    if limit == 0:
        return
    left, iterator = limit, aiter(items)
    try:
        async for item in iterator:
            yield item
            if left is not None:
                left -= 1
                if not left:
                    return
    finally:
        end = getattr(iterator, "aclose", None)
        if end is not None:
            await end()


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


_MAGIC = re.compile(r"[*?\[]")


class Pattern:
    """A pattern that a whole name must match. `**` stands for any number of folders, or at the end for all below."""

    def __init__(self, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern is a str, not {type(pattern).__name__}: {pattern!r}")
        segments = pattern.split("/")
        if not NOT_A_NAME.isdisjoint(segments):
            kind = "an empty segment" if "" in segments else "a segment '.' or '..'"
            raise ValueError(f"pattern {pattern!r} has {kind}")
        self._text = pattern
        plain = 0
        while plain < len(segments) - 1 and not _MAGIC.search(segments[plain]):
            plain += 1
        self.folder: str = "/".join(segments[:plain])
        """The folder below which all matches lie."""
        self.one_level: bool = len(segments) == 1 and pattern != "**"
        """Whether all matches lie in one folder."""
        self._matcher = re.compile("".join(_segments(segments)) + r"\Z", re.DOTALL)

    def matches(self, name: str) -> bool:
        """Whether `name` matches."""
        return self._matcher.match(name) is not None

    def __str__(self) -> str:
        return self._text


def _segments(segments: list[str]) -> list[str]:
    last = len(segments) - 1
    parts = []
    for index, segment in enumerate(segments):
        if segment == "**":
            parts.append(".+" if index == last else "(?:[^/]+/)*")
        else:
            parts.append(_segment(segment) + ("" if index == last else "/"))
    return parts


def _segment(segment: str) -> str:
    """Return fnmatch's expression for one segment, with its wildcards kept from crossing a `/`."""
    pieces = re.split(r"(\*+|\?|\[!?\]?[^\]]*\])", segment)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece.startswith("*"):
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:  # noqa: PLR2004 -- brackets with something in them
        body = translate(piece)
        return "(?!/)" + body[body.index("[") : body.rindex("]") + 1]
    return re.escape(piece)
