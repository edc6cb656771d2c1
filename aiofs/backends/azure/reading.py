"""Reading a blob in ranges, each requested while the last is read; its old versions; and the list of its blocks."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from aiofs.backends.azure.client import PART
from aiofs.backends.azure.errors import InvalidRange
from aiofs.backends.azure.listing import pages
from aiofs.backends.azure.properties import check_replaceable, entry_of, marks_folder, matching
from aiofs.driver import MIB, ReadStream
from aiofs.errors import Conflict, Damaged, NotFound
from aiofs.kit import whole_part

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import BlobClient, StorageStreamDownloader

    from aiofs.backends.azure.client import Container
    from aiofs.driver import Entry

SMALLEST_RANGE = 1 * MIB
_AS_STORED: dict[str, Any] = {"max_concurrency": 1, "decompress": False}  # the SDK undoes a Content-Encoding otherwise
ROUNDS = 4
"""How often something is tried again because somebody came between."""
ID_LENGTH = 32
SHORTEST_ID = 20
"""Shorter ids have no room for the random text that makes them ours."""
SNAPSHOT = "snapshot:"
"""The ids of snapshots begin with it. Its time follows; the id of a version is only a time."""
CURRENT = "current"
"""The id of the blob as it is now, if the account keeps no versions."""
_PAGE = 1000
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


class BlobVersion(NamedTuple):
    """A blob, or an old version of it, whose `snapshot` or `version_id` is `kept`."""

    container: Container
    path: str
    kept: Mapping[str, str]

    @property
    def blob(self) -> BlobClient:
        """This loop's client of it."""
        return self.container.blob(self.path, **self.kept)


class AzureStream(ReadStream):
    """The bytes of one version; every range after the first is requested with its ETag."""

    def __init__(
        self, source: BlobVersion, properties: BlobProperties, data: bytes, start: int, stop: int | None
    ) -> None:
        self.entry: Entry = entry_of(source.path, properties)
        self._properties = properties
        self._source = source
        self._size = self.entry.size or 0
        self._data = data
        self._offset = 0  # how much of the data was returned
        self._position = start + len(data)  # where the next range begins
        self._stop = self._size if stop is None else min(stop, self._size)
        self._next: asyncio.Task[bytes] | None = None

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        want = max(want, 1)
        if self._offset == len(self._data):
            self._data = await self._range(want)
            self._offset = 0
        data = self._data
        start, self._offset = self._offset, min(self._offset + want, len(data))
        return data if start == 0 and self._offset == len(data) else data[start : self._offset]

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Continue at `start`. The next `chunk` makes the request."""
        await self.aclose()
        self._data, self._offset = b"", 0
        self._position = start
        self._stop = self._size if stop is None else min(stop, self._size)

    def check_replaceable(self) -> None:
        """Raise `Unsupported` for an append blob or a page blob."""
        check_replaceable(self.entry.path, self._properties)

    async def aclose(self) -> None:
        """Cancel the request under way."""
        task, self._next = self._next, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # asyncio prints failures that nobody retrieves

    def abandon(self) -> None:
        """Cancel the request under way without waiting."""
        if self._next is not None and not self._next.get_loop().is_closed():
            self._next.get_loop().call_soon_threadsafe(self._next.cancel)

    async def _range(self, want: int) -> bytes:
        task, self._next = self._next, None
        count = min(max(want, SMALLEST_RANGE), PART, self._stop - self._position)
        if task is not None:
            data = await task
        elif count > 0:
            data = await self._fetch(self._position, count)
        else:
            return b""
        self._position += len(data)
        if len(data) == PART and self._position < self._stop:  # the next range is likely to be read too
            rest = min(PART, self._stop - self._position)
            self._next = asyncio.create_task(self._fetch(self._position, rest))
        return data

    async def _fetch(self, start: int, count: int) -> bytes:
        container, path, _ = self._source
        blob = self._source.blob

        async def get() -> bytes:
            answer = await blob.download_blob(start, count, **_AS_STORED, **matching(self.entry.version))
            return await _bytes_of(answer)

        try:
            data = await container.ask(path, get)
        except (Conflict, NotFound) as error:
            raise Conflict.of(path, "the file was changed or removed while it was being read") from error
        if len(data) != count:
            raise Damaged.of(path, f"the bytes end after {start + len(data)} of {self._size}")
        return data


async def open_stream(
    container: Container, path: str, start: int, stop: int | None, match: str | None, **kept: str
) -> ReadStream:
    """Open a blob for reading. The first request for its bytes brings its size and version too.

    `kept` is the `snapshot` or `version_id` of an old version.
    """
    count = PART if stop is None else min(PART, stop - start)
    source = BlobVersion(container, path, kept)
    if count <= 0:
        return await _without_bytes(source, start, match)
    blob = source.blob

    async def get() -> tuple[BlobProperties, bytes]:
        answer = await blob.download_blob(start, count, **_AS_STORED, **matching(match))
        data = await _bytes_of(answer)
        properties = answer.properties
        if properties.content_range:
            properties.size = int(properties.content_range.rpartition("/")[2])
        return properties, data

    for _ in range(ROUNDS):
        try:
            properties, data = await container.ask(path, get)
            break
        except InvalidRange:
            empty = await _without_bytes(source, start, match)
            if not empty.entry.size or empty.entry.size <= start:
                return empty  # else a longer file has just replaced it
    else:
        raise Conflict.of(path, "the file was replaced at each attempt to read it")
    stream = AzureStream(source, properties, data, start, stop)
    if len(data) != min(count, max(0, properties.size - start)):
        raise Damaged.of(path, f"the bytes end after {start + len(data)} of {properties.size}")
    return stream


async def _bytes_of(answer: StorageStreamDownloader[bytes]) -> bytes:
    """Return the bytes of an answer; the SDK's `readall` copies them twice."""
    pieces: list[bytes] = [piece async for piece in answer.chunks()]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _without_bytes(source: BlobVersion, start: int, match: str | None) -> ReadStream:
    """Open a blob of which there are no bytes to request: the blob or the range is empty."""
    blob = source.blob
    ask = source.container.ask
    properties = await ask(source.path, lambda: blob.get_blob_properties(**matching(match)))
    return AzureStream(source, properties, b"", start, start)


