"""Editor: mode r+. Changes are kept beside the old version; closing publishes both as one new version."""

from __future__ import annotations

import io
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from aiofs.errors import Damaged, Spoiled, place
from aiofs.files.handle import Handle, as_bytes, in_turn, whole_offset, whole_size
from aiofs.files.reading import SMALLEST_AHEAD, Cursor
from aiofs.files.writing import ZEROS, commit
from aiofs.kit import Spool
from aiofs.lifetimes import finish
from aiofs.powers import CopiesRanges

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from aiofs.driver import Driver, Entry, Lease, Part, ReadStream, WriteSession


@dataclass(slots=True)
class Patch:
    """Bytes `start` to `stop` of the file, kept in the spool from `kept` on."""

    start: int
    stop: int
    kept: int


_START = attrgetter("start")
_STOP = attrgetter("stop")


class Overlay:
    """A version of a file with patches over it. Only the patches take memory, and from some MiB on the disk."""

    def __init__(self, stream: ReadStream, size: int, window: int | None) -> None:
        self._cursor = Cursor(stream, window)
        self._spool = Spool()
        self._patches: list[Patch] = []
        self._base_size = size  # how much of the old version still shows
        self.size: int = self._base_size
        self.changed: bool = False

    async def write(self, offset: int, data: Part) -> None:
        """Put `data` at `offset`, with zeros before it where that is past the end."""
        kept = self._spool.size
        await self._spool.append(data)
        last = self._last_before(offset)
        stop = offset + len(data)
        if last is not None and last.stop == offset and last.kept + (last.stop - last.start) == kept:
            self._cut(offset, stop)
            last.stop = stop
        else:
            self._cut(offset, stop)
            self._patches.insert(bisect_left(self._patches, offset, key=_START), Patch(offset, stop, kept))
        self.size = max(self.size, stop)
        self.changed = True

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` of the new version, fewer only at its end."""
        stop = min(offset + size, self.size)
        pieces: list[bytes] = []
        while offset < stop:
            piece = await self._piece(offset, stop)
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def resize(self, size: int) -> None:
        """Cut at `size`, or grow to it with zeros."""
        if size != self.size:
            self._cut(size, max(size, self.size))
            self._base_size = min(self._base_size, size)
            self.size = size
            self.changed = True

    async def feed(self, session: WriteSession, part_size: int) -> None:
        """Write the whole new version to `session`; unchanged parts are copied by the store, if it can."""
        copier = session if isinstance(session, CopiesRanges) else None
        offset = 0
        while offset < self.size:
            same = self._unchanged_parts(offset, part_size) if copier else 0
            if copier and same:
                await copier.copy_range(offset, offset + same)
                offset += same
            else:
                part = await self.read(offset, part_size)
                await session.write(part)
                offset += len(part)

    def close(self) -> None:
        """Free the memory and disk space of the patches."""
        self._spool.close()

    def _unchanged_parts(self, offset: int, part_size: int) -> int:
        """Return how many bytes from `offset` the store can copy: unchanged parts, of which the last may be short."""
        index = bisect_right(self._patches, offset, key=_STOP)
        stop = min(self._base_size, self._patches[index].start if index < len(self._patches) else self.size)
        if stop == self.size:
            return max(0, stop - offset)
        return max(0, stop - offset) // part_size * part_size

    async def _piece(self, offset: int, stop: int) -> bytes:
        index = bisect_right(self._patches, offset, key=_STOP)
        patch = self._patches[index] if index < len(self._patches) else None
        if patch is not None and patch.start <= offset:
            return await self._spool.read(patch.kept + offset - patch.start, min(stop, patch.stop) - offset)
        if patch is not None:
            stop = min(stop, patch.start)
        if offset >= self._base_size:
            return ZEROS[: stop - offset]
        stop = min(stop, self._base_size)
        data = await self._cursor.chunk(offset, stop - offset)
        if not data:
            raise Damaged.of(self._cursor.entry.path, f"the bytes end after {offset} of {self._base_size}")
        return data[: stop - offset]

    def _last_before(self, offset: int) -> Patch | None:
        index = bisect_left(self._patches, offset, key=_START)
        return self._patches[index - 1] if index else None

    def _cut(self, start: int, stop: int) -> None:
        """Take `start` to `stop` out of all patches."""
        first = bisect_right(self._patches, start, key=_STOP)
        last = bisect_left(self._patches, stop, key=_START)
        remains: list[Patch] = []
        for patch in self._patches[first:last]:
            if patch.start < start:
                remains.append(Patch(patch.start, start, patch.kept))
            if patch.stop > stop:
                remains.append(Patch(stop, patch.stop, patch.kept + stop - patch.start))
        self._patches[first:last] = remains


class Editor(Handle):
    """A file open for reading and changing in place."""

    def __init__(self, name: str, mode: str, driver: Driver, lease: Lease, stream: ReadStream, *, size: int) -> None:
        super().__init__(name, mode)
        self._driver = driver
        self._lease: Lease | None = lease
        self._stream: ReadStream | None = stream
        self._entry: Entry | None = stream.entry
        self._overlay = Overlay(stream, size, driver.window)
        self._position = 0
        self._failed = False
        self._ahead = b""  # what was read beyond the last line, beginning at the position

    async def readable(self) -> bool:
        """Return `True`."""
        self._guard()
        return True

    async def writable(self) -> bool:
        """Return `True`."""
        self._guard()
        return True

    async def seekable(self) -> bool:
        """Return `True`."""
        self._guard()
        return True

    @in_turn
    async def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end; all that is left for -1 or `None`."""
        self._guard()
        left = max(0, self._overlay.size - self._position)
        want = left if size is None or size < 0 else min(size, left)
        data = await self._look(want)
        self._advance(len(data))
        return data

    @in_turn
    async def peek(self, size: int = 0) -> bytes:
        """Return bytes ahead without moving: at least one unless at the end."""
        self._guard()
        return await self._look(max(size, 1))

    @in_turn
    async def readline(self, size: int | None = -1) -> bytes:
        r"""Return the next line with its b"\n", cut at `size` bytes if that is given."""
        self._guard()
        limit = self._overlay.size if size is None or size < 0 else size
        searched = 0
        want = min(max(len(self._ahead), SMALLEST_AHEAD), limit)
        while True:
            data = await self._look(want)
            end = data.find(b"\n", searched, limit) + 1
            if end or len(data) < want or want >= limit:
                line = data[: end or limit]
                self._ahead = data
                self._advance(len(line))
                return line
            searched = len(data)
            want = min(want * 2, limit)

    @in_turn
    async def write(self, data: ReadableBuffer) -> int:
        """Write `data` at the position and return how many bytes that were."""
        self._guard()
        whole = as_bytes(data)
        if whole:
            self._ahead = b""
            self._failed = True
            await self._overlay.write(self._position, whole)
            self._failed = False
            self._position += len(whole)
        return len(whole)

    @in_turn
    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, without a request; zeros fill the gap if something is written past the end."""
        self._guard()
        target = whole_offset(self._position, self._overlay.size, offset, whence)
        if target != self._position:
            self._ahead = b""
        self._position = target
        return target

    async def tell(self) -> int:
        """Return the position."""
        self._guard()
        return self._position

    @in_turn
    async def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long (by default up to the position), with zeros where it grows."""
        self._guard()
        target = whole_size(self._position, size)
        self._ahead = b""
        self._overlay.resize(target)
        return target

    @in_turn
    async def close(self) -> None:
        """Publish the changes, if there are any. Harmless when done twice.

        :raises Conflict: if somebody changed the file meanwhile.
        :raises OSError: if it could not be published; the old bytes then stay and the lock is free.
        """
        if not self._closes():
            return
        try:
            if self._failed:
                raise Spoiled.of(self._name, "an earlier write failed, so nothing was published")
            if self._overlay.changed:
                await self._publish()
        except OSError as error:
            place(error, self._name)
            raise
        finally:
            self._overlay.close()
            await finish(self._release())

    @in_turn
    async def abort(self) -> None:
        """Close without publishing. Harmless when done twice."""
        if not self._closed:
            self._closed = True
            self._overlay.close()
            await finish(self._release())

    async def _publish(self) -> None:
        assert self._lease is not None  # noqa: S101 -- an open editor has one
        entry = self.entry
        metadata = entry.kept(self._driver.capabilities)
        self._session = await self._driver.begin(self._name, self._lease, match=entry.version, metadata=metadata)
        await self._overlay.feed(self._session, self._driver.part_size)
        self._entry = await commit(self._session, self._lease, self._name)

    async def _look(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end, without moving."""
        if size <= len(self._ahead):
            return self._ahead[:size]
        try:
            rest = await self._overlay.read(self._position + len(self._ahead), size - len(self._ahead))
        except OSError as error:
            place(error, self._name)
            raise
        return self._ahead + rest

    def _advance(self, size: int) -> None:
        self._position += size
        self._ahead = self._ahead[size:]
