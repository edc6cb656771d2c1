"""`tempfile` for asyncio: aiofiles' own functions, which may be cancelled here, and keep to the given executor."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiofiles.tempfile

from aiofs.aiofiles.base import AiofilesContextManager
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = ["NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile"]

Maker = TypeVar("Maker", bound="Callable[..., Any]")


class TemporaryContext(AiofilesContextManager[Any]):
    """The result of `TemporaryFile` and the others: `await` gives the file, `async with` also closes it."""

    def __init__(self, making: Coroutine[Any, Any, Any]) -> None:
        super().__init__(_finished(making))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        made: Any = self._obj
        self._obj = None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(made._executor, made._file.__exit__, kind, error, traceback)  # noqa: SLF001


class TemporaryFolderContext(TemporaryContext):
    """The result of `TemporaryDirectory`: `async with` gives its name."""

    async def __aenter__(self) -> Any:
        return (await super().__aenter__()).name


async def _finished(making: Coroutine[Any, Any, Any]) -> Any:
    """Return the file. If this is cancelled, wait for the file and close it, which also removes it."""
    made: list[Any] = []

    async def make() -> None:
        made.append(await making)

    try:
        await finish(make())
    except asyncio.CancelledError:
        for unwanted in made:
            await finish(unwanted.close())
        raise
    return made[0]


def _cancellable(make: Maker, context: type[TemporaryContext] = TemporaryContext) -> Maker:
    @wraps(make)
    def make_cancellable(*args: Any, **kwargs: Any) -> Any:
        return context(make(*args, **kwargs)._coro)  # noqa: SLF001

    return cast("Maker", make_cancellable)


wrap: Callable[..., Any] = aiofiles.tempfile.wrap  # type: ignore[attr-defined] # its stubs leave it out
if TYPE_CHECKING:
    from aiofiles.tempfile import NamedTemporaryFile, SpooledTemporaryFile, TemporaryDirectory, TemporaryFile
else:
    NamedTemporaryFile = _cancellable(aiofiles.tempfile.NamedTemporaryFile)
    SpooledTemporaryFile = _cancellable(aiofiles.tempfile.SpooledTemporaryFile)
    TemporaryDirectory = _cancellable(aiofiles.tempfile.TemporaryDirectory, TemporaryFolderContext)
    TemporaryFile = _cancellable(aiofiles.tempfile.TemporaryFile)
