"""Reading: one file of the storages, from open to close."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiofs.driver import MIB, ReadStream
from aiofs.errors import AiofsError, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.backends.fastdfs.client.client import FastDFSClient
    from aiofs.backends.fastdfs.client.transfers import Download
    from aiofs.driver import Entry

_AT_ONCE = MIB
"""A range that is no longer is read at once, so that readers who pause do not keep connections busy."""


@contextmanager
def about(path: str) -> Iterator[None]:
    """Let errors of the client, which knows ids, name the path."""
    try:
        yield
    except AiofsError as error:
        error.filename = path
        raise


class FileStream(ReadStream):
    """The bytes of one id, whose size the entry tells."""

    def __init__(self, client: FastDFSClient, file_id: str, entry: Entry) -> None:
        self.entry = entry
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
        await self._ask()

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        with about(self.entry.path):
            if not self._data and self._download is None and self._start < self._stop:
                try:
                    await self._ask()
                except NotFound as error:
                    raise Conflict.of(None, "the file was replaced or removed while it was read") from error
            if self._download is not None:
                data = await self._download.chunk()
            else:
                data = bytes(self._data[: max(want, 1)])
                self._data = self._data[len(data) :]
            return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on at `start`."""
        self.abandon()
        self._start = start
        self._stop = self._size if stop is None else min(stop, self._size)

    async def aclose(self) -> None:
        """Let go of the connection."""
        self.abandon()

    def abandon(self) -> None:
        """Let go of the connection."""
        download, self._download = self._download, None
        self._data = memoryview(b"")
        self._start = self._stop
        if download is not None:
            download.abandon()

    async def _ask(self) -> None:
        """Ask for the range, once."""
        start, self._start = self._start, self._stop
        download = await self._client.download(self._id, start, self._stop, size=self._size)
        if download.size > _AT_ONCE:
            self._download = download
        else:
            self._data = memoryview(await download.read())
