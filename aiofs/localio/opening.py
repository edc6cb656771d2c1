"""Opening as the builtin `open` does, with this engine's files at the bottom."""

from __future__ import annotations

import builtins
import io
import os
import stat
import sys
from dataclasses import dataclass, replace
from types import NoneType
from typing import IO, TYPE_CHECKING, Any

from aiofs.localio.devices import device_of
from aiofs.localio.fifos import Fifo
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.unclosed import remember
from aiofs.threads import aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiofs.localio.turns import Turn

LARGEST_BUFFER = 8 * 1024 * 1024


@dataclass(slots=True)
class Request:
    """The arguments of one `open`."""

    file: Any
    mode: str = "r"
    buffering: int = -1
    encoding: str | None = None
    errors: str | None = None
    newline: str | None = None
    closefd: bool = True
    opener: Callable[[str, int], int] | None = None


_open_unusual: Callable[..., IO[Any]] = builtins.open


def open_stream(request: Request, turn: Turn) -> IO[Any] | Fifo:
    """Open as the builtin does, in a worker thread; a regular file gets one of this engine's at the bottom.

    A FIFO whose other end is not open is returned as it is, for the loop to wait.
    """
    if may_wait(request):
        fifo = Fifo.of(request)
        if fifo is not None:
            return open_joined(fifo, request, turn) if fifo.is_joined() else fifo
        with aside():
            return _open_stack(request, turn)
    return _open_stack(request, turn)


def open_joined(fifo: Fifo, request: Request, turn: Turn) -> IO[Any]:
    """Put what was asked for over a FIFO whose other end is open, which is closed if that fails."""
    return _open_stack(replace(request, opener=lambda _path, _flags: fifo.take()), turn)


def _open_stack(request: Request, turn: Turn) -> IO[Any]:
    if not is_usual(request):
        return _open_unusual(**{name: getattr(request, name) for name in Request.__slots__})
    make = LocalFile if request.mode in READ_MODES else UpdateFile
    path = request.file if type(request.file) is int else os.fspath(request.file)
    raw = make(path, request.mode.replace("t", ""), request.closefd, request.opener)
    try:
        status = os.fstat(raw.fileno())
        regular = stat.S_ISREG(status.st_mode)
        stream = stack(raw, request, terminal=not regular and raw.isatty())
        if regular:
            device = device_of(raw.fileno(), status.st_dev)
            raw.settle_in(device, turn, status.st_size)
            if isinstance(raw, UpdateFile):
                remember(stream, raw)
    except BaseException:
        raw.close()
        raise
    return stream


def may_wait(request: Request) -> bool:
    """Whether opening may wait for somebody: a FIFO, a terminal, the user's own opener."""
    if request.opener is not None:
        return True
    try:
        kind = os.stat(request.file).st_mode
    except (OSError, ValueError, TypeError):
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def stack(raw: LocalFile, request: Request, *, terminal: bool = False) -> IO[Any]:
    """Put Python's own buffers over `raw`, of the sizes that the builtin gives them."""
    buffering, line_buffering = request.buffering, False
    if buffering == 1 or (buffering < 0 and terminal):
        buffering, line_buffering = -1, True
    if buffering < 0:
        buffering = default_buffer(raw)
    raw.buffered = buffering
    if "+" in request.mode:
        buffered: Any = io.BufferedRandom(raw, buffering)
    else:
        buffered = (io.BufferedReader if request.mode in READ_MODES else io.BufferedWriter)(raw, buffering)
    if "b" in request.mode:
        return buffered  # type: ignore[no-any-return]
    raw.newline = request.newline
    text: Any = io.TextIOWrapper(buffered, request.encoding, request.errors, request.newline, line_buffering)
    text.mode = request.mode
    return text  # type: ignore[no-any-return]


def default_buffer(raw: LocalFile) -> int:
    """Return the size of the buffer that this version of Python would give to `raw`."""
    block: int = raw._blksize  # type: ignore[attr-defined]  # noqa: SLF001 - where `open` finds it, too
    if sys.version_info >= (3, 14):
        return max(min(block, LARGEST_BUFFER), io.DEFAULT_BUFFER_SIZE)
    return block


POSIX = os.name == "posix"
PATHS = (str, bytes, os.PathLike)
TEXTS = (str, NoneType)
BINARY_ODDITIES = {0, 1}
NEWLINES = ("", "\n", "\r", "\r\n")
READ_MODES = frozenset({"r", "rb", "br", "rt", "tr"})
USUAL_MODES = READ_MODES | {
    "".join(letters)
    for way in "rwxa"
    for letters in [
        *((way,), (way, "b"), ("b", way), (way, "t"), ("t", way), (way, "+"), (way, "b", "+"), (way, "+", "b")),
        *(("b", way, "+"), (way, "t", "+"), (way, "+", "t"), ("t", way, "+"), ("+", way), ("+", way, "b")),
    ]
}


def is_usual(request: Request) -> bool:
    """Whether the arguments go together. Where they don't, the builtin complains best; where it doesn't, it opens."""
    mode, buffering = request.mode, request.buffering
    if type(mode) is not str or mode not in USUAL_MODES or type(buffering) is not int or not POSIX:
        return False
    if type(request.file) is not int and not isinstance(request.file, PATHS):
        return False
    if "b" in mode:
        return buffering not in BINARY_ODDITIES and request.encoding is request.errors is request.newline is None
    return (
        buffering != 0
        and isinstance(request.encoding, TEXTS)
        and isinstance(request.errors, TEXTS)
        and (request.newline is None or request.newline in NEWLINES)
    )
