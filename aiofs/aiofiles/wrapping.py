"""Which handle belongs over which synchronous file."""

from __future__ import annotations

from functools import singledispatch
from io import BufferedIOBase, BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOBase, TextIOWrapper
from typing import IO, TYPE_CHECKING, Any

from aiofs.aiofiles.threadpool.binary import AsyncBufferedIOBase, AsyncBufferedReader, AsyncFileIO
from aiofs.aiofiles.threadpool.text import AsyncTextIOWrapper
from aiofs.localio.fresh import may_stay_fresh

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Executor

    from aiofs.aiofiles.base import AsyncBase
    from aiofs.localio.fresh import Fresh
    from aiofs.localio.opening import Request


def handle_of(stream: IO[Any], loop: AbstractEventLoop, executor: Executor | None) -> AsyncBase:
    """Return a handle over what was just opened."""
    kind = _KINDS.get(type(stream))
    return wrap(stream, loop=loop, executor=executor) if kind is None else kind(stream, loop, executor)


def handle_of_fresh(fresh: Fresh, request: Request, loop: AbstractEventLoop) -> AsyncBase:
    """Return a handle over what was just opened on the loop."""
    kind = AsyncBufferedReader if "b" in request.mode else AsyncTextIOWrapper
    return kind.over(fresh, loop) if may_stay_fresh(request) else kind(fresh.unfold(), loop)


@singledispatch
def wrap(file: Any, *, loop: AbstractEventLoop | None = None, executor: Executor | None = None) -> Any:
    """Return a handle over the synchronous `file`, whatever kind it is. Raises TypeError for what is no file."""
    raise TypeError(f"Unsupported io type: {file}.")


@wrap.register(TextIOBase)
def _(file: Any, *, loop: AbstractEventLoop | None = None, executor: Executor | None = None) -> AsyncTextIOWrapper:
    return AsyncTextIOWrapper(file, loop=loop, executor=executor)


@wrap.register(BufferedWriter)
@wrap.register(BufferedIOBase)
def _(file: Any, *, loop: AbstractEventLoop | None = None, executor: Executor | None = None) -> AsyncBufferedIOBase:
    return AsyncBufferedIOBase(file, loop=loop, executor=executor)


@wrap.register(BufferedReader)
@wrap.register(BufferedRandom)
def _(file: Any, *, loop: AbstractEventLoop | None = None, executor: Executor | None = None) -> AsyncBufferedReader:
    return AsyncBufferedReader(file, loop=loop, executor=executor)


@wrap.register(FileIO)
def _(file: Any, *, loop: AbstractEventLoop | None = None, executor: Executor | None = None) -> AsyncFileIO:
    return AsyncFileIO(file, loop=loop, executor=executor)


_KINDS: dict[type, type[AsyncTextIOWrapper | AsyncBufferedIOBase]] = {
    BufferedRandom: AsyncBufferedReader,
    BufferedReader: AsyncBufferedReader,
    BufferedWriter: AsyncBufferedIOBase,
    TextIOWrapper: AsyncTextIOWrapper,
}
