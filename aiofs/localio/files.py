"""Regular files beneath Python's own buffers, which ask them for bytes as they ask any raw file.

On the loop such a file returns only bytes that are in memory. If there are none, it sets `starved`, and a thread has to
go on. In a thread, and once the program uses the file itself, it waits like any other file (`waits`). The buffers and
the text layer are Python's own, so positions, errors and peeked bytes are the same as with the builtin `open`.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import NoneType
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiofs.localio.devices import Device
from aiofs.localio.reading import INLINE, NOWAIT, LoopBudget, pread_now, rest_now
from aiofs.threads import finish_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer, WriteableBuffer

    from aiofs.localio.reading import FilePrefix

LARGEST_BUFFER = 8 * 1024 * 1024
GATHERED = 262_144
"""Bytes of small writes that are gathered for one write to the file."""
LIGHT = 1_048_576
"""Bytes of a file that the system frees at once when the last descriptor of a removed file is closed."""
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


@dataclass(slots=True)
class OpenArguments:
    """The arguments of one `open`."""

    file: Any
    mode: str = "r"
    buffering: int = -1
    encoding: str | None = None
    errors: str | None = None
    newline: str | None = None
    closefd: bool = True
    opener: Callable[[str, int], int] | None = None


def are_usual(arguments: OpenArguments) -> bool:
    """Whether the engine can open this. If not, the builtin `open` does it, or raises its own error."""
    mode, buffering = arguments.mode, arguments.buffering
    if type(mode) is not str or mode not in USUAL_MODES or type(buffering) is not int or not POSIX:
        return False
    if type(arguments.file) is not int and not isinstance(arguments.file, PATHS):
        return False
    if "b" in mode:
        return buffering not in BINARY_ODDITIES and arguments.encoding is arguments.errors is arguments.newline is None
    return (
        buffering != 0
        and isinstance(arguments.encoding, TEXTS)
        and isinstance(arguments.errors, TEXTS)
        and (arguments.newline is None or arguments.newline in NEWLINES)
    )


class LocalFile(io.FileIO):
    """A regular file that is read."""

    waits: bool = True
    """Whether reads and writes may wait for the disk."""
    starved: bool = False
    """Whether a read on the loop would have had to wait."""
    full = False
    """Whether the gathered writes must be written before more are gathered."""
    sealed = False
    """Whether reads see `ahead` as all that is left of the file."""
    ended: bool = False
    """Whether a read came after the end of `ahead`."""
    ahead: bytes = b""
    """Bytes from the current position on, for the next reads of the buffer above."""
    rest: bytes | None = None
    """All that is left, read before the buffer above asks for it."""
    newline: str | None = None
    """The `newline` that was given to `open`."""
    device: Device = Device(nowait=False)
    light_until: float = 0.0
    """Until when the file is taken to be so small that closing it is quick, even if it was removed."""
    buffered = io.DEFAULT_BUFFER_SIZE
    """Bytes that the buffer above asks for at a time."""
    budget: LoopBudget
    descriptor: int
    prefix: FilePrefix | None = None

    def join_loop(self, device: Device, budget: LoopBudget, size: int) -> None:
        """Answer on the loop that `budget` belongs to from now on. The file has `size` bytes now."""
        self.descriptor = self.fileno()
        self.device = device
        self.budget = budget
        self.waits = False
        if size < LIGHT:
            self.light_until = monotonic() + 1

    def leave_loop(self) -> None:
        """Wait from now on like any other file."""
        self.waits = True
        self.ahead = b""
        self.prefix = None

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Fill `buffer` as far as possible; None if it would have to wait."""
        if self.waits and not self.ahead:
            return super().readinto(buffer)
        if self.sealed or self.ahead:
            return self._serve(memoryview(buffer))
        self.budget.spend()
        device = self.device
        if device.nowait and self.prefix is None:
            try:
                return os.preadv(self.descriptor, [memoryview(buffer)[:INLINE]], -1, NOWAIT)
            except OSError as error:
                if error.errno == errno.EOPNOTSUPP:
                    device.nowait = False
        if device.memory:
            return super().readinto(memoryview(buffer)[:INLINE])
        if self.prefix is not None:
            piece = self._from_prefix(len(memoryview(buffer)), self.tell())
            if piece is not None:
                self.ahead = piece
                return self._serve(memoryview(buffer))
        self._starve()
        return None

    def readall(self) -> bytes | None:  # type: ignore[override]
        """Return all that is left; None if it would have to wait, or would keep the loop for long."""
        if self.waits:
            return super().readall()
        rest, self.rest = self.rest, None
        if rest is None:
            rest = self.take_rest()
        if rest is None:
            self._starve()
        return rest

    def take_rest(self) -> bytes | None:
        """Return all that is left if it is little and at hand; else None, and nothing has moved."""
        if not self.device.nowait or self.prefix is not None:
            offset = self.tell()
            rest = self.look(INLINE, offset)
            if rest is None or len(rest) == INLINE or (rest and self.look(1, offset + len(rest)) != b""):
                return None
            self.seek(len(rest), os.SEEK_CUR)
            return rest
        self.budget.spend()
        return rest_now(self.descriptor, self.device, self.budget.scratch)

    def _starve(self) -> None:
        """Note that only a thread can go on, and use up the budget: callers that see this check `starved` then."""
        self.starved = True
        self.budget.end()

    def load(self, size: int) -> bytes | None:
        """Add up to `size` bytes to `ahead` and return them: b"" at the end, None if it would have to wait."""
        offset = self.tell() + len(self.ahead)
        piece = self.fetch(size, offset) if self.waits else self.look(size, offset)
        if piece:
            self.ahead = self.ahead + piece if self.ahead else piece
        return piece

    def closes_quickly(self) -> bool:
        """Whether the file can be closed on the loop: it is local, and either small or still has a name."""
        if not self.device.local:
            return False
        return monotonic() < self.light_until or os.fstat(self.descriptor).st_nlink > 0

    def fetch(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`, without moving the position. For a thread."""
        return os.pread(self.descriptor, size, offset)

    def look(self, size: int, offset: int) -> bytes | None:
        """Return up to `size` bytes from `offset` without moving the position: b"" at the end, None if it must wait."""
        self.budget.spend()
        if self.prefix is not None:
            return self._from_prefix(size, offset)
        if self.device.memory:
            return os.pread(self.descriptor, size, offset)
        return pread_now(self.descriptor, size, offset, self.budget.scratch) if self.device.nowait else None

    def _from_prefix(self, size: int, offset: int) -> bytes | None:
        """Return bytes from the prefix, and forget it if the file has changed or it has no more."""
        prefix = self.prefix
        if prefix is not None and prefix.holds(self.descriptor) and (offset < len(prefix.data) or prefix.whole):
            return prefix.data[offset : offset + size]
        self.prefix = None
        return None

    def _serve(self, buffer: memoryview) -> int:
        """Fill `buffer` from `ahead`."""
        count = len(self.ahead)
        if count > len(buffer):
            count = len(buffer)
            buffer[:] = self.ahead[:count]
            self.ahead = self.ahead[count:]
        else:
            buffer[:count] = self.ahead
            self.ahead = b""
            self.ended = not count
        self.seek(count, os.SEEK_CUR)
        return count


class UpdateFile(LocalFile):
    """A regular file that is written, and perhaps read, too. On the loop it gathers small writes."""

    writes: int = 0
    on_gathering: Callable[[], Callable[[], None] | None] | None = None
    """A weak reference to a method that is called when the first small write is gathered."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.pending: bytearray = bytearray()

    def write(self, data: ReadableBuffer, /) -> int | None:  # type: ignore[override]
        """Write `data`; on the loop gather it, for `drain` to write. Return its size."""
        self.writes += 1
        if self.waits:
            self.drain()
            return super().write(data)
        self.budget.spend()
        if not self.pending and self.on_gathering is not None and (begun := self.on_gathering()) is not None:
            begun()
        self.pending += data
        self.full = len(self.pending) >= GATHERED
        return len(memoryview(data))

    def load(self, size: int) -> bytes | None:
        """Add `size` bytes to `ahead`, fewer only at the end: the text layer writes where its reads of the file end."""
        before = self.ahead
        piece = super().load(size)
        if piece and len(piece) < size and not self.waits and self.look(1, self.tell() + len(self.ahead)) != b"":
            self.ahead = before
            return None
        return piece

    def leave_loop(self) -> None:
        """Write what was gathered, and wait from now on like any other file."""
        super().leave_loop()
        self.drain()

    def tell(self) -> int:
        """Return the position, as if the gathered writes had been written."""
        return super().tell() + len(self.pending)

    def closes_quickly(self) -> bool:
        """Whether the file can be closed on the loop: never, as it may have been written."""
        return False

    def drain(self) -> None:
        """Write what was gathered to the file, in a thread. After an error the rest is kept, to be tried again."""
        self.full = True
        while self.pending:
            written = super().write(self.pending)
            del self.pending[:written]
        self.full: bool = False

    def _dealloc_warn(self, source: object) -> None:
        """Warn that the program did not close the file. Python's buffers call this before they flush and close."""
        self.waits = True
        super()._dealloc_warn(source)  # type: ignore[misc]

    def close(self) -> None:
        """Write what was gathered, and close even if that fails."""
        try:
            if not self.closed:
                self.drain()
        finally:
            self.pending = bytearray()
            super().close()


_unclosed: WeakKeyDictionary[IO[Any], UpdateFile] = WeakKeyDictionary()


def flush_at_exit(stream: IO[Any], raw: UpdateFile) -> None:
    """See to it that what `stream` holds is written through `raw` if the interpreter ends before it is closed."""
    _unclosed[stream] = raw


@atexit.register
def _flush_unclosed() -> None:
    """Write what is held before the interpreter finalizes streams and raw files in any order.

    First the workers end: a file that one of them writes at this moment would have the same bytes twice.
    """
    finish_calls()
    for stream, raw in list(_unclosed.items()):
        with suppress(OSError, ValueError):
            raw.waits = True
            stream.flush()
            raw.drain()


def _forget_unclosed() -> None:
    """Drop what was gathered, in a forked child: the parent writes it."""
    for raw in list(_unclosed.values()):
        raw.pending.clear()
    _unclosed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_unclosed)


def buffers_over(raw: LocalFile, arguments: OpenArguments, *, terminal: bool = False) -> IO[Any]:
    """Return `raw` with Python's own buffers over it, of the same sizes as from the builtin `open`."""
    buffering, line_buffering = arguments.buffering, False
    if buffering == 1 or (buffering < 0 and terminal):
        buffering, line_buffering = -1, True
    if buffering < 0:
        buffering = default_buffer_size(raw)
    raw.buffered = buffering
    if "+" in arguments.mode:
        buffered: Any = io.BufferedRandom(raw, buffering)
    else:
        buffered = (io.BufferedReader if arguments.mode in READ_MODES else io.BufferedWriter)(raw, buffering)
    if "b" in arguments.mode:
        return buffered  # type: ignore[no-any-return]
    raw.newline = arguments.newline
    text: Any = io.TextIOWrapper(buffered, arguments.encoding, arguments.errors, arguments.newline, line_buffering)
    text.mode = arguments.mode
    return text  # type: ignore[no-any-return]


def default_buffer_size(raw: LocalFile) -> int:
    """Return the size of the buffer that `open` of this version of Python gives to `raw`."""
    block: int = raw._blksize  # type: ignore[attr-defined]  # noqa: SLF001 - the builtin `open` takes it from there, too
    if sys.version_info >= (3, 14):
        return max(min(block, LARGEST_BUFFER), io.DEFAULT_BUFFER_SIZE)
    return block
