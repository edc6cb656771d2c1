"""Reading one version of a file: from memory where it came whole, else piece by piece, each proved to be of it.

Reading writes nothing on the server, so the server keeps no version for a reader. Pieces of a value are compared with
the digests of its blocks, which the server made in one step with the version; parts have names that only one version
ever had. A reader whose version is gone gets a `Conflict`, and never bytes of another one.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs.backends.redis import scripts
from aiofs.backends.redis.scripts import digest_of
from aiofs.driver import MIB, Entry, ReadStream
from aiofs.errors import Conflict, Damaged, WrongType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.backends.redis.connection import Connection
    from aiofs.backends.redis.names import Layout

LARGEST_CHUNK = 4 * MIB
BLOCK = MIB // 4
"""How much of a value has a digest of its own: all of it is sent to read one byte, 40 digits of it to read the file."""


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


class PiecesStream(ReadStream):
    """A file too large to come whole. What the first of its connections cannot give, the next one is asked for."""

    def __init__(self, connections: Sequence[Connection], entry: Entry, key: str) -> None:
        self.entry = entry
        self._connections = connections
        self._key = key
        self._size = entry.size or 0
        self._position = 0
        self._stop = self._size
        self._ahead = b""

    def begin(self, start: int, stop: int | None, ahead: bytes = b"") -> None:
        """Start with the range, whose first bytes may be here already."""
        self._position = start
        self._stop = self._size if stop is None else min(stop, self._size)
        self._ahead = ahead[: max(0, self._stop - start)]

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        data, self._ahead = self._ahead, b""
        if not data and self._position < self._stop:
            data = await self._fetch(min(max(want, 1), LARGEST_CHUNK))
        self._position += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on at `start`."""
        self.begin(start, stop)

    async def aclose(self) -> None:
        """Do nothing: the server keeps nothing for this reader."""

    async def _fetch(self, want: int) -> bytes:
        while len(self._connections) > 1:
            try:
                return await self._piece(self._connections[0], want)
            except OSError:  # a replica that is gone, or has an older version or a newer one
                self._connections = self._connections[1:]
        return await self._piece(self._connections[0], want)

    @abstractmethod
    async def _piece(self, connection: Connection, want: int) -> bytes:
        """Return about `want` bytes from the position on.

        :raises Conflict: if this version is not there any more.
        """

    def _changed(self) -> Conflict:
        return Conflict.of(self.entry.path, "the file was changed while it was read")

    async def _range(self, connection: Connection, key: str, first: int, last: int) -> bytes:
        data: bytes = await connection.ask(self.entry.path, "GETRANGE", key, first, last)
        return data


class ValueStream(PiecesStream):
    """A large value, read in whole blocks. Their digests are asked for when first needed, if they are not here yet."""

    def __init__(
        self, connections: Sequence[Connection], entry: Entry, key: str, digests: Sequence[bytes] | None = None
    ) -> None:
        super().__init__(connections, entry, key)
        self._digests = digests

    def proved(self, data: bytes) -> bytes:
        """Return as much of `data`, the file's first bytes as they were a moment ago, as is of this version."""
        stop = len(data) // BLOCK * BLOCK
        return data[:stop] if self._digests and self._are_blocks(0, memoryview(data)[:stop]) else b""

    async def _piece(self, connection: Connection, want: int) -> bytes:
        if self._digests is None:
            self._digests = await self._ask_for_digests(connection)
        first = self._position // BLOCK
        stop = min(-(-(self._position + want) // BLOCK) * BLOCK, self._size)
        data = await self._range(connection, self._key, first * BLOCK, stop - 1)
        if len(data) != stop - first * BLOCK or not self._are_blocks(first, memoryview(data)):
            raise self._changed()
        return data[self._position - first * BLOCK : self._stop - first * BLOCK]

    async def _ask_for_digests(self, connection: Connection) -> Sequence[bytes]:
        answer: list[Any] = await connection.run(
            self.entry.path, scripts.BLOCKS, (self._key,), self.entry.version, BLOCK
        )
        if answer[0] != b"ok":
            raise self._changed()
        return answer[1:]

    def _are_blocks(self, first: int, data: memoryview) -> bool:
        """Return whether `data` is the blocks of this version from number `first` on."""
        assert self._digests is not None  # noqa: S101 -- asked for before
        return all(
            digest_of(data[start : start + BLOCK]).encode() == self._digests[first + start // BLOCK]
            for start in range(0, len(data), BLOCK)
        )


class PartsStream(PiecesStream):
    """A file in parts, whose names no other version has."""

    def __init__(self, connections: Sequence[Connection], entry: Entry, key: str, layout: Layout) -> None:
        super().__init__(connections, entry, key)
        self._keys, self._part_size = layout

    async def _piece(self, connection: Connection, want: int) -> bytes:
        number, offset = divmod(self._position, self._part_size)
        last = min(offset + want, offset + self._stop - self._position, self._part_size) - 1
        data = await self._range(connection, self._keys[number], offset, last)
        if len(data) <= last - offset:
            identity: bytes | None = None
            with suppress(WrongType):
                identity = await connection.ask(self.entry.path, "HGET", self._key, "aiofs")
            if identity is None or identity.decode() != self.entry.version:
                raise self._changed()
            reason = f"the bytes end after {self._position + len(data)} of {self._size}"
            raise Damaged.of(self.entry.path, reason)
        return data
