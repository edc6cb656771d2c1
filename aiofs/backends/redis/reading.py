"""Reading one version of a file: from memory where it came whole, else piece by piece, each proved to be of it.

Reading writes nothing on the server, so the server keeps no version for a reader. Pieces of a value are compared with
the digests of its blocks, which the server made in one step with the version; parts have names that only one version
ever had. A reader whose version is gone gets a `Conflict`, and never bytes of another one.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from aiofs.backends.redis import scripts
from aiofs.backends.redis.errors import Undigested, unknown_format
from aiofs.backends.redis.names import Layout, key_of
from aiofs.backends.redis.scripts import digest_of, entry_of
from aiofs.backends.redis.writing import ANYTHING, check_answer
from aiofs.driver import MIB, Entry, ReadStream
from aiofs.errors import AccessDenied, Conflict, Damaged, NotFound, Unsupported, WrongType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.backends.redis.client import Connection
    from aiofs.driver import Entry

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


LARGEST_WHOLE = 1 * MIB
"""Up to this size a value comes whole with the answer to the first request."""
LARGEST_GET = 8 * MIB
"""Up to this size it comes whole to who reads it from the start: digests cost the server a hundred times as much."""
FORMAT = b"1"
"""What the hash of a file in parts says of itself. 2.0.0a1 wrote none, and meant this one."""


class Asked(NamedTuple):
    """What is to be read."""

    path: str
    start: int = 0
    stop: int | None = None
    match: str = ANYTHING


async def described(connection: Connection, path: str) -> Entry:
    """Return what the server knows of the file, with the digest that is its version.

    :raises NotFound: if there is none.
    """
    try:
        answer = await connection.evaluate(path, scripts.STAT, (key_of(path),))
    except (Undigested, AccessDenied, Unsupported):
        return (await _opened_plainly([connection], Asked(path))).entry
    if answer is None:
        raise NotFound.of(path)
    size, version = answer
    return entry_of(path, size, version.decode())


async def opened(connections: Sequence[Connection], asked: Asked) -> ReadStream:
    """Open the file through the first of the connections; what it cannot give later, the others are asked for.

    One plain GETRANGE is enough, unless the file turns out to be missing, empty or large.

    :raises NotFound: if there is none.
    :raises Conflict: if it is not the version to be matched.
    """
    first = b""
    if asked.start == 0 and asked.match == ANYTHING:
        with suppress(WrongType):  # it may be in parts
            first = await connections[0].ask(asked.path, "GETRANGE", key_of(asked.path), 0, LARGEST_WHOLE - 1)
        if first and len(first) < LARGEST_WHOLE:
            return _whole(asked, first)
    try:
        return await _opened_by_script(connections, asked, first)
    except (Undigested, AccessDenied, Unsupported):
        return await _opened_plainly(connections, asked)


async def _opened_by_script(connections: Sequence[Connection], asked: Asked, first: bytes) -> ReadStream:
    """Open the file in one step. Who wants much of a large one is given the digests of its blocks, and then asks."""
    path, start, stop, match = asked
    args = (start, -1 if stop is None else stop, match, LARGEST_WHOLE, LARGEST_GET, BLOCK)
    answer: list[Any] = await connections[0].evaluate(path, scripts.OPEN, (key_of(path),), *args)
    check_answer(answer, path)
    if answer[0] == b"whole":
        return _whole(asked, answer[1])
    kind, size, version, *rest = answer
    entry = entry_of(path, size, version.decode())
    if kind == b"parts":
        return _in_parts(connections, asked, entry, rest)
    in_blocks = kind == b"blocks"
    stream = ValueStream(connections, entry, key_of(path), rest if in_blocks else None)
    stream.begin(start, stop, stream.proved(first) if in_blocks else rest[0])
    return stream


async def _opened_plainly(connections: Sequence[Connection], asked: Asked) -> ReadStream:
    """Open the file without a script: the whole value comes, and its version is made here."""
    path, _, _, match = asked
    try:
        data = await connections[0].value(path, key_of(path))
    except WrongType:
        return await _parts_opened_plainly(connections, asked)
    if data is None:
        raise NotFound.of(path)
    stream = _whole(asked, data)
    if match not in {ANYTHING, stream.entry.version}:
        check_answer([b"changed"], path)
    return stream


async def _parts_opened_plainly(connections: Sequence[Connection], asked: Asked) -> PartsStream:
    path, _, _, match = asked
    fields = ("aiofs", "size", "part", "count", "tail", "format")
    version: bytes | None = None
    with suppress(WrongType):
        version, size, *rest, number = await connections[0].ask(path, "HMGET", key_of(path), *fields)
    if version is None:
        raise NotFound.of(path)
    if number not in {None, FORMAT}:
        raise unknown_format("this file, in several keys,", number.decode(errors="replace"), path)
    if match not in {ANYTHING, version.decode()}:
        check_answer([b"changed"], path)
    return _in_parts(connections, asked, entry_of(path, int(size), version.decode()), rest)


def _in_parts(connections: Sequence[Connection], asked: Asked, entry: Entry, manifest: Sequence[Any]) -> PartsStream:
    part_size, count, tail = manifest
    layout = Layout.of(str(entry.version), int(part_size), int(count), tail.decode())
    stream = PartsStream(connections, entry, key_of(asked.path), layout)
    stream.begin(asked.start, asked.stop)
    return stream


def _whole(asked: Asked, data: bytes) -> WholeStream:
    return WholeStream(entry_of(asked.path, len(data), digest_of(data)), data, asked.start, asked.stop)
