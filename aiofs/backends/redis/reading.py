"""Describing a file and opening it for reading, by a script where the user may run one, else by plain commands."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from aiofs.backends.redis import scripts
from aiofs.backends.redis.errors import Undigested, unknown_format
from aiofs.backends.redis.names import Layout, key_of
from aiofs.backends.redis.scripts import digest_of, entry_of
from aiofs.backends.redis.session import ANYTHING, check_answer
from aiofs.backends.redis.streams import BLOCK, PartsStream, ValueStream, WholeStream
from aiofs.driver import MIB
from aiofs.errors import AccessDenied, NotFound, Unsupported, WrongType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.backends.redis.connection import Connection
    from aiofs.driver import Entry, ReadStream

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
