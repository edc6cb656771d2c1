"""The bytes of uploads and downloads, and the log in which a storage names its files."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Awaitable, Callable, Collection
from typing import TYPE_CHECKING, NamedTuple, Self

from aiofs.backends.fastdfs.client import errors, wire
from aiofs.backends.fastdfs.client.answers import logged_name
from aiofs.backends.fastdfs.client.connections import PIECE
from aiofs.backends.fastdfs.client.errors import EXCHANGE_ERRORS, BrokenError, ProtocolError, RefusedError
from aiofs.backends.fastdfs.client.ids import check_offset
from aiofs.errors import AiofsError, Damaged, place

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from aiofs.backends.fastdfs.client.answers import Address, LoggedName
    from aiofs.backends.fastdfs.client.connections import FastDFSConnection, Server
    from aiofs.backends.fastdfs.client.ids import FileId

Data = bytes | bytearray | memoryview
Source = Data | AsyncIterable[Data] | Callable[[], AsyncIterable[Data]]

_STEP = 1 << 18
_TRAILER = 8
_LONGEST_LINE = 1024


class Payload:
    """The bytes of an upload. Counts them, and computes their checksum, when they are sent.

    `data` is bytes, an asynchronous iterable of them, or a function that returns one and is called each time that the
    bytes are sent.
    """

    def __init__(self, data: Source, size: int | None = None) -> None:
        self._data = data
        self.can_be_sent: bool = True
        """Whether all bytes can be sent, for the first time or again."""
        if isinstance(data, (bytes, bytearray, memoryview)):
            length = memoryview(data).nbytes
            if size not in {None, length}:
                raise ValueError(f"{length} bytes where {size} were announced")
            size = length
        if size is None:
            raise TypeError("the size of an iterable must be given: storages want to know it before they get the bytes")
        self.size: int = check_offset(size)
        self.crc32: int = 0

    async def pieces(self) -> AsyncGenerator[memoryview]:
        """Yield the bytes.

        :raises ValueError: if they are more or fewer than announced.
        """
        self.crc32 = 0
        if isinstance(self._data, (bytes, bytearray, memoryview)):
            whole = memoryview(self._data).cast("B")
            for start in range(0, len(whole), _STEP):
                piece = whole[start : start + _STEP]
                self.crc32 = zlib.crc32(piece, self.crc32)
                yield piece
            return
        left = self.size
        self.can_be_sent = False  # if the iterable fails, another storage is no help
        async for data in self._data() if callable(self._data) else self._data:
            piece = memoryview(data).cast("B")
            left -= len(piece)
            if left < 0:
                raise ValueError(f"more bytes than the {self.size} that were announced")
            self.crc32 = zlib.crc32(piece, self.crc32)
            self.can_be_sent = callable(self._data)
            yield piece
            self.can_be_sent = False
        if left:
            raise ValueError(f"{left} bytes fewer than the {self.size} that were announced")
        self.can_be_sent = callable(self._data)


class Link(NamedTuple):
    """A connection from which the bytes of a file can be read, and how many they are."""

    server: Server
    connection: FastDFSConnection
    size: int


Again = Callable[[int, int, Collection["Address"]], Awaitable[Link]]
"""Asks another storage than the given ones for bytes: offset, number, and those storages."""


async def begin(server: Server, file: FileId, start: int, length: int) -> Link:
    """Ask a storage for `length` bytes from `start` on; 0 asks for all. Raises as `Server.call`."""
    connection, answer = await server.begin(wire.download(file, start, length), None, server.limits.network_timeout)
    if length and (answer.length > length or (answer.length < length and file.kind == "normal")):
        server.release(connection)
        error = ProtocolError(f"{answer.length} bytes of a file where {length} were asked for")
        raise server.failure_of(error) from error
    return Link(server, connection, answer.length)


class Download:
    """A range of a file. Holds a connection to its storage until the last byte is read, or until it is closed.

    Read it with `async for`, or with `chunk` until that returns b"". If the storage of a file that cannot change fails,
    the rest comes from another one.
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
            self._release(in_step=True)

    async def chunk(self, most: int = PIECE) -> bytes:
        """Return the next bytes, at most `most`; b"" only at the end.

        :raises Unreachable: if the connection breaks before the end.
        :raises TimedOut: if no byte comes for `network_timeout`.
        :raises Damaged: if all bytes of a normal file do not have the checksum in its id.
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
            self._release(in_step=True)
            self._check(sender)
        return data

    async def read(self) -> bytes:
        """Return the rest, and close. Raises as `chunk`."""
        async with self:
            return b"".join([data async for data in self])

    def abandon(self) -> None:
        """Release the connection. Harmless when done twice or after the end."""
        self._release(in_step=False)

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
                failure = server.failure_of(error)
                failure.__cause__ = error
                await self._go_on(server, failure)
            except BaseException:
                self.abandon()
                raise

    async def _go_on(self, server: Server, failure: AiofsError) -> None:
        """Let another storage send the rest; raise `failure` if none can."""
        place(failure, str(self._file))
        if self._again is None:
            raise failure
        self._failed.add(server.address)
        try:
            self._link = await self._again(self._at, self._left, self._failed)
        except (AiofsError, ValueError):  # no other has the file, or the client was closed
            raise failure from failure.__cause__

    def _release(self, *, in_step: bool) -> None:
        link, self._link = self._link, None
        if link is not None:
            if in_step:
                link.connection.finish()
            link.server.release(link.connection)

    def _check(self, sender: Address | None) -> None:
        if self._crc32 is not None and self._crc32 != self._sum:
            why = ProtocolError(f"the checksum is {self._sum:08x}, not {self._crc32:08x}")
            reason = f"{sender} sent bytes that do not have the checksum in the file's id"
            raise Damaged.of(str(self._file), reason) from why

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.chunk():
            yield data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.abandon()


async def logged_names(server: Server, group: str, path_index: int) -> AsyncIterator[LoggedName]:
    """Yield the log of one store path, oldest line first. Raises as `Server.call`, also if the log ends too early."""
    patience = server.limits.network_timeout
    try:
        connection, answer = await server.begin(wire.list_names(group, path_index), None, patience)
    except RefusedError as refused:
        raise errors.by_storage(refused, None) from refused
    try:
        if answer.length != wire.LISTING_LENGTH:
            raise ProtocolError(f"a log of names announces {answer.length} bytes")
        async for line in _lines(connection, patience):
            yield logged_name(line)
    except EXCHANGE_ERRORS as error:
        raise server.failure_of(error) from error
    finally:
        server.release(connection)


async def _lines(connection: FastDFSConnection, patience: float) -> AsyncIterator[bytes]:
    """Yield lines until the connection ends; the last eight bytes are the length of all lines."""
    rest = b""
    total = 0
    while data := await _more(connection, patience):
        total += len(data)
        rest += data
        *lines, begun = rest[:-_TRAILER].split(b"\n")  # the length may have such a byte too
        rest = begun + rest[-_TRAILER:]
        if len(begun) > _LONGEST_LINE:
            raise ProtocolError("a log of names has no lines")
        for line in lines:
            yield line
    announced = int.from_bytes(rest, signed=True)
    if len(rest) != _TRAILER or announced != total - _TRAILER:
        raise BrokenError(f"the log of names ended after {total} bytes")


async def _more(connection: FastDFSConnection, patience: float) -> bytes:
    """Return the next bytes; b"" if the server closed the connection without an error."""
    try:
        return await connection.read_some(PIECE, patience)
    except BrokenError as error:
        if error.__cause__ is None:
            return b""
        raise
