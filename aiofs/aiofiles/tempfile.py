"""`tempfile` for asyncio: aiofiles' own functions, safe to cancel, and true to the executor they are given."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiofiles.tempfile as theirs

from aiofs.aiofiles.base import AiofilesContextManager
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = ["NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile"]

Maker = TypeVar("Maker", bound="Callable[..., Any]")


class TemporaryContext(AiofilesContextManager[Any]):
    """A temporary file as a context, or awaited."""

    def __init__(self, making: Coroutine[Any, Any, Any]) -> None:
        super().__init__(_made(making))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        made: Any = self._obj
        self._obj = None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(made._executor, made._file.__exit__, kind, error, traceback)  # noqa: SLF001


class TemporaryFolderContext(TemporaryContext):
    """A temporary folder: as a context it gives the name."""

    async def __aenter__(self) -> Any:
        return (await super().__aenter__()).name


async def _made(making: Coroutine[Any, Any, Any]) -> Any:
    """Wait for the file; cancelled meanwhile, close it, which also removes it."""
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


def _safe(make: Maker, context: type[TemporaryContext] = TemporaryContext) -> Maker:
    @wraps(make)
    def make_safely(*args: Any, **kwargs: Any) -> Any:
        return context(make(*args, **kwargs)._coro)  # noqa: SLF001

    return cast("Maker", make_safely)


wrap: Callable[..., Any] = theirs.wrap  # type: ignore[attr-defined] # its stubs leave it out
if TYPE_CHECKING:
    from aiofiles.tempfile import NamedTemporaryFile, SpooledTemporaryFile, TemporaryDirectory, TemporaryFile
else:
    NamedTemporaryFile = _safe(theirs.NamedTemporaryFile)
    SpooledTemporaryFile = _safe(theirs.SpooledTemporaryFile)
    TemporaryDirectory = _safe(theirs.TemporaryDirectory, TemporaryFolderContext)
    TemporaryFile = _safe(theirs.TemporaryFile)
