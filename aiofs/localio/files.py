"""Regular files beneath Python's own buffers, which ask them for bytes as they ask any raw file.

On the loop such a file answers from memory or not at all: `starved` then says that a thread has to go on. In a thread,
and for whoever is handed the file, it waits like any other (`waits`). Since buffers and text layer are Python's own,
positions, errors and peeked bytes are too.
"""

from __future__ import annotations

import errno
import io
import os
from time import monotonic
from typing import TYPE_CHECKING

from aiofs.localio.devices import Device
from aiofs.localio.reading import NOWAIT, pread_now, rest_now
from aiofs.localio.turns import INLINE, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer, WriteableBuffer

    from aiofs.localio.prefix import Prefix

GATHERED = 262_144
"""Bytes of small writes that wait together for one visit to the disk."""
LIGHT = 1_048_576
"""Bytes of a file that the system frees in no time."""


class LocalFile(io.FileIO):
    """A regular file that is read."""

    waits: bool = True
    starved: bool = False
    full = False
    """Whether what is gathered has to be brought to the file before there is more."""
    sealed = False
    """Whether there is nothing beyond `ahead`."""
    ended: bool = False
    """Whether more was asked for than that."""
    ahead: bytes = b""
    """Bytes from the current position on that the next operation will find, and beyond which it must not ask."""
    rest: bytes | None = None
    """All that is left, taken before the buffers above ask for it."""
    newline: str | None = None
    """The ends of line of the text above, as they were given to `open`."""
    device: Device = Device(nowait=False)
    light_until: float = 0.0
    """Until when the file cannot have grown so that its end would take long."""
    buffered = io.DEFAULT_BUFFER_SIZE
    """Bytes that the buffer above asks for at a time."""
    turn: Turn
    descriptor: int
    prefix: Prefix | None = None

    def settle_in(self, device: Device, turn: Turn, size: int) -> None:
        """Begin to answer on the loop that `turn` belongs to. The file has `size` bytes now."""
        self.descriptor = self.fileno()
        self.device = device
        self.turn = turn
        self.waits = False
        if size < LIGHT:
            self.light_until = monotonic() + 1

    def settle_out(self) -> None:
        """Wait from here on like any other file."""
        self.waits = True
        self.ahead = b""
        self.prefix = None

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Fill `buffer` with what is there; None where that would mean waiting."""
        if self.waits and not self.ahead:
            return super().readinto(buffer)
        if self.sealed or self.ahead:
            return self._serve(memoryview(buffer))
        self.turn.spend()
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
        """Return all that is left; None where that would mean waiting, or would keep the loop for long."""
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
        self.turn.spend()
        return rest_now(self.descriptor, self.device, self.turn.scratch)

    def _starve(self) -> None:
        """Say that only a thread can go on; whoever looks whether a turn is due sees it too."""
        self.starved = True
        self.turn.end()

    def load(self, size: int) -> bytes | None:
        """Add up to `size` bytes to `ahead` and return them: b"" at the end, None where that would mean waiting."""
        offset = self.tell() + len(self.ahead)
        piece = self.fetch(size, offset) if self.waits else self.look(size, offset)
        if piece:
            self.ahead = self.ahead + piece if self.ahead else piece
        return piece

    def closes_quickly(self) -> bool:
        """Whether closing can be done on the loop: a reader of a local file, which is small or does not die with it."""
        if not self.device.local:
            return False
        return monotonic() < self.light_until or os.fstat(self.descriptor).st_nlink > 0

    def fetch(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`, moving nothing, in a thread."""
        return os.pread(self.descriptor, size, offset)

    def look(self, size: int, offset: int) -> bytes | None:
        """Return up to `size` bytes from `offset`, moving nothing: b"" at the end, None where that means waiting."""
        self.turn.spend()
        if self.prefix is not None:
            return self._from_prefix(size, offset)
        if self.device.memory:
            return os.pread(self.descriptor, size, offset)
        return pread_now(self.descriptor, size, offset, self.turn.scratch) if self.device.nowait else None

    def _from_prefix(self, size: int, offset: int) -> bytes | None:
        prefix = self.prefix
        if prefix is not None and prefix.holds(self.descriptor) and (offset < len(prefix.data) or prefix.whole):
            return prefix.data[offset : offset + size]
        self.prefix = None
        return None

    def _serve(self, buffer: memoryview) -> int:
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
    """A regular file that is written, perhaps also read. On the loop it gathers small writes."""

    writes: int = 0
    gathers: Callable[[], Callable[[], None] | None] | None = None
    """A weak method, which is called when small writes begin to gather."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.pending: bytearray = bytearray()

    def write(self, data: ReadableBuffer, /) -> int | None:  # type: ignore[override]
        """Write `data`, or on the loop take it and say so: `drain` brings it to the file."""
        self.writes += 1
        if self.waits:
            self.drain()
            return super().write(data)
        self.turn.spend()
        if not self.pending and self.gathers is not None and (begun := self.gathers()) is not None:
            begun()
        self.pending += data
        self.full = len(self.pending) >= GATHERED
        return len(memoryview(data))

    def load(self, size: int) -> bytes | None:
        """Add `size` bytes to `ahead`, fewer only at the end: text is written where the layer above has read to."""
        before = self.ahead
        piece = super().load(size)
        if piece and len(piece) < size and not self.waits and self.look(1, self.tell() + len(self.ahead)) != b"":
            self.ahead = before
            return None
        return piece

    def settle_out(self) -> None:
        """Wait from here on like any other file, with nothing gathered."""
        super().settle_out()
        self.drain()

    def tell(self) -> int:
        """Return the position, what is gathered counted as written."""
        return super().tell() + len(self.pending)

    def closes_quickly(self) -> bool:
        """Whether closing can be done on the loop: never, where something was written."""
        return False

    def drain(self) -> None:
        """Bring what is gathered to the file, in a thread. What could not be written stays, and is in the way."""
        self.full = True
        while self.pending:
            written = super().write(self.pending)
            del self.pending[:written]
        self.full: bool = False

    def _dealloc_warn(self, source: object) -> None:
        """Say that nobody closed the file. Python's buffers call this before they write what they hold and close."""
        self.waits = True
        super()._dealloc_warn(source)  # type: ignore[misc]

    def close(self) -> None:
        """Write what is gathered, and close even where that fails."""
        try:
            if not self.closed:
                self.drain()
        finally:
            self.pending = bytearray()
            super().close()
