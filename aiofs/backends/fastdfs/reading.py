"""Reading: files by name or by id, from open to close."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.index import entry_of
from aiofs.driver import MIB, Entry, ReadStream
from aiofs.errors import AiofsError, Conflict, Damaged, NotFound, Unavailable
from aiofs.kit import check_match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.backends.fastdfs.client.client import FastDFSClient
    from aiofs.backends.fastdfs.client.ids import FileId
    from aiofs.backends.fastdfs.client.transfers import Download
    from aiofs.backends.fastdfs.index import NamedFiles, Record

_AT_ONCE = MIB
"""A range that is no longer is read as a whole, so that a reader who pauses does not keep a connection busy."""


@contextmanager
def about(path: str) -> Iterator[None]:
    """Let errors of the client, which only knows ids, name the path."""
    try:
        yield
    except AiofsError as error:
        error.filename = path
        raise


async def read_named(files: NamedFiles, path: str, start: int, stop: int | None, match: str | None) -> ReadStream:
    """Open the file that a name leads to.

    :raises Damaged: if the file is not in the storages.
    """
    record = await files.index.find(path)
    while True:
        check_match(path, match, str(record.file))
        try:
            return await open_record(files.client, path, record, start, stop)
        except (NotFound, Unavailable) as error:
            newer = await files.index.find(path)  # the file may have been replaced between the two requests
            if newer.file == record.file:
                if isinstance(error, Unavailable):
                    raise
                reason = f"the index leads to {record.file}, which is not there: {error.strerror}"
                raise Damaged.of(path, reason) from error
            record = newer


async def open_record(
    client: FastDFSClient, path: str, record: Record, start: int = 0, stop: int | None = None
) -> ReadStream:
    """Open the file of a record.

    :raises NotFound: if the file is not in the storages.
    """
    stream = FastDFSStream(client, str(record.file), record.entry(path))
    with about(path):
        await stream.open(start, stop)
    return stream


async def read_id(client: FastDFSClient, file: FileId, start: int, stop: int | None, match: str | None) -> ReadStream:
    """Open a file by its id, without asking for its size where the id tells that the range lies within it."""
    path = str(file)
    known = file.size is not None and start < (file.size if stop is None else min(stop, file.size))
    entry = entry_of(path, file) if known else await describe(client, file)
    check_match(path, match, entry.version)
    stream = FastDFSStream(client, path, entry)
    await stream.open(start, stop)
    return stream


async def describe(client: FastDFSClient, file: FileId) -> Entry:
    """Ask the storages for a file's size and time. An appender has no version of its own: size and time stand for it.

    :raises NotFound: if there is no such file.
    """
    info = await client.info(str(file))
    version = str(file) if file.kind == "normal" else f"{info.size} bytes at {info.modified}"
    return Entry(str(file), info.size, datetime.fromtimestamp(info.modified, UTC), version)


class FastDFSStream(ReadStream):
    """The bytes of one id. The entry tells the size."""

    def __init__(self, client: FastDFSClient, file_id: str, entry: Entry) -> None:
        self.entry: Entry = entry
        self._client = client
        self._id = file_id
        self._size = entry.size or 0
        self._start = 0
        self._stop = 0
        self._data = memoryview(b"")
        self._download: Download | None = None

    async def open(self, start: int, stop: int | None) -> None:
        """Make the first request.

        :raises NotFound: if the file is gone.
        """
        await self.seek(start, stop)
        await self._request()

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        with about(self.entry.path):
            if not self._data and self._download is None and self._start < self._stop:
                try:
                    await self._request()
                except NotFound as error:
                    raise Conflict.of(None, "the file was replaced or removed while it was read") from error
            if self._download is not None:
                return await self._download.chunk()
            data = bytes(self._data[: max(want, 1)])
            self._data = self._data[len(data) :]
            return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Continue at `start`, with a request that the next `chunk` makes."""
        self.abandon()
        self._start = start
        self._stop = self._size if stop is None else min(stop, self._size)

    async def aclose(self) -> None:
        """Release the connection."""
        self.abandon()

    def abandon(self) -> None:
        """Release the connection."""
        download, self._download = self._download, None
        self._data = memoryview(b"")
        self._start = self._stop
        if download is not None:
            download.abandon()

    async def _request(self) -> None:
        start, self._start = self._start, self._stop
        download = await self._client.download(self._id, start, self._stop, size=self._size)
        if download.size > _AT_ONCE:
            self._download = download
        else:
            self._data = memoryview(await download.read())
