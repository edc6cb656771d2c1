"""Writer: w, x and a. Bytes gather into parts, parts go to a session, closing publishes it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from aiofs.errors import Damaged, Spoiled, place
from aiofs.files.handle import Handle, as_bytes, in_turn, whole_offset, whole_size
from aiofs.kit import check_lease
from aiofs.lifetimes import finish
from aiofs.powers import CopiesRanges, KeepsBase, RewritesParts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from _typeshed import ReadableBuffer

    from aiofs.driver import Driver, Entry, Lease, Part, PartialSession, WriteSession

ZEROS = bytes(1 << 16)


class Parts:
    """Feeds a session whole parts, and knows what of them can still be changed."""

    def __init__(self, session: WriteSession, part_size: int) -> None:
        self._session = session
        self._part_size = part_size
        self._tail = bytearray()
        self._sent = 0

    @property
    def size(self) -> int:
        """How many bytes there are so far."""
        return self._sent + len(self._tail)

    def take(self, offset: int, data: bytes) -> bool:
        """Put `data` at `offset` if that is the end and fills no part; return whether it was done."""
        tail = self._tail
        if offset != self._sent + len(tail) or len(tail) + len(data) >= self._part_size:
            return False
        tail += data
        return True

    async def append(self, data: Part) -> None:
        """Put `data` at the end."""
        tail = self._tail
        if len(tail) + len(data) < self._part_size:
            tail += data
            return
        view = memoryview(data)
        if tail:
            missing = self._part_size - len(tail)
            tail += view[:missing]
            view = view[missing:]
            await self._hand_over()
        immutable = type(data) is bytes
        while len(view) >= self._part_size:
            part = view[: self._part_size]
            await self._send(part if immutable else bytes(part))
            view = view[self._part_size :]
        self._tail += view

    async def put(self, offset: int, data: Part) -> None:
        """Write `data` at `offset`, with zeros before it where that is past the end.

        :raises io.UnsupportedOperation: if bytes would change that the session cannot change any more.
        """
        while self.size < offset:
            await self.append(ZEROS[: offset - self.size])
        view = memoryview(data)
        if offset < self._sent:
            old = view[: self._sent - offset]
            await self._rewriting("seek back to", offset).rewrite(offset, bytes(old))
            view = view[len(old) :]
            offset += len(old)
        inside = view[: self.size - offset]
        self._tail[offset - self._sent : offset - self._sent + len(inside)] = inside
        await self.append(bytes(view[len(inside) :]))

    async def resize(self, size: int) -> None:
        """Cut at `size`, or grow to it with zeros.

        :raises io.UnsupportedOperation: if bytes would go that the session cannot change any more.
        """
        if size < self._sent:
            await self._rewriting("truncate to", size).resize(size)
            self._sent = size
        del self._tail[size - self._sent :]
        while self.size < size:
            await self.append(ZEROS[: size - self.size])

    async def copy_base(self, base: Base) -> None:
        """Put the whole version that the session replaces before all else; the store copies it if it can."""
        if isinstance(self._session, KeepsBase):
            await self._session.keep_base()
            self._sent = base.size
            return
        if isinstance(self._session, CopiesRanges) and base.size >= self._part_size:
            whole = base.size - base.size % self._part_size
            await self._session.copy_range(0, whole)
            self._sent = whole
        async for data in base.bytes_from(self._sent):
            await self.append(data)

    async def keep(self, session: PartialSession) -> None:
        """Have a partial write keep all that there is so far."""
        if await session.keep(bytes(self._tail)):
            self._sent += len(self._tail)
            self._tail = bytearray()

    def skip(self, size: int) -> None:
        """Count `size` bytes that the session has from before."""
        self._sent = size

    async def finish(self) -> None:
        """Hand over the last, short part."""
        if self._tail:
            await self._hand_over()

    async def _hand_over(self) -> None:
        part, self._tail = self._tail, bytearray()
        await self._send(part)

    async def _send(self, part: Part) -> None:
        await self._session.write(part)
        self._sent += len(part)

    def _rewriting(self, what: str, offset: int) -> RewritesParts:
        if isinstance(self._session, RewritesParts):
            return self._session
        raise io.UnsupportedOperation(
            f"{what} {offset}: the first {self._sent} bytes were already sent to the store; write the file in "
            "order, or close it and change it with mode 'r+'"
        )


class Base:
    """The version that is appended to."""

    def __init__(self, driver: Driver, entry: Entry, size: int) -> None:
        self._driver = driver
        self.entry = entry
        self.size = size

    async def bytes_from(self, start: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to the end.

        :raises Conflict: if this version is gone.
        :raises Damaged: if bytes are missing.
        """
        if start == self.size:
            return
        stream = await self._driver.read(self.entry.path, start, match=self.entry.version)
        try:
            while data := await stream.chunk(self._driver.part_size):
                start += len(data)
                yield data
        finally:
            await finish(stream.aclose())
        if start != self.size:
            raise Damaged.of(self.entry.path, f"the bytes end after {start} of {self.size}")


