"""Bytes on their way from a storage."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Self

from aiofs.backends.fastdfs import wire
from aiofs.backends.fastdfs.answers import ProtocolError
from aiofs.backends.fastdfs.connection import PIECE
from aiofs.backends.fastdfs.pool import EXCHANGE_ERRORS
from aiofs.errors import Damaged, place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs.connection import Connection
    from aiofs.backends.fastdfs.ids import FileId
    from aiofs.backends.fastdfs.pool import Server


class Download:
    """A range of a file. Holds a connection to its storage until the last byte is read, or until it is closed.

    Read it with `async for`, or with `chunk` until that returns b"".
    """

    def __init__(
        self, file: FileId, size: int = 0, crc32: int | None = None, link: tuple[Server, Connection] | None = None
    ) -> None:
        self.size = size
        """How many bytes there are."""
        self._file = file
        self._left = size
        self._crc32 = crc32
        self._sum = 0
        self._link = link

    @classmethod
    async def begin(cls, server: Server, file: FileId, start: int, length: int) -> Self:
        """Ask for `length` bytes from `start` on; length 0 asks for all there are. Raises as `Server.call`."""
        connection, answer = await server.begin(wire.download(file, start, length), None, server.limits.network_timeout)
        if length and (answer.length > length or (answer.length < length and file.kind == "normal")):
            server.give_back(connection)
            error = ProtocolError(f"{answer.length} bytes of a file where {length} were asked for")
            raise server.blame(error) from error
        whole = start == 0 and answer.length == file.size
        download = cls(file, answer.length, file.crc32 if whole else None, (server, connection))
        if not answer.length:
            download._let_go(in_step=True)
        return download

    async def chunk(self, most: int = PIECE) -> bytes:
        """Return the next bytes, at most so many; b"" only at the end.

        :raises Unreachable: if the connection breaks before the end.
        :raises TimedOut: if nothing comes for too long.
        :raises Damaged: if the whole of a normal file does not have the checksum that its name tells.
        """
        if self._link is None:
            if self._left:
                raise ValueError("the download is closed")
            return b""
        server, connection = self._link
        try:
            data = await connection.read_some(min(most, self._left), server.limits.network_timeout)
        except EXCHANGE_ERRORS as error:
            self.abandon()
            raise place(server.blame(error), str(self._file)) from error
        except BaseException:
            self.abandon()
            raise
        self._left -= len(data)
        if self._crc32 is not None:
            self._sum = zlib.crc32(data, self._sum)
        if not self._left:
            self._let_go(in_step=True)
            self._check()
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

    def _let_go(self, *, in_step: bool) -> None:
        link, self._link = self._link, None
        if link is not None:
            server, connection = link
            if in_step:
                connection.finish()
            server.give_back(connection)

    def _check(self) -> None:
        if self._crc32 is not None and self._crc32 != self._sum:
            why = ProtocolError(f"the checksum is {self._sum:08x}, not {self._crc32:08x}")
            raise Damaged.of(str(self._file), "the bytes are not those that the file's name is about") from why

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.chunk():
            yield data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.abandon()
