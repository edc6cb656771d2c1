"""Reading one version of a file: from memory where it is small, else from a copy or parts that the server keeps."""

from __future__ import annotations

import time
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.redis import scripts
from aiofs.backends.redis.names import PIN, Layout
from aiofs.driver import MIB, Entry, ReadStream
from aiofs.errors import Conflict, Damaged

if TYPE_CHECKING:
    from aiofs.backends.redis.connection import Connection

LARGEST_CHUNK = 4 * MIB
PIN_SECONDS = 300.0
"""How long a version that was replaced is kept for a reader that does not come to read on."""
PIN_LIFE = round(PIN_SECONDS * 1000)


class WholeStream(ReadStream):
    """A file that came whole with the first answer."""

    def __init__(self, entry: Entry, data: bytes, start: int, stop: int | None) -> None:
        self.entry = entry
        self._data = data
        self._start = start
        self._stop = stop

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        data, start = self._data, self._start
        stop = start + max(want, 1) if self._stop is None else min(start + max(want, 1), self._stop)
        self._start = min(stop, len(data))
        return data if start == 0 and stop >= len(data) else data[start:stop]

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on at `start`."""
        self._start, self._stop = start, stop

    async def aclose(self) -> None:
        """Do nothing."""


class KeptStream(ReadStream):
    """A file too large to come whole: the server keeps its version, laid out in one key or several."""

    def __init__(self, connection: Connection, entry: Entry, layout: Layout, pin: str) -> None:
        self.entry = entry
        self._connection = connection
        self._keys, self._part_size = layout
        self._pin = pin
        self._size = entry.size or 0
        self._position = 0
        self._stop = self._size
        self._ahead = b""
        self._touch_at = time.monotonic() + PIN_SECONDS / 4
        self._closed = False

    def begin(self, start: int, stop: int | None, ahead: bytes = b"") -> None:
        """Start with the range, whose first bytes may be here already."""
        self._position = start
        self._stop = self._size if stop is None else min(stop, self._size)
        self._ahead = ahead[: max(0, self._stop - start)]

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes, from one part."""
        data, self._ahead = self._ahead, b""
        if not data and self._position < self._stop:
            data = await self._fetch(min(max(want, 1), LARGEST_CHUNK))
        self._position += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on at `start`."""
        self.begin(start, stop)

    async def aclose(self) -> None:
        """Let the server forget what it keeps for this reader."""
        if not self._closed:
            self._closed = True
            with suppress(OSError):  # it expires by itself
                await self._unpin()

    async def _fetch(self, want: int) -> bytes:
        number, offset = divmod(self._position, self._part_size)
        last = min(offset + want, offset + self._stop - self._position, self._part_size) - 1
        if time.monotonic() >= self._touch_at:
            await self._touch()
        data = await self._range(number, offset, last)
        if not data:
            await self._keep_again()
            data = await self._range(number, offset, last)
        if len(data) <= last - offset:
            reason = f"the bytes end after {self._position + len(data)} of {self._size}"
            raise Damaged.of(self.entry.path, reason)
        return data

    async def _range(self, number: int, first: int, last: int) -> bytes:
        data: bytes = await self._connection.ask(self.entry.path, "GETRANGE", self._keys[number], first, last)
        return data

    async def _touch(self) -> None:
        """Say that a reader is still there."""
        await self._connection.run(self.entry.path, scripts.TOUCH, (self._pin, *self._keys), PIN_LIFE)
        self._touch_at = time.monotonic() + PIN_SECONDS / 4

    async def _keep_again(self) -> None:
        """Get the version back that this reader stayed away from for too long.

        :raises Conflict: if there is another one now.
        """
        raise Conflict.of(self.entry.path, "the file was changed, and its reader away too long for the old bytes")

    @abstractmethod
    async def _unpin(self) -> None:
        """Let the server forget what it keeps for this reader."""


class PinnedStream(KeptStream):
    """A large value, read from a copy that the server made."""

    def __init__(self, connection: Connection, entry: Entry, key: str, pin: str) -> None:
        super().__init__(connection, entry, Layout((pin,), max(1, entry.size or 0)), pin)
        self._key = key

    async def _keep_again(self) -> None:
        args = (0, 0, 0, self.entry.version, PIN_LIFE)
        answer = await self._connection.run(self.entry.path, scripts.OPEN, (self._key, self._pin), *args)
        if answer[0] != b"pinned":
            await super()._keep_again()

    async def _unpin(self) -> None:
        await self._connection.ask(self.entry.path, "UNLINK", self._pin)


class PartsStream(KeptStream):
    """A file in parts, which nobody changes and which stay while a reader is there."""

    def __init__(self, connection: Connection, entry: Entry, key: str, layout: Layout, tail: str) -> None:
        super().__init__(connection, entry, layout, f"{PIN}:{entry.version}{tail}")
        self._key = key
        self._tail = tail

    async def _unpin(self) -> None:
        args = (self.entry.version, len(self._keys), self._tail)
        await self._connection.run(self.entry.path, scripts.UNPIN, (self._key, self._pin), *args)
