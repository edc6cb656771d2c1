"""What every handle is: a synchronous file, worked from a loop through worker threads."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from aiofiles.base import AsyncIndirectBase, wrap

from aiofs.aiofiles import theirs
from aiofs.threads import aside, launch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import Self


__all__ = ["AiofilesContextManager", "AsyncBase", "AsyncIndirectBase", "wrap"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


class AsyncBase(theirs.Base):
    """A file object of any kind, each call of which takes place in a worker thread, or in the executor it was given.

    It is an instance of aiofiles' own class of the same name, for programs that ask.
    """

    def __init__(self, file: Any, loop: asyncio.AbstractEventLoop | None, executor: Executor | None) -> None:
        self._stream = file
        self._executor = executor
        self._ref_loop = loop

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._ref_loop or asyncio.get_running_loop()

    def __aiter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{object.__repr__(self)} wrapping {self._stream!r}"

    @property
    def _file(self) -> Any:
        """The synchronous file, as programs reach for it."""
        return self._stream

    @_file.setter
    def _file(self, file: Any) -> None:
        self._stream = file

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._stream.closed  # type: ignore[no-any-return]

    @property
    def name(self) -> Any:
        """The path or descriptor that was opened."""
        return self._stream.name

    @property
    def mode(self) -> str:
        """The mode that the file was opened in."""
        return self._stream.mode  # type: ignore[no-any-return]

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the file in a thread. It may wait for anybody, so it takes no worker from the others."""
        call = partial(function, *args, **kwargs)
        if self._executor is not None:
            return await self._loop.run_in_executor(self._executor, call)
        return await launch(_patiently, call).future

    def _close_now(self) -> bool:
        """Close on the loop, if that waits for nobody; say whether it is done."""
        return False

    async def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the context of the file."""
        await self._call(self._file.__exit__, kind, error, traceback)


def _patiently(call: Callable[[], T]) -> T:
    with aside():
        return call()


class AiofilesContextManager(theirs.ContextManager[T_co]):
    """What `open` returns: awaited it is the handle, as a context it also closes it."""

    _coro: Coroutine[Any, Any, T_co]
    _obj: T_co | None

    def __await__(self) -> Generator[Any, Any, T_co]:
        if self._obj is None:
            self._obj = yield from self._coro.__await__()
        return self._obj

    def __init__(self, coro: Coroutine[Any, Any, T_co]) -> None:
        self._coro = coro
        self._obj = None

    async def __aenter__(self) -> T_co:
        if self._obj is None:
            self._obj = await self._coro
        return self._obj

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        handle: Any = self._obj
        try:
            if not handle._close_now():  # noqa: SLF001 - the handle and this are one thing
                await handle._leave(kind, error, traceback)  # noqa: SLF001
        finally:
            self._obj = None
