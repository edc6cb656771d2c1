"""`open` and `wrap`, in the module where aiofiles has them."""

from __future__ import annotations

import asyncio
import locale
import os
import re
from functools import partial, singledispatch
from io import BufferedIOBase, BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOBase, TextIOWrapper
from typing import IO, TYPE_CHECKING, Any, Literal, overload

from aiofiles.threadpool import stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes
from aiofiles.threadpool import sync_open as sync_open  # type: ignore[attr-defined] # its stubs leave it out

from aiofs.aiofiles.base import AiofilesContextManager as AiofilesContextManager
from aiofs.aiofiles.threadpool.binary import AsyncBufferedIOBase as AsyncBufferedIOBase
from aiofs.aiofiles.threadpool.binary import AsyncBufferedReader as AsyncBufferedReader
from aiofs.aiofiles.threadpool.binary import AsyncFileIO as AsyncFileIO
from aiofs.aiofiles.threadpool.text import AsyncTextIOWrapper as AsyncTextIOWrapper
from aiofs.lifetimes import running_loop
from aiofs.localio.files import OpenArguments
from aiofs.localio.opening import Fifo, open_joined, open_stream
from aiofs.localio.reading import budget_of
from aiofs.localio.unbuffered import UnbufferedFile, may_go_unbuffered, open_cached, open_unbuffered
from aiofs.threads import hop_or_discard

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from typing import TypeAlias

    from _typeshed import (
        FileDescriptorOrPath,
        OpenBinaryMode,
        OpenBinaryModeReading,
        OpenBinaryModeUpdating,
        OpenBinaryModeWriting,
        OpenTextMode,
    )

    from aiofs.aiofiles.base import AsyncBase
    from aiofs.localio.reading import LoopBudget

    Opener: TypeAlias = Callable[[str, int], int]

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BUILTIN_OPEN = sync_open

__all__ = ("open", "stderr", "stderr_bytes", "stdin", "stdin_bytes", "stdout", "stdout_bytes")


@overload
def open(
    file: FileDescriptorOrPath,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    atomic: bool = False,
    lock: bool = False,
) -> AiofilesContextManager[AsyncTextIOWrapper]: ...


@overload
def open(
    file: FileDescriptorOrPath,
    mode: OpenBinaryMode,
    buffering: Literal[0],
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    atomic: bool = False,
    lock: bool = False,
) -> AiofilesContextManager[AsyncFileIO]: ...


@overload
def open(
    file: FileDescriptorOrPath,
    mode: OpenBinaryModeReading | OpenBinaryModeUpdating,
    buffering: Literal[-1, 1] = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    atomic: bool = False,
    lock: bool = False,
) -> AiofilesContextManager[AsyncBufferedReader]: ...


@overload
def open(
    file: FileDescriptorOrPath,
    mode: OpenBinaryModeWriting,
    buffering: Literal[-1, 1] = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    atomic: bool = False,
    lock: bool = False,
) -> AiofilesContextManager[AsyncBufferedIOBase]: ...


@overload
def open(
    file: FileDescriptorOrPath,
    mode: OpenBinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    atomic: bool = False,
    lock: bool = False,
) -> AiofilesContextManager[AsyncBufferedIOBase | AsyncFileIO]: ...


@overload
def open(
    file: FileDescriptorOrPath,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    atomic: bool = False,
    lock: bool = False,
) -> AiofilesContextManager[Any]: ...