class Piece(NamedTuple):
    """Bytes `start` to `stop`: a whole block, or bytes that must be uploaded again if `block` is `None`."""

    start: int
    stop: int
    block: str | None


class BaseBlocks:
    """The blocks of the version that is being replaced, which its successor can keep.

    All ids in a blob have the same length, so new ids must be as long as those of kept blocks.
    """

    def __init__(self, container: Container, path: str, version: str, blocks: list[Piece]) -> None:
        self._container = container
        self._path = path
        self._version = version
        lengths = {len(piece.block.encode()) for piece in blocks if piece.block is not None}
        self.id_length: int = lengths.pop() if len(lengths) == 1 else ID_LENGTH
        self._blocks = {piece.start: piece for piece in blocks}
        if lengths or self.id_length < SHORTEST_ID:
            self.id_length = ID_LENGTH
            self._blocks = {}

    @classmethod
    async def of(cls, container: Container, path: str, version: str) -> BaseBlocks:
        """Return the blocks of a version."""
        blob = container.blob(path)
        try:
            committed, _ = await container.ask(path, lambda: blob.get_block_list("committed"))
        except NotFound as error:
            raise Conflict.of(path, "the file was removed meanwhile") from error
        pieces: list[Piece] = []
        end = 0
        for block in committed:
            start, end = end, end + block.size
            pieces.append(Piece(start, end, block.id))
        return cls(container, path, version, pieces)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield whole blocks from `start` to `stop`, and the bytes between them in parts."""
        yielded = start
        while start < stop:
            block = self._blocks.get(start)
            if block is not None and block.stop <= stop:
                yield from _cut(yielded, start)
                yield block
                start = yielded = block.stop
            else:
                start = min((other for other in self._blocks if other > start), default=stop)
                start = min(start, stop)
        yield from _cut(yielded, stop)

    async def bytes_of(self, piece: Piece) -> bytes:
        """Return the bytes of a piece."""
        stream = await open_stream(self._container, self._path, piece.start, piece.stop, self._version)
        try:
            return await whole_part(stream, PART)
        finally:
            await stream.aclose()


async def block_ids(container: Container, path: str) -> tuple[list[str], list[str]]:
    """Return the ids of a blob's blocks, in order, and those of staged blocks; empty lists if there is no blob."""
    blob = container.blob(path)
    try:
        committed, staged = await container.ask(path, lambda: blob.get_block_list("all"))
    except NotFound:
        return [], []
    return [block.id for block in committed], [block.id for block in staged]


def _cut(start: int, stop: int) -> Iterator[Piece]:
    for offset in range(start, stop, PART):
        yield Piece(offset, min(offset + PART, stop), None)


class AzureHistory:
    """The power to list and read old versions."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        """Yield the blob as it is now, and then its old versions, the newest first.

        :raises NotFound: if there is neither the blob nor a version of it.
        """
        found = [blob async for blob in self._all(path)]
        if not found:
            raise NotFound.of(path)
        for blob in sorted(found, key=_time, reverse=True):
            if not marks_folder(blob.size, blob.metadata):
                number = SNAPSHOT + blob.snapshot if blob.snapshot else blob.version_id
                yield replace(entry_of(path, blob), version_id=number or CURRENT)

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open an old version for reading."""
        kept = kept_as(path, version_id)
        try:
            stream = await open_stream(self._container, path, start, stop, None, **kept)
        except NotFound as error:
            raise _missing(path, version_id) from error
        stream.entry = replace(stream.entry, version_id=version_id)
        return stream

    async def _all(self, path: str) -> AsyncGenerator[BlobProperties]:
        """Yield the blob and its versions. The service lists them before all longer names."""
        listed = pages(self._container, path, None, _PAGE, ["snapshots", "versions", "metadata"])
        async with aclosing(listed):
            async for page in listed:
                for blob in page:
                    if blob.name != path:
                        return
                    yield blob


def kept_as(path: str, version_id: str) -> dict[str, str]:
    """Return the `snapshot` or `version_id` for an id from `history`; an empty dict for the blob as it is now.

    :raises NotFound: if this cannot be such an id.
    """
    if version_id == CURRENT:
        return {}
    time = version_id.removeprefix(SNAPSHOT)
    if not _TIME.fullmatch(time):
        raise _missing(path, version_id)
    return {"version_id": time} if time == version_id else {"snapshot": time}


def _missing(path: str, version_id: str) -> NotFound:
    return NotFound.of(path, f"there is no version {version_id!r} of this file")


def _time(blob: BlobProperties) -> str:
    """Return the key to sort versions by. A blob without a version is the newest."""
    return str(blob.snapshot or blob.version_id or "~")
