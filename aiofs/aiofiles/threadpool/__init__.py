"""`open`, with what aiofiles keeps beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from aiofiles.threadpool import stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes

from aiofs.aiofiles import theirs
from aiofs.aiofiles.base import AiofilesContextManager as AiofilesContextManager
from aiofs.aiofiles.opening import open_anything, open_by
from aiofs.aiofiles.theirs import sync_open as sync_open
from aiofs.aiofiles.threadpool.binary import AsyncBufferedIOBase as AsyncBufferedIOBase  # noqa: TC001 - programs find it here
from aiofs.aiofiles.threadpool.binary import AsyncBufferedReader as AsyncBufferedReader  # noqa: TC001 - programs find it here
from aiofs.aiofiles.threadpool.binary import AsyncFileIO as AsyncFileIO  # noqa: TC001 - programs find it here
from aiofs.aiofiles.threadpool.text import AsyncTextIOWrapper as AsyncTextIOWrapper  # noqa: TC001 - programs find it here
from aiofs.aiofiles.wrapping import wrap as wrap
from aiofs.localio.opening import Request

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from concurrent.futures import Executor
    from typing import TypeAlias

    from _typeshed import (
        FileDescriptorOrPath,
        OpenBinaryMode,
        OpenBinaryModeReading,
        OpenBinaryModeUpdating,
        OpenBinaryModeWriting,
        OpenTextMode,
    )

    Opener: TypeAlias = Callable[[str, int], int]

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
    """Open a file as the builtin does, in `async with`, or with `await` and to be closed by the caller.

    A path or descriptor is a local file in place, text unless the mode has a `b`. `executor` is where those of its
    calls that need a thread take place, if not in this package's own workers.

    A URL (`s3://bucket/key`) is a file of that store, with its meaning: what is written is published when the file
    is closed, whole or not at all. `atomic=True` or `lock=True` ask for the same of a local file, which is also locked
    against other writers.

    :raises OSError: on entering, what the builtin raises.
    :raises ValueError: on entering, for arguments that do not go together.
    """
    request = Request(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if sync_open is not theirs.sync_open:
        return AiofilesContextManager(open_by(sync_open, request, loop, executor))
    return open_anything(request, loop, executor, atomic=atomic, lock=lock)
