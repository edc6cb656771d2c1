"""Opening: what `open` returns, to be awaited or entered."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType

File = TypeVar("File", bound="AbstractAsyncContextManager[Any]")


class Opening(AbstractAsyncContextManager[File], Generic[File]):
    """`async with fs.open(...) as f` closes the file at the end; `f = await fs.open(...)` leaves that to the caller."""

    __slots__ = ("_file", "_opener")

    def __init__(self, opener: Callable[[], Coroutine[Any, Any, File]]) -> None:
        self._opener = opener

    def __await__(self) -> Generator[Any, None, File]:
        return self._opener().__await__()

    async def __aenter__(self) -> File:
        self._file = await self._opener()
        return self._file

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._file
        del self._file
        await file.__aexit__(kind, error, trace)