class Writer(Handle):
    """A file open for writing from scratch (w, x) or at its end (a)."""

    def __init__(
        self,
        name: str,
        mode: str,
        lease: Lease,
        session: WriteSession,
        part_size: int,
        *,
        base: Base | None = None,
        appends: bool = False,
    ) -> None:
        super().__init__(name, mode)
        self._lease: Lease | None = lease
        self._session: WriteSession | None = session
        self._base = base
        self._parts = Parts(session, part_size)
        self._appends = appends
        self._base_size = base.size if base else 0
        self._untouched = base is not None
        self._position = self._base_size
        self._failure: BaseException | None = None
        self._entry: Entry | None = None

    @property
    def seeks_anywhere(self) -> bool:
        """Whether no seek fails: the store can change parts that it was given, or all bytes go to the end anyway."""
        return self._appends or isinstance(self._session, RewritesParts)

    async def writable(self) -> bool:
        """Return `True`."""
        self._guard()
        return True

    async def seekable(self) -> bool:
        """Return `True`."""
        self._guard()
        return True

    async def write(self, data: ReadableBuffer) -> int:
        """Write `data` at the position (in mode `a`, at the end) and return how many bytes that were."""
        if self._closed:
            self._guard()
        if type(data) is bytes and self._take(data):
            return len(data)
        return await self._write(as_bytes(data))

    async def read(self, size: int | None = -1) -> bytes:
        """Raise `io.UnsupportedOperation`: the file is open for writing."""
        self._cannot("read", size)

    @in_turn
    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; zeros fill the gap if something is written past the end."""
        self._guard()
        self._position = whole_offset(self._position, self._size(), offset, whence)
        return self._position

    async def tell(self) -> int:
        """Return the position."""
        self._guard()
        return self._position

    @in_turn
    async def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long (by default up to the position), with zeros where it grows."""
        self._guard()
        target = whole_size(self._position, size)
        if target != self._size():
            if self._untouched:
                await self._changing(self._begin())
            await self._changing(self._parts.resize(target))
        return target

    @in_turn
    async def close(self) -> None:
        """Publish what was written. Harmless when done twice.

        :raises OSError: if it could not be published; the old bytes then stay and the lock is free.
        """
        if not self._closes():
            return
        try:
            if not self._untouched or self._failure is not None:
                await self._publish()
            elif self._base is not None:
                self._entry = self._base.entry
        finally:
            await finish(self._release())

    @in_turn
    async def abort(self) -> None:
        """Close without publishing. Harmless when done twice."""
        if not self._closed:
            self._closed = True
            await finish(self._release())

    def _take(self, data: bytes) -> bool:
        """Add a few bytes at the end without awaiting, if that is possible; return whether it was."""
        if self._untouched or self.turns.locked() or not self._parts.take(self._position, data):
            return False
        self._position += len(data)
        return True

    @in_turn
    async def _write(self, whole: bytes | bytearray | memoryview) -> int:
        self._guard()
        if self._untouched and whole:
            await self._changing(self._begin())
        parts = self._parts
        if self._appends or self._position == parts.size:
            await self._changing(parts.append(whole))
            self._position = parts.size if whole else self._position
        elif whole:
            await self._changing(parts.put(self._position, whole))
            self._position += len(whole)
        return len(whole)

    def _size(self) -> int:
        return self._base_size if self._untouched else self._parts.size

    async def _begin(self) -> None:
        """Copy the old bytes of a file in mode a, before the first bytes are appended."""
        assert self._base is not None  # noqa: S101 -- an untouched file has one
        await self._parts.copy_base(self._base)
        self._untouched = False

    async def _changing(self, change: Awaitable[None]) -> None:
        """Await a change. If it fails, the session has only a part of the bytes, so nothing may be published."""
        try:
            await change
        except io.UnsupportedOperation:
            raise  # refused before anything was changed
        except BaseException as error:
            self._failure = error
            if isinstance(error, OSError):
                place(error, self._name)
            raise

    async def _publish(self) -> None:
        if self._failure is not None:
            reason = "an earlier write failed, so nothing was published"
            raise Spoiled.of(self._name, reason) from self._failure
        try:
            await self._parts.finish()
            self._entry = await commit(self._session, self._lease, self._name)
        except OSError as error:
            place(error, self._name)
            raise


async def commit(session: WriteSession | None, lease: Lease | None, name: str) -> Entry:
    """Publish a session, unless its lease is known to be lost.

    :raises Conflict: if it is, or if the store finds that somebody else changed the file.
    """
    assert session is not None  # noqa: S101 -- an open writer has both
    if lease is not None:
        check_lease(lease, name)
    return await session.commit()
