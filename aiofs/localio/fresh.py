"""A file that was opened on the loop and of which nothing was asked yet that needs buffers.

Most small files are opened, read whole and closed: buffers cost more than all of that. They are made when something
else is asked, in the state in which they would be by then.
"""

from __future__ import annotations

import locale
import os
import stat
import sys
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from aiofs.localio.devices import device_of
from aiofs.localio.files import LIGHT, LocalFile
from aiofs.localio.lately import Lately
from aiofs.localio.opening import READ_MODES, Request, is_usual, may_wait, open_stream, stack
from aiofs.localio.prefix import Prefix
from aiofs.localio.reading import rest_now

if TYPE_CHECKING:
    from aiofs.localio.devices import Device
    from aiofs.localio.fifos import Fifo
    from aiofs.localio.turns import Turn

UTF_8 = {"utf-8", "UTF-8", "utf8"}

_lately_regular: Lately[bool] = Lately()
"""Paths that need no look at what they are before each opening: one that does not wait does no harm any more."""


class Fresh:
    """An open descriptor, at the start of a regular file, and how it was asked for."""

    __slots__ = (
        *("_closed", "_descriptor", "_device", "_light_until", "_path"),
        *("_prefix", "_request", "_size", "_taken", "_turn"),
    )

    def __init__(
        self,
        found: tuple[int, Device, int],
        request: Request,
        path: str | bytes,
        turn: Turn,
        *,
        prefix: Prefix | None = None,
    ) -> None:
        self._descriptor, self._device, self._size = found
        self._request = request
        self._path = path
        self._turn = turn
        self._prefix = prefix
        self._taken: bytes | None = None
        self._closed = False
        self._light_until = monotonic() + 1 if self._size < LIGHT else 0.0

    def read_bytes(self) -> bytes | None:
        """Return all that is left, b"" at the end; None where that would mean waiting, or is much."""
        if self._closed:
            return None
        self._turn.spend()
        prefix = self._prefix
        if prefix is None:
            return rest_now(self._descriptor, self._device, self._turn.scratch)
        if not prefix.whole or not prefix.holds(self._descriptor):
            return None
        self._prefix = None
        os.lseek(self._descriptor, len(prefix.data), os.SEEK_SET)
        return prefix.data

    def read_text(self) -> str | None:
        """Return all of the text, once; None where that would mean waiting, or is not as simple."""
        if self._taken is not None:
            return None
        data = self._taken = self.read_bytes()
        if data is None:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:  # the text layer says it as it always does
            return None
        if "\r" in text and self._request.newline is None:
            return text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def unfold(self) -> IO[Any]:
        """Return the file with its buffers, after what was read, or closed."""
        if self._closed:
            closed = self._stack(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            closed.close()
            return closed
        self._closed = True
        os.set_blocking(self._descriptor, True)  # it may have been opened with O_NONBLOCK
        taken = self._taken
        if taken is not None:
            os.lseek(self._descriptor, -len(taken), os.SEEK_CUR)
        stream: Any = self._stack(self._descriptor)
        raw: LocalFile = stream.raw if "b" in self._request.mode else stream.buffer.raw
        raw.settle_in(self._device, self._turn, self._size)
        raw.prefix = self._prefix
        if taken is not None:
            raw.seek(len(taken), os.SEEK_CUR)
            raw.rest = taken
            stream.read()
        return stream  # type: ignore[no-any-return]

    def _stack(self, descriptor: int) -> IO[Any]:
        """Put the file that was asked for over `descriptor`, which is closed where that fails."""
        raw = LocalFile(descriptor, "r")
        raw.name = self._path
        try:
            return stack(raw, self._request)
        except BaseException:
            raw.close()
            raise

    def close_quickly(self) -> bool:
        """Close, if that waits for nobody; say whether it is done."""
        if not self._closed:
            if monotonic() > self._light_until and not os.fstat(self._descriptor).st_nlink:
                return False
            self._closed = True
            os.close(self._descriptor)
        return True

    def close(self) -> None:
        """Close, in a thread."""
        self._closed = True
        os.close(self._descriptor)

    def __del__(self) -> None:
        if not self._closed:
            self.unfold()  # which warns as any file that nobody closed


def open_fresh(request: Request, turn: Turn) -> Fresh | IO[Any] | Fifo:
    """Open in a worker thread: what is only read and regular without its buffers, all else as `open_stream` does."""
    if request.mode not in READ_MODES or not is_simple(request) or not may_stay_fresh(request):
        return open_stream(request, turn)
    path = os.fspath(request.file)
    known = _lately_regular.get(path)
    if not known and may_wait(request):
        return open_stream(request, turn)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK | os.O_NOCTTY if known else 0))
    except ValueError:  # which the builtin words in its own way
        return open_stream(request, turn)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            device = device_of(descriptor, status.st_dev)
            prefix = None
            if device.local and not device.answers_at_once:
                _lately_regular.remember(path, found=True)
                prefix = Prefix.of(descriptor, status)
            return Fresh((descriptor, device, status.st_size), request, path, turn, prefix=prefix)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return open_stream(request, turn)


def is_simple(request: Request) -> bool:
    """Whether the file is opened by its path, and as the system opens files."""
    return is_usual(request) and type(request.file) is not int and request.opener is None and request.closefd


def may_stay_fresh(request: Request) -> bool:
    """Whether nothing can be wrong with the arguments that only the buffers would tell."""
    if "b" in request.mode:
        return request.buffering == -1
    if request.buffering != -1 or request.errors is not None:
        return False
    if request.encoding is None:
        return not sys.flags.warn_default_encoding and (bool(sys.flags.utf8_mode) or locale.getencoding() in UTF_8)
    return request.encoding in UTF_8
