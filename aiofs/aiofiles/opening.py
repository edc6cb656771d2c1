"""`open`: a local file in place as the builtin opens it, or whatever a URL names."""

from __future__ import annotations

import asyncio
import locale
import os
import re
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from aiofs.aiofiles.base import AiofilesContextManager
from aiofs.aiofiles.wrapping import handle_of, handle_of_fresh
from aiofs.localio.cached import open_cached
from aiofs.localio.fifos import Fifo
from aiofs.localio.fresh import Fresh, open_fresh
from aiofs.localio.opening import Request, open_joined, open_stream
from aiofs.localio.turns import turn_of
from aiofs.threads import hop_or_discard

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from aiofs.aiofiles.base import AsyncBase
    from aiofs.localio.turns import Turn

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def open_anything(
    request: Request,
    loop: asyncio.AbstractEventLoop | None,
    executor: Executor | None,
    *,
    atomic: bool,
    lock: bool,
) -> Any:
    """Return what `async with` opens, or `await`."""
    if type(request.file) is str and "://" in request.file and URL.match(request.file):
        return _open_elsewhere(request)
    if atomic or lock:
        return _open_published(request)
    return AiofilesContextManager(_open(request, loop, executor))


async def _open(request: Request, loop: asyncio.AbstractEventLoop | None, executor: Executor | None) -> AsyncBase:
    loop = loop or asyncio.get_running_loop()
    turn = turn_of(loop)
    if executor is not None:
        return handle_of(await _joined(await _open_in(executor, request, turn), request, turn), loop, executor)
    opened: Fresh | IO[Any] | None = open_cached(request, turn)
    if opened is not None:
        turn.spend()
        if turn.over:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                opened.close()
                raise
    else:
        made = await hop_or_discard(_close, open_fresh, request, turn)
        opened = made if isinstance(made, Fresh) else await _joined(made, request, turn)
    return handle_of_fresh(opened, request, loop) if isinstance(opened, Fresh) else handle_of(opened, loop, None)


async def open_by(
    sync_open: Callable[..., IO[Any]],
    request: Request,
    loop: asyncio.AbstractEventLoop | None,
    executor: Executor | None,
) -> AsyncBase:
    """Open with what a program, or its tests, put in the place of the builtin."""
    loop = loop or asyncio.get_running_loop()
    arguments = {name: getattr(request, name) for name in Request.__slots__}
    work = partial(sync_open, arguments.pop("file"), **arguments)
    if executor is not None:
        return handle_of(await loop.run_in_executor(executor, work), loop, executor)
    return handle_of(await hop_or_discard(_close, work), loop, None)


async def _joined(opened: IO[Any] | Fifo, request: Request, turn: Turn) -> IO[Any]:
    """Return the file over a FIFO once its other end is open; what is no FIFO, at once."""
    while isinstance(opened, Fifo):
        if await opened.join():
            return await hop_or_discard(_close, open_joined, opened, request, turn)
        opened = await hop_or_discard(_close, open_stream, request, turn)
    return opened


async def _open_in(executor: Executor, request: Request, turn: Turn) -> IO[Any] | Fifo:
    """Open in the program's own executor; cancelled meanwhile, what is opened later is closed there."""
    work = executor.submit(open_stream, request, turn)
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        work.add_done_callback(_close_result)
        raise


def _close_result(work: Future[IO[Any] | Fifo]) -> None:
    if not work.cancelled() and work.exception() is None:
        _close(work.result())


def _close(stream: Fresh | IO[Any] | Fifo) -> None:
    stream.close()


def _open_elsewhere(request: Request) -> Any:
    from aiofs.urls import open_url  # noqa: PLC0415 - loaded when a URL is opened

    return open_url(request.file, **_portable(request))


def _open_published(request: Request) -> Any:
    """Open a local file with the meaning of a file system: locked, and published when it is closed."""
    from aiofs.stores import OSFileSystem  # noqa: PLC0415 - loaded when it is asked for

    if type(request.file) is int:
        raise ValueError("a file that is to be published or locked is opened by its path, not by a descriptor")
    folder, name = os.path.split(os.path.abspath(os.fsdecode(request.file)))
    options = _portable(request)
    if "encoding" in options:
        options["encoding"] = request.encoding or locale.getpreferredencoding(do_setlocale=False)
    return OSFileSystem(folder).open(name, **options)


def _portable(request: Request) -> dict[str, Any]:
    """Say to a file system, where text is the exception, what the builtin's arguments mean."""
    if request.opener is not None or not request.closefd:
        raise ValueError("`opener` and `closefd=False` are for files opened in place")
    mode = request.mode if set(request.mode) & {"b", "t"} else request.mode + "t"
    options = {"encoding": request.encoding, "errors": request.errors, "newline": request.newline}
    if "b" in mode:
        options = {name: value for name, value in options.items() if value is not None}
    return {"mode": mode, **options}
