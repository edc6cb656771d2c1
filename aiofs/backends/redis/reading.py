"""Describing a file, and reading one version of it: whole with the first answer, or piece by piece.

Reading writes nothing on the server, so the server does not keep a version for a reader. Every piece of a value is
compared with the digests of its blocks, which the server made together with the version, in one step. Parts have names
that only one version ever had. If its version is gone, a reader gets a `Conflict`, and never bytes of another version.

A script opens a file in one step. For a user who may not run scripts, and on a server that makes no digests, plain
commands open it.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from aiofs.backends.redis import scripts
from aiofs.backends.redis.errors import Undigested
from aiofs.backends.redis.names import FOREVER, PARTS_FORMAT, Layout, key_of
from aiofs.backends.redis.scripts import digest_of, entry_of, expiry_in
from aiofs.backends.redis.writing import ANYTHING, check_answer
from aiofs.driver import MIB, Entry, ReadStream
from aiofs.errors import AccessDenied, Conflict, Damaged, NotFound, Unsupported, WrongType
from aiofs.kit import BytesStream, check_match, unknown_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.backends.redis.client import RedisClient
    from aiofs.driver import Entry

LARGEST_CHUNK = 4 * MIB
BLOCK = MIB // 4
"""How much of a value has a digest of its own. Reading one byte transfers a whole block."""
LARGEST_WHOLE = 1 * MIB
"""Up to this size a value comes whole with the first answer."""
LARGEST_GET = 8 * MIB
"""Up to this size it comes whole to a reader from the start: digests cost the server a hundred times as much."""


class PiecesStream(ReadStream):
    """A file that is read in pieces. If the first of the servers cannot give a piece, the next one is asked."""

    def __init__(self, clients: Sequence[RedisClient], entry: Entry, key: str) -> None:
        self.entry = entry
        self._clients = clients
        self._key = key
        self._size = entry.size or 0
        self._position = 0
        self._stop = self._size
        self._ahead = b""

    def begin(self, start: int, stop: int | None, ahead: bytes = b"") -> None:
        """Start with a range. `ahead` has its first bytes, if they came already."""
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
        """Continue at `start`."""
        self.begin(start, stop)

    async def aclose(self) -> None:
        """Do nothing: the server keeps nothing for this reader."""

    async def _fetch(self, want: int) -> bytes:
        while len(self._clients) > 1:
            try:
                return await self._piece(self._clients[0], want)
            except OSError:  # this replica is gone, or has another version
                self._clients = self._clients[1:]
        return await self._piece(self._clients[0], want)

    @abstractmethod
    async def _piece(self, client: RedisClient, want: int) -> bytes:
        """Return about `want` bytes from the position on.

        :raises Conflict: if the server does not have this version any more.
        """

    def _changed(self) -> Conflict:
        return Conflict.of(self.entry.path, "the file was changed while it was read")

    async def _range(self, client: RedisClient, key: str, first: int, last: int) -> bytes:
        data: bytes = await client.ask(self.entry.path, "GETRANGE", key, first, last)
        return data


class ValueStream(PiecesStream):
    """A large value, read in whole blocks, whose digests are requested when they are first needed."""

    def __init__(
        self, clients: Sequence[RedisClient], entry: Entry, key: str, digests: Sequence[bytes] | None = None
    ) -> None:
        super().__init__(clients, entry, key)
        self._digests = digests

    def checked(self, data: bytes) -> bytes:
        """Return the whole blocks of `data`, which was read before the version was known, if they belong to it."""
        stop = len(data) // BLOCK * BLOCK
        return data[:stop] if self._digests and self._are_blocks(0, memoryview(data)[:stop]) else b""

    async def _piece(self, client: RedisClient, want: int) -> bytes:
        if self._digests is None:
            self._digests = await self._ask_for_digests(client)
        first = self._position // BLOCK
        stop = min(-(-(self._position + want) // BLOCK) * BLOCK, self._size)
        data = await self._range(client, self._key, first * BLOCK, stop - 1)
        if len(data) != stop - first * BLOCK or not self._are_blocks(first, memoryview(data)):
            raise self._changed()
        return data[self._position - first * BLOCK : self._stop - first * BLOCK]

    async def _ask_for_digests(self, client: RedisClient) -> Sequence[bytes]:
        answer: list[Any] = await client.run(self.entry.path, scripts.BLOCKS, (self._key,), self.entry.version, BLOCK)
        if answer[0] != b"ok":
            raise self._changed()
        return answer[1:]

    def _are_blocks(self, first: int, data: memoryview) -> bool:
        """Whether `data` has the blocks of this version from number `first` on."""
        assert self._digests is not None  # noqa: S101 -- they were requested before
        return all(
            digest_of(data[start : start + BLOCK]).encode() == self._digests[first + start // BLOCK]
            for start in range(0, len(data), BLOCK)
        )


class PartsStream(PiecesStream):
    """A file in parts, whose keys no other version has."""

    def __init__(self, clients: Sequence[RedisClient], entry: Entry, key: str, layout: Layout) -> None:
        super().__init__(clients, entry, key)
        self._keys, self._part_size = layout

    async def _piece(self, client: RedisClient, want: int) -> bytes:
        number, offset = divmod(self._position, self._part_size)
        last = min(offset + want, offset + self._stop - self._position, self._part_size) - 1
        data = await self._range(client, self._keys[number], offset, last)
        if len(data) <= last - offset:
            identity: bytes | None = None
            with suppress(WrongType):
                identity = await client.ask(self.entry.path, "HGET", self._key, "aiofs")
            if identity is None or identity.decode() != self.entry.version:
                raise self._changed()
            reason = f"the bytes end after {self._position + len(data)} of {self._size}"
            raise Damaged.of(self.entry.path, reason)
        return data


class ReadRequest(NamedTuple):
    """Which bytes of which file to read, and which version it must have."""

    path: str
    start: int = 0
    stop: int | None = None
    match: str = ANYTHING
    dated: bool = False
    """Whether the entry must say when the file goes away, for a new version that goes away at the same time."""


async def describe(client: RedisClient, path: str) -> Entry:
    """Return the entry of a file. The server makes the digest that is its version.

    :raises NotFound: if there is none.
    """
    try:
        answer = await client.evaluate(path, scripts.STAT, (key_of(path),))
    except (Undigested, AccessDenied, Unsupported):
        return (await _open_plainly([client], ReadRequest(path, dated=True))).entry
    if answer is None:
        raise NotFound.of(path)
    size, version, left = answer
    return entry_of(path, size, version.decode(), expiry_in(left))


async def open_stream(clients: Sequence[RedisClient], request: ReadRequest) -> ReadStream:
    """Open a file on the first server. Pieces that it cannot give later come from the next one.

    One plain GETRANGE is enough, unless the file is missing, empty or large.

    :raises NotFound: if there is none.
    :raises Conflict: if it does not have the version to be matched.
    """
    first, left = b"", FOREVER
    if request.start == 0 and request.match == ANYTHING:
        key = key_of(request.path)
        command = ("GETRANGE", key, 0, LARGEST_WHOLE - 1)
        with suppress(WrongType):  # it may be in parts
            if request.dated:
                first, left = await clients[0].ask_each([command, ("PTTL", key)], request.path)
            else:
                first = await clients[0].ask(request.path, *command)
        if first and len(first) < LARGEST_WHOLE:
            return _bytes_stream(request, first, left)
    try:
        return await _open_by_script(clients, request, first)
    except (Undigested, AccessDenied, Unsupported):
        return await _open_plainly(clients, request)


async def _open_by_script(clients: Sequence[RedisClient], request: ReadRequest, first: bytes) -> ReadStream:
    """Open a file in one step. A reader of much of a large file gets the digests of its blocks first."""
    path, start, stop, match, _ = request
    args = (start, -1 if stop is None else stop, match, LARGEST_WHOLE, LARGEST_GET, BLOCK)
    answer: list[Any] = await clients[0].evaluate(path, scripts.OPEN, (key_of(path),), *args)
    check_answer(answer, path)
    if answer[0] == b"whole":
        return _bytes_stream(request, answer[2], answer[1])
    kind, left, size, version, *rest = answer
    entry = entry_of(path, size, version.decode(), expiry_in(left))
    if kind == b"parts":
        return _parts_stream(clients, request, entry, rest)
    in_blocks = kind == b"blocks"
    stream = ValueStream(clients, entry, key_of(path), rest if in_blocks else None)
    stream.begin(start, stop, stream.checked(first) if in_blocks else rest[0])
    return stream


async def _open_plainly(clients: Sequence[RedisClient], request: ReadRequest) -> ReadStream:
    """Open a file without a script: the whole value comes, and its version is computed here."""
    path, _, _, match, _ = request
    try:
        data = await clients[0].value(path, key_of(path))
    except WrongType:
        return await _open_parts_plainly(clients, request)
    if data is None:
        raise NotFound.of(path)
    stream = _bytes_stream(request, data, await _time_left(clients[0], request))
    check_match(path, None if match == ANYTHING else match, stream.entry.version)
    return stream


async def _open_parts_plainly(clients: Sequence[RedisClient], request: ReadRequest) -> PartsStream:
    path, _, _, match, _ = request
    fields = ("aiofs", "size", "part", "count", "tail", "format")
    version: bytes | None = None
    with suppress(WrongType):
        version, size, *rest, number = await clients[0].ask(path, "HMGET", key_of(path), *fields)
    if version is None:
        raise NotFound.of(path)
    if number not in {None, PARTS_FORMAT.encode()}:
        raise unknown_format(path, "this file, in several keys,", number.decode(errors="replace"), PARTS_FORMAT)
    left = await _time_left(clients[0], request)
    entry = entry_of(path, int(size), version.decode(), expiry_in(left))
    check_match(path, None if match == ANYTHING else match, entry.version)
    return _parts_stream(clients, request, entry, rest)


def _parts_stream(
    clients: Sequence[RedisClient], request: ReadRequest, entry: Entry, manifest: Sequence[Any]
) -> PartsStream:
    part_size, count, tail = manifest
    layout = Layout.of(str(entry.version), int(part_size), int(count), tail.decode())
    stream = PartsStream(clients, entry, key_of(request.path), layout)
    stream.begin(request.start, request.stop)
    return stream


def _bytes_stream(request: ReadRequest, data: bytes, left: int) -> BytesStream:
    entry = entry_of(request.path, len(data), digest_of(data), expiry_in(left))
    return BytesStream(entry, data, request.start, request.stop)


async def _time_left(client: RedisClient, request: ReadRequest) -> int:
    """Return how many milliseconds the file has left, `FOREVER` if it stays or nobody needs to know."""
    if not request.dated:
        return FOREVER
    left: int = await client.ask(request.path, "PTTL", key_of(request.path))
    return left
