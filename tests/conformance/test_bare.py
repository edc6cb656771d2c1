"""The contract on a user's own class of three methods, as far as three methods go."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, Self

import pytest

from aiofs.bare import BareDriver
from aiofs.files.handle import FileLike
from aiofs.layers import Prefix
from aiofs.system import FileLikeSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.names import PathNames
from aiofs.testing.contract.removing import FileFacts, Removing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType


class Shelf:
    """Where the user's files are, and who writes which."""

    def __init__(self) -> None:
        self.books: dict[str, bytes] = {}
        self.lent: set[str] = set()


class Book(FileLike):
    """A file of the user's: read or written from start to end."""

    def __init__(self, shelf: Shelf, name: str, mode: str) -> None:
        super().__init__(name, mode)
        self._shelf = shelf
        self._pages = io.BytesIO()

    async def __aenter__(self) -> Self:
        books, lent = self._shelf.books, self._shelf.lent
        if self.mode == "r":
            if self.name not in books:
                raise FileNotFoundError(errno.ENOENT, "there is no such book", self.name)
            self._pages = io.BytesIO(books[self.name])
        elif self.name in lent:
            raise BlockingIOError(errno.EAGAIN, "this book is lent", self.name)
        else:
            lent.add(self.name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.mode == "w" and kind is None:
            self._shelf.books[self.name] = self._pages.getvalue()
        if self.mode == "w":
            self._shelf.lent.discard(self.name)

    async def read(self, size: int | None = -1) -> bytes:
        return self._pages.read(size)

    async def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        return self._pages.write(data)


class Library(FileLikeSystem):
    """A user's system: `open`, `rm` and `ls` over a dictionary, and nothing else."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def open(self, path: str, mode: str = "r") -> Book:
        return Book(self._shelf, path, mode)

    async def rm(self, *paths: str) -> None:
        for path in paths:
            if path not in self._shelf.books:
                raise FileNotFoundError(errno.ENOENT, "there is no such book", path)
            del self._shelf.books[path]

    async def ls(self, path: str = "") -> AsyncIterator[str]:
        for name in sorted(self._shelf.books):
            if not path or name.startswith(f"{path}/"):
                yield name


def library() -> Harness:
    """What three methods become with the portable side over them; equal bytes are equal versions there."""
    shelf = Shelf()
    return Harness(connect=lambda: Library(shelf), versions_differ=False)


@pytest.mark.both_loops(full=True)
class TestThreeMethods(Contract):
    declares = BareDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return library()


@pytest.mark.variant(PathNames, Listings, Removing, FileFacts)
class TestPrefixOverThreeMethods(Contract):
    declares = BareDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        harness = library()
        harness.layers = [Prefix("a/b/")]
        return harness
