"""The contents of files that a transaction wrote and did not publish yet.

A content is a list of ranges: of bytes that the transaction wrote, and of versions of files in the store. It never
changes: a write makes a new content. So a savepoint is a copy of a table, a copied file is a reference to its source,
and a large file of which a little changed is the old version with a few new bytes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiofs.driver import Entry, ReadStream
from aiofs.errors import Conflict
from aiofs.kit import Spool
from aiofs.lifetimes import finish
from aiofs.powers import CopiesRanges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiofs.driver import Driver, Part, WriteSession

UNKNOWN = -1
"""The position of a stream after a read that was cancelled."""


class StagedBytes:
    """The bytes of all files that one transaction writes: a few MiB in memory, beyond that in a temporary file."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._turn = asyncio.Lock()

    async def keep(self, data: Part) -> StagedRange:
        """Keep `data`, and return where it is.

        :raises OSError: if the disk that holds temporary files is full.
        """
        async with self._turn:
            start = self._spool.size
            await self._spool.append(data)
            return StagedRange(start, len(data))

    async def read(self, start: int, size: int) -> bytes:
        """Return bytes that were kept."""
        async with self._turn:
            return await self._spool.read(start, size)

    def close(self) -> None:
        """Release the memory and the disk space. Harmless when done twice."""
        self._spool.close()


@dataclass(frozen=True, slots=True)
class StagedRange:
    """Bytes that the transaction wrote."""

    start: int
    size: int

    def cut(self, start: int, stop: int) -> StagedRange:
        """Return the bytes from `start` to `stop`."""
        return StagedRange(self.start + start, stop - start)

    def joined(self, other: Segment) -> Segment | None:
        """Return both as one range if `other` was written right after this; else `None`."""
        if isinstance(other, StagedRange) and other.start == self.start + self.size:
            return StagedRange(self.start, self.size + other.size)
        return None


@dataclass(frozen=True, slots=True)
class StoredRange:
    """Bytes of a version of a file in the store."""

    path: str
    version: str | None
    start: int
    size: int

    def cut(self, start: int, stop: int) -> StoredRange:
        """Return the bytes from `start` to `stop`."""
        return replace(self, start=self.start + start, size=stop - start)

    def joined(self, other: Segment) -> Segment | None:
        """Return both as one range if `other` follows in the same version; else `None`."""
        if isinstance(other, StoredRange) and other == replace(self, start=self.start + self.size, size=other.size):
            return replace(self, size=self.size + other.size)
        return None


Segment = StagedRange | StoredRange


@dataclass(frozen=True, slots=True)
class StagedContent:
    """All bytes of a file, as segments: ranges that follow each other."""

    segments: tuple[Segment, ...] = ()
    size: int = 0

    def range(self, start: int, stop: int) -> StagedContent:
        """Return the bytes from `start` to `stop`."""
        found: list[Segment] = []
        at = 0
        for segment in self.segments:
            low, high = max(start - at, 0), min(stop - at, segment.size)
            if low < high:
                found.append(segment.cut(low, high))
            at += segment.size
        return StagedContent(tuple(found), sum(segment.size for segment in found))

    def plus(self, more: Iterable[Segment]) -> StagedContent:
        """Return this content with `more` at its end."""
        segments = list(self.segments)
        for segment in more:
            joined = segments[-1].joined(segment) if segments else None
            if joined is not None:
                segments[-1] = joined
            elif segment.size:
                segments.append(segment)
        return StagedContent(tuple(segments), sum(segment.size for segment in segments))

    def over(self, offset: int, patch: Segment) -> StagedContent:
        """Return this content with `patch` in place of the bytes from `offset` on."""
        tail = self.range(offset + patch.size, self.size)
        return self.range(0, offset).plus([patch, *tail.segments])


class StagedReader:
    """Reads a content. The store's stream stays open between reads that follow each other."""

    def __init__(self, content: StagedContent, written: StagedBytes, store: Driver) -> None:
        self._content = content
        self._written = written
        self._store = store
        self._stream: ReadStream | None = None
        self._source: tuple[str, str | None] | None = None
        self._position = UNKNOWN  # of the next byte, which is in `_ahead` or comes from the stream next
        self._ahead = b""

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end.

        :raises Conflict: if a version of the store that it refers to is gone.
        """
        pieces = []
        for segment in self._content.range(offset, offset + size).segments:
            if isinstance(segment, StagedRange):
                pieces.append(await self._written.read(segment.start, segment.size))
            else:
                pieces += await self._read_stored(segment)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self, size: int, step: int) -> AsyncIterator[bytes]:
        """Yield all `size` bytes, up to `step` at a time."""
        for offset in range(0, size, step):
            yield await self.read(offset, step)

    async def aclose(self) -> None:
        """Close the store's stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await finish(stream.aclose())

    def abandon(self) -> None:
        """Close the store's stream without awaiting."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abandon()

    async def _read_stored(self, segment: StoredRange) -> list[bytes]:
        source = (segment.path, segment.version)
        if self._stream is None or self._source != source:
            await self.aclose()
            self._stream = await self._store.read(segment.path, segment.start, match=segment.version)
            self._source = source
            self._ahead = b""
        elif self._position != segment.start:
            self._position, self._ahead = UNKNOWN, b""
            await self._stream.seek(segment.start)
        pieces: list[bytes] = []
        left = segment.size
        while left:
            self._position = UNKNOWN  # a chunk that is cancelled may have moved the stream
            data = self._ahead or await self._stream.chunk(left)
            if not data:
                raise Conflict.of(segment.path, "the file was cut meanwhile")
            data, self._ahead = data[:left], data[left:]  # a store may give more than it is asked for
            pieces.append(data)
            left -= len(data)
            self._position = segment.start + segment.size - left
        return pieces


class StagedStream(ReadStream):
    """A stream of a content."""

    def __init__(self, entry: Entry, reader: StagedReader, start: int, stop: int | None) -> None:
        self.entry = entry
        self._reader = reader
        self._at = start
        self._stop = stop

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        size = self.entry.size or 0
        stop = size if self._stop is None else min(self._stop, size)
        data = await self._reader.read(self._at, max(min(want, stop - self._at), 0))
        self._at += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Continue at `start`."""
        self._at, self._stop = start, stop

    async def aclose(self) -> None:
        """Close what the reader holds."""
        await self._reader.aclose()

    def abandon(self) -> None:
        """Close what the reader holds, without awaiting."""
        self._reader.abandon()


async def write_content(
    content: StagedContent, session: WriteSession, reader: StagedReader, part_size: int, base: StoredRange
) -> None:
    """Write a content to a session that replaces the version `base`. The store itself copies unchanged parts."""
    copier = session if isinstance(session, CopiesRanges) and base.version else None
    offset = 0
    while offset < content.size:
        same = _unchanged(content, offset, part_size, base) if copier else None
        if copier and same:
            await copier.copy_range(same.start, same.start + same.size)
            offset += same.size
        else:
            part = await reader.read(offset, part_size)
            await session.write(part)
            offset += len(part)


def _unchanged(content: StagedContent, offset: int, part_size: int, base: StoredRange) -> StoredRange | None:
    """Return the range of whole parts of the replaced version (or up to its end) that is at `offset`; else `None`."""
    rest = content.range(offset, content.size)
    first = rest.segments[0]
    if not isinstance(first, StoredRange) or (first.path, first.version) != (base.path, base.version):
        return None
    size = first.size if first.size == rest.size else first.size // part_size * part_size
    return first.cut(0, size) if size else None
