"""A storage's log of the files it still has: the nearest thing to a listing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.fastdfs import refusals, wire
from aiofs.backends.fastdfs.answers import ProtocolError, logged_name
from aiofs.backends.fastdfs.connection import PIECE, BrokenError
from aiofs.backends.fastdfs.pool import EXCHANGE_ERRORS, RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs.answers import LoggedName
    from aiofs.backends.fastdfs.connection import Connection
    from aiofs.backends.fastdfs.pool import Server

_TRAILER = 8
_LONGEST_LINE = 1024


async def logged_names(server: Server, group: str, path_index: int) -> AsyncIterator[LoggedName]:
    """Yield the log of one store path, oldest first. Raises as `Server.call`, also when the log ends too early."""
    patience = server.limits.network_timeout
    try:
        connection, answer = await server.begin(wire.list_names(group, path_index), None, patience)
    except RefusedError as refused:
        raise refusals.by_storage(refused, None) from refused
    try:
        if answer.length != wire.LISTING_LENGTH:
            raise ProtocolError(f"a log of names that announces {answer.length} bytes")
        async for line in _lines(connection, patience):
            yield logged_name(line)
    except EXCHANGE_ERRORS as error:
        raise server.blame(error) from error
    finally:
        server.give_back(connection)


async def _lines(connection: Connection, patience: float) -> AsyncIterator[bytes]:
    """Yield lines until the connection ends; the last eight bytes say how long the text before them was."""
    rest = b""
    total = 0
    while data := await _more(connection, patience):
        total += len(data)
        rest += data
        *lines, begun = rest[:-_TRAILER].split(b"\n")  # which is a byte of some lengths, too
        rest = begun + rest[-_TRAILER:]
        if len(begun) > _LONGEST_LINE:
            raise ProtocolError("a log of names that has no lines")
        for line in lines:
            yield line
    announced = int.from_bytes(rest, signed=True)
    if len(rest) != _TRAILER or announced != total - _TRAILER:
        raise BrokenError(f"the log of names ended after {total} bytes")


async def _more(connection: Connection, patience: float) -> bytes:
    """Return the next bytes; b"" when the server has closed the connection in good order."""
    try:
        return await connection.read_some(PIECE, patience)
    except BrokenError as error:
        if error.__cause__ is None:
            return b""
        raise
