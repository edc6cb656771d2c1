"""What every handle is: a synchronous file whose methods are called in worker threads."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar

from aiofiles.base import AsyncIndirectBase, wrap

from aiofs.threads import aside, launch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import Self

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Result = TypeVar("Result")
P = ParamSpec("P")

# Our classes are subclasses of aiofiles' classes, for programs that ask with `isinstance`. Type checkers do not see
# that, as the signatures of aiofiles' stubs differ from ours.
if TYPE_CHECKING:

    class AiofilesContext(Generic[T_co]):
        """What is awaited or entered."""

    class AiofilesBase:
        """A file."""

    AiofilesBufferedIOBase: TypeAlias = object
    AiofilesBufferedReader: TypeAlias = object
    AiofilesFileIO: TypeAlias = object
    AiofilesTextIOWrapper: TypeAlias = object
else:
    from aiofiles.base import AiofilesContextManager as AiofilesContext
    from aiofiles.base import AsyncBase as AiofilesBase
    from aiofiles.threadpool.binary import AsyncBufferedIOBase as AiofilesBufferedIOBase
    from aiofiles.threadpool.binary import AsyncBufferedReader as AiofilesBufferedReader
    from aiofiles.threadpool.binary import AsyncFileIO as AiofilesFileIO
    from aiofiles.threadpool.text import AsyncTextIOWrapper as AiofilesTextIOWrapper

__all__ = [
    "AiofilesBase",
    "AiofilesBufferedIOBase",
    "AiofilesBufferedReader",
    "AiofilesContextManager",
    "AiofilesFileIO",
    "AiofilesTextIOWrapper",
    "AsyncBase",
    "AsyncIndirectBase",
    "wrap",
]


class AsyncBase(AiofilesBase, Generic[T]):
    """A file of any kind. Each call of its methods takes place in a worker thread, or in the executor that was given.

    `AsyncBase[str]` gives text, `AsyncBase[bytes]` bytes. Each is an instance of aiofiles' class of the same name, too.
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

    async def __anext__(self) -> T:
        handle: Any = self  # a subclass has `readline`
        line: T = await handle.readline()
        if line:
            return line
        raise StopAsyncIteration

    def __repr__(self) -> str:
        return f"{object.__repr__(self)} wrapping {self._stream!r}"

    @property
    def _file(self) -> Any:
        """The synchronous file. It has an underscore as in aiofiles; programs use it all the same."""
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
        """The mode in which the file was opened."""
        return self._stream.mode  # type: ignore[no-any-return]

    async def _call(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call a method of the file in a thread. It may wait for a long time, so it takes no worker from others."""
        call = partial(function, *args, **kwargs)
        if self._executor is not None:
            return await self._loop.run_in_executor(self._executor, call)
        return await launch(_call_aside, call).future

    def _close_now(self) -> bool:
        """Close the file on the loop if that cannot wait. Return whether it is closed."""
        return False

    async def _exit_context(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call(self._file.__exit__, kind, error, traceback)


def _call_aside(call: Callable[[], Result]) -> Result:
    with aside():
        return call()


class AiofilesContextManager(AiofilesContext[T_co]):
    """The result of `open`: `await` gives the handle, `async with` gives it and closes it at the end."""

    _coro: Coroutine[Any, Any, T_co]
    _obj: T_co | None

    def __init__(self, coro: Coroutine[Any, Any, T_co]) -> None:
        self._coro = coro
        self._obj = None

    def __await__(self) -> Generator[Any, Any, T_co]:
        if self._obj is None:
            self._obj = yield from self._coro.__await__()
        return self._obj

    async def __aenter__(self) -> T_co:
        if self._obj is None:
            self._obj = await self._coro
        return self._obj

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        handle: Any = self._obj
        try:
            if not handle._close_now():  # noqa: SLF001 - handles give this method to this class only
                await handle._exit_context(kind, error, traceback)  # noqa: SLF001 - the same
        finally:
            self._obj = None
