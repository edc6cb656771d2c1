"""What a transaction keeps of a file before it is published: bytes of its own, and ranges of versions in the store.

A content never changes; who writes makes a new one. So a savepoint is a copy of a table, a copied file is a reference,
and a large file that changes a little is the old one with a few bytes over it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiofs.driver import CopiesRanges, Entry, ReadStream
from aiofs.errors import Conflict
from aiofs.kit import Spool
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiofs.driver import Driver, Part, WriteSession

UNKNOWN = -1
"""Where a stream is of which that cannot be told."""


class Vault:
    """The bytes of all files that one transaction writes: a few MiB in memory, beyond that in a temporary file."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._turn = asyncio.Lock()

    async def keep(self, data: Part) -> Own:
        """Keep `data`.

        :raises OSError: if the disk that holds temporary files is full.
        """
        async with self._turn:
            start = self._spool.size
            await self._spool.append(data)
            return Own(start, len(data))

    async def read(self, start: int, size: int) -> bytes:
        """Return what was kept there."""
        async with self._turn:
            return await self._spool.read(start, size)

    def close(self) -> None:
        """Give memory and disk space back. Harmless when done twice."""
        self._spool.close()


@dataclass(frozen=True, slots=True)
class Own:
    """Bytes in the vault."""

    start: int
    size: int

    def cut(self, start: int, stop: int) -> Own:
        """Return `start` to `stop` of it."""
        return Own(self.start + start, stop - start)

    def joined(self, other: Segment) -> Segment | None:
        """Return both as one, if `other` follows in the vault."""
        if isinstance(other, Own) and other.start == self.start + self.size:
            return Own(self.start, self.size + other.size)
        return None


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Bytes of a version of a file in the store."""

    path: str
    version: str | None
    start: int
    size: int

    def cut(self, start: int, stop: int) -> Borrowed:
        """Return `start` to `stop` of it."""
        return replace(self, start=self.start + start, size=stop - start)

    def joined(self, other: Segment) -> Segment | None:
        """Return both as one, if `other` follows in the same version."""
        if isinstance(other, Borrowed) and other == replace(self, start=self.start + self.size, size=other.size):
            return replace(self, size=self.size + other.size)
        return None


Segment = Own | Borrowed


@dataclass(frozen=True, slots=True)
class Content:
    """All bytes of a file, as segments."""

    segments: tuple[Segment, ...] = ()
    size: int = 0

    def range(self, start: int, stop: int) -> Content:
        """Return `start` to `stop` of it."""
        found: list[Segment] = []
        at = 0
        for segment in self.segments:
            low, high = max(start - at, 0), min(stop - at, segment.size)
            if low < high:
                found.append(segment.cut(low, high))
            at += segment.size
        return Content(tuple(found), sum(segment.size for segment in found))

    def plus(self, more: Iterable[Segment]) -> Content:
        """Return it with `more` behind it."""
        segments = list(self.segments)
        for segment in more:
            joined = segments[-1].joined(segment) if segments else None
            if joined is not None:
                segments[-1] = joined
            elif segment.size:
                segments.append(segment)
        return Content(tuple(segments), sum(segment.size for segment in segments))

    def over(self, offset: int, patch: Segment) -> Content:
        """Return it with `patch` in place of what is at `offset`."""
        tail = self.range(offset + patch.size, self.size)
        return self.range(0, offset).plus([patch, *tail.segments])


class ContentReader:
    """Reads a content, keeping the store's stream open between reads that follow each other."""

    def __init__(self, content: Content, vault: Vault, store: Driver) -> None:
        self._content = content
        self._vault = vault
        self._store = store
        self._stream: ReadStream | None = None
        self._source: tuple[str, str | None] | None = None
        self._position = UNKNOWN  # of what is taken from the stream next, or is in `_ahead`
        self._ahead = b""

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end.

        :raises Conflict: if a version that bytes were borrowed from is gone.
        """
        pieces = []
        for segment in self._content.range(offset, offset + size).segments:
            if isinstance(segment, Own):
                pieces.append(await self._vault.read(segment.start, segment.size))
            else:
                pieces += await self._borrow(segment)
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
        """Let go of the store's stream without awaiting."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abandon()

    async def _borrow(self, segment: Borrowed) -> list[bytes]:
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


class ContentStream(ReadStream):
    """A content, read as any file."""

    def __init__(self, entry: Entry, reader: ContentReader, start: int, stop: int | None) -> None:
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
        """Go on at `start`."""
        self._at, self._stop = start, stop

    async def aclose(self) -> None:
        """Close what the reader holds."""
        await self._reader.aclose()

    def abandon(self) -> None:
        """Let go of what the reader holds."""
        self._reader.abandon()


async def feed(content: Content, session: WriteSession, reader: ContentReader, part_size: int, base: Borrowed) -> None:
    """Hand a content to a session that replaces `base`, letting the store take what it has from there."""
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


def _unchanged(content: Content, offset: int, part_size: int, base: Borrowed) -> Borrowed | None:
    """Return what is whole parts of the replaced version (or its end) from `offset` on."""
    rest = content.range(offset, content.size)
    first = rest.segments[0]
    if not isinstance(first, Borrowed) or (first.path, first.version) != (base.path, base.version):
        return None
    size = first.size if first.size == rest.size else first.size // part_size * part_size
    return first.cut(0, size) if size else None