def open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    atomic: bool = False,
    lock: bool = False,
) -> Any:
    """Open a file as the builtin `open` does, with `async with`; or with `await`, and the caller closes it.

    A path or a descriptor opens a local file in place, as text unless the mode has a `b`. Calls that need a thread take
    place in `executor`, or in this package's own workers.

        async with open("notes.txt") as file:
            async for line in file: ...

    A URL (`s3://bucket/key`) opens a file of that store, as its file system does: what is written is published when the
    file is closed, whole or not at all. With `atomic=True` or `lock=True` the same holds for a local file, which is
    also locked against other writers.

    :raises OSError: what the builtin raises, on entering.
    :raises ValueError: for arguments that do not go together, on entering or, with a URL, `atomic` or `lock`, at once.
    """
    arguments = OpenArguments(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if sync_open is not _BUILTIN_OPEN:
        return AiofilesContextManager(_open_by(sync_open, arguments, loop, executor))
    if type(file) is str and "://" in file and URL.match(file):
        return _open_url(arguments)
    if atomic or lock:
        return _open_published(arguments)
    return AiofilesContextManager(_open(arguments, loop, executor))


async def _open(arguments: OpenArguments, loop: AbstractEventLoop | None, executor: Executor | None) -> AsyncBase[Any]:
    loop = loop or running_loop()
    budget = budget_of(loop)
    if executor is not None:
        opened_there = await _open_in(executor, arguments, budget)
        return _handle_of(await _joined(opened_there, arguments, budget), loop, executor)
    opened: UnbufferedFile | IO[Any] | None = open_cached(arguments, budget)
    if opened is not None:
        budget.spend()
        if budget.over:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                opened.close()
                raise
    else:
        made = await hop_or_discard(_close, open_unbuffered, arguments, budget)
        opened = made if isinstance(made, UnbufferedFile) else await _joined(made, arguments, budget)
    if not isinstance(opened, UnbufferedFile):
        return _handle_of(opened, loop, None)
    kind = AsyncBufferedReader if "b" in arguments.mode else AsyncTextIOWrapper
    return kind.over(opened, loop) if may_go_unbuffered(arguments) else kind(opened.with_buffers(), loop)


async def _open_by(
    sync_open: Callable[..., IO[Any]],
    arguments: OpenArguments,
    loop: AbstractEventLoop | None,
    executor: Executor | None,
) -> AsyncBase[Any]:
    """Open with a function that a program, or its tests, put in the place of the builtin `open`."""
    loop = loop or running_loop()
    by_name = {name: getattr(arguments, name) for name in OpenArguments.__slots__}
    work = partial(sync_open, by_name.pop("file"), **by_name)
    if executor is not None:
        return _handle_of(await loop.run_in_executor(executor, work), loop, executor)
    return _handle_of(await hop_or_discard(_close, work), loop, None)


async def _open_in(executor: Executor, arguments: OpenArguments, budget: LoopBudget) -> IO[Any] | Fifo:
    """Open in the program's own executor. If it is cancelled, the executor closes what it opens later."""
    work = executor.submit(open_stream, arguments, budget)
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        work.add_done_callback(_close_result)
        raise


async def _joined(opened: IO[Any] | Fifo, arguments: OpenArguments, budget: LoopBudget) -> IO[Any]:
    """Return the stream over a FIFO when its other end is open; return any other stream at once."""
    while isinstance(opened, Fifo):
        if await opened.join():
            return await hop_or_discard(_close, open_joined, opened, arguments, budget)
        opened = await hop_or_discard(_close, open_stream, arguments, budget)
    return opened


def _close_result(work: Future[IO[Any] | Fifo]) -> None:
    if not work.cancelled() and work.exception() is None:
        _close(work.result())


def _close(opened: UnbufferedFile | IO[Any] | Fifo) -> None:
    opened.close()


def _open_url(arguments: OpenArguments) -> Any:
    from aiofs.urls import open_url  # noqa: PLC0415 - loaded when a URL is opened

    return open_url(arguments.file, **_portable(arguments))


def _open_published(arguments: OpenArguments) -> Any:
    """Open a local file as a file system does: locked, and published when it is closed."""
    from aiofs.stores import OSFileSystem  # noqa: PLC0415 - loaded when `atomic` or `lock` is used

    if type(arguments.file) is int:
        raise ValueError("with atomic=True or lock=True a file is opened by its path, not by a descriptor")
    folder, name = os.path.split(os.path.abspath(os.fsdecode(arguments.file)))
    options = _portable(arguments)
    if "encoding" in options:
        options["encoding"] = arguments.encoding or locale.getpreferredencoding(do_setlocale=False)
    return OSFileSystem(folder).open(name, **options)


def _portable(arguments: OpenArguments) -> dict[str, Any]:
    """Return the options for `open` of a file system, where files are binary unless the mode has a `t`."""
    if arguments.opener is not None or not arguments.closefd:
        raise ValueError("`opener` and `closefd=False` are for files opened in place: not for URLs, atomic= or lock=")
    mode = arguments.mode if set(arguments.mode) & {"b", "t"} else arguments.mode + "t"
    options = {"encoding": arguments.encoding, "errors": arguments.errors, "newline": arguments.newline}
    if "b" in mode:
        options = {name: value for name, value in options.items() if value is not None}
    return {"mode": mode, **options}


def _handle_of(stream: IO[Any], loop: AbstractEventLoop, executor: Executor | None) -> AsyncBase[Any]:
    kind = _KINDS.get(type(stream))
    return wrap(stream, loop=loop, executor=executor) if kind is None else kind(stream, loop, executor)


@singledispatch
def wrap(file: Any, *, loop: AbstractEventLoop | None = None, executor: Executor | None = None) -> Any:
    """Return a handle over the synchronous `file`, of the class that fits. Raises TypeError if it is not a file."""
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
