"""Bytes on their way from a storage, or, where that breaks off, from another one that has the same file."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, NamedTuple, Self

from aiofs.backends.fastdfs import wire
from aiofs.backends.fastdfs.answers import ProtocolError
from aiofs.backends.fastdfs.connection import PIECE
from aiofs.backends.fastdfs.pool import EXCHANGE_ERRORS
from aiofs.errors import AiofsError, Damaged, place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs.answers import Address
    from aiofs.backends.fastdfs.connection import Connection
    from aiofs.backends.fastdfs.ids import FileId
    from aiofs.backends.fastdfs.pool import Server


class Link(NamedTuple):
    """A connection on which the bytes of a file follow, and how many."""

    server: Server
    connection: Connection
    size: int


Again = Callable[[int, int, Collection["Address"]], Awaitable[Link]]
"""Asks for so many bytes from an offset on, of another storage than these."""


async def begin(server: Server, file: FileId, start: int, length: int) -> Link:
    """Ask for `length` bytes from `start` on; length 0 asks for all there are. Raises as `Server.call`."""
    connection, answer = await server.begin(wire.download(file, start, length), None, server.limits.network_timeout)
    if length and (answer.length > length or (answer.length < length and file.kind == "normal")):
        server.give_back(connection)
        error = ProtocolError(f"{answer.length} bytes of a file where {length} were asked for")
        raise server.blame(error) from error
    return Link(server, connection, answer.length)


class Download:
    """A range of a file. Holds a connection to its storage until the last byte is read, or until it is closed.

    Read it with `async for`, or with `chunk` until that returns b"". A file that cannot change is read on at another
    storage where the first one fails.
    """

    def __init__(self, file: FileId, start: int = 0, link: Link | None = None, again: Again | None = None) -> None:
        self.size: int = 0 if link is None else link.size
        """How many bytes there are."""
        self._file = file
        self._at = start
        self._left = self.size
        self._crc32 = file.crc32 if link is not None and start == 0 and self.size == file.size else None
        self._sum = 0
        self._link = link
        self._again = again
        self._failed: set[Address] = set()
        if not self.size:
            self._let_go(in_step=True)

    async def chunk(self, most: int = PIECE) -> bytes:
        """Return the next bytes, at most so many; b"" only at the end.

        :raises Unreachable: if the connection breaks before the end.
        :raises TimedOut: if nothing comes for too long.
        :raises Damaged: if the whole of a normal file does not have the checksum that its name tells.
        """
        if self._link is None and not self._left:
            return b""
        data = await self._next(most)
        self._at += len(data)
        self._left -= len(data)
        if self._crc32 is not None:
            self._sum = zlib.crc32(data, self._sum)
        if not self._left:
            sender = None if self._link is None else self._link.server.address
            self._let_go(in_step=True)
            self._check(sender)
        return data

    async def read(self) -> bytes:
        """Return all that is left, and close. Raises as `chunk`."""
        async with self:
            return b"".join([data async for data in self])

    def abandon(self) -> None:
        """Let go of the connection. Harmless when done twice or after the end."""
        self._let_go(in_step=False)

    async def aclose(self) -> None:
        """As `abandon`."""
        self.abandon()

    async def _next(self, most: int) -> bytes:
        while True:
            if self._link is None:
                raise ValueError("the download is closed")
            server, connection, _size = self._link
            try:
                return await connection.read_some(min(most, self._left), server.limits.network_timeout)
            except EXCHANGE_ERRORS as error:
                self.abandon()
                failure = server.blame(error)
                failure.__cause__ = error
                await self._go_on(server, failure)
            except BaseException:
                self.abandon()
                raise

    async def _go_on(self, server: Server, failure: AiofsError) -> None:
        """Have another storage send what is left; raise `failure` if there is none."""
        place(failure, str(self._file))
        if self._again is None:
            raise failure
        self._failed.add(server.address)
        try:
            self._link = await self._again(self._at, self._left, self._failed)
        except (AiofsError, ValueError):  # none has it, or the client was closed meanwhile
            raise failure from failure.__cause__

    def _let_go(self, *, in_step: bool) -> None:
        link, self._link = self._link, None
        if link is not None:
            if in_step:
                link.connection.finish()
            link.server.give_back(link.connection)

    def _check(self, sender: Address | None) -> None:
        if self._crc32 is not None and self._crc32 != self._sum:
            why = ProtocolError(f"the checksum is {self._sum:08x}, not {self._crc32:08x}")
            reason = f"{sender} sent other bytes than those that the file's name is about"
            raise Damaged.of(str(self._file), reason) from why

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.chunk():
            yield data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.abandon()
