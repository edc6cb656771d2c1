"""Reading and writing the open files of the driver."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.facts import version_of
from aiofs.backends.osfiles.locking import FOUND
from aiofs.backends.osfiles.names import FORMAT
from aiofs.driver import ABSENT, Entry, Part, ReadStream, WriteSession
from aiofs.errors import Conflict
from aiofs.localio import pread
from aiofs.threads import hop

if TYPE_CHECKING:
    from aiofs.backends.osfiles.staging import Stage

COPY_STEP = 1 << 24


class OSStream(ReadStream):
    """An open descriptor: its version stays, whatever takes its name."""

    def __init__(self, entry: Entry, fd: int, start: int, stop: int | None, *, first: bytes, local: bool) -> None:
        self.entry = entry
        self.fd: int = fd
        self._start = start
        self._stop = stop
        self._first = first  # read with opening, in the same hop
        self._local = local  # closing waits for nobody

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        if self._stop is not None:
            want = min(want, self._stop - self._start)
        first, self._first = self._first, b""
        if first and (want <= len(first) or len(first) == self.entry.size):
            data = first
        else:  # reading a little again costs less than joining it to a lot
            try:
                data = await pread(self.fd, max(want, 0), self._start)
            except OSError:
                with told_of(self.entry.path):
                    raise
        self._start += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on at `start`."""
        self._start, self._stop, self._first = start, stop, b""

    async def aclose(self) -> None:
        """Close the descriptor; in a worker where that may take its time: closing a removed file frees its room."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        with told_of(self.entry.path):
            if self._local and _has_name(fd):
                os.close(fd)
            else:
                await hop(os.close, fd)

    def abandon(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with told_of(self.entry.path):
                os.close(fd)


class OSSession(WriteSession):
    """New bytes in a staging file."""

    def __init__(self, stage: Stage, match: str | None, *, durable: bool, owns_stage: bool = False) -> None:
        self._stage = stage
        self._match = match
        self._durable = durable
        self._owns_stage = owns_stage
        self._size = 0

    async def write(self, part: Part) -> None:
        """Take the next part."""
        await hop(self._write, part, self._size)
        self._size += len(part)

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were handed over."""
        await hop(self._write, data, offset)

    async def resize(self, size: int) -> None:
        """Forget what was handed over from `size` on."""
        await hop(self._resize, size)
        self._size = size

    async def copy_range(self, start: int, stop: int) -> None:
        """Take bytes of the version that is replaced, within the kernel."""
        await hop(self._copy_range, start, stop)
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Bring the bytes to the disk under a name that waits for a decision."""
        token = await hop(self._prepare)
        return {**token, "version": token["stage"], "match": self._match, "format": FORMAT}

    async def commit(self) -> Entry:
        """Publish."""
        entry = await hop(self._commit)
        if self._owns_stage:
            await self._stage.release()
        return entry

    async def abort(self) -> None:
        """Leave no trace; a staging file that does not wait goes with the lease."""
        try:
            if self._stage.ready:
                await hop(partial(self._stage.discard, durable=self._durable))
        finally:
            if self._owns_stage:
                await self._stage.release()

    async def leave(self) -> None:
        """Unlock the staging file if this session took it over, and let it wait."""
        if self._owns_stage:
            await hop(self._stage.leave)

    def _write(self, data: Part, offset: int) -> None:
        with told_of(self._stage.path):
            _write(self._stage.fd, data, offset)

    def _resize(self, size: int) -> None:
        with told_of(self._stage.path):
            os.ftruncate(self._stage.fd, size)

    def _prepare(self) -> dict[str, Any]:
        with told_of(self._stage.path):
            self._stage.seal(durable=self._durable)
            self._stage.make_ready(durable=self._durable)
            return self._stage.token()

    def _commit(self) -> Entry:
        with told_of(self._stage.path):
            if not self._stage.ready:
                self._stage.seal(durable=self._durable)
            return self._stage.publish(self._match, durable=self._durable)

    def _copy_range(self, start: int, stop: int) -> None:
        with told_of(self._stage.path):
            self._copy_base(start, stop)

    def _copy_base(self, start: int, stop: int) -> None:
        place = self._stage.place
        base = os.open(place.leaf, os.O_RDONLY | FOUND, dir_fd=place.fd)
        try:
            if self._match is not None and version_of(os.fstat(base)) != self._match:
                raise Conflict.of(place.path, "the file was changed meanwhile")
            copy_bytes(base, self._stage.fd, start, stop, self._size)
        finally:
            os.close(base)


class OSRemoval(OSSession):
    """A removal: its staging file is empty, and only keeps other writers out until the decision."""

    async def prepare(self) -> dict[str, Any]:
        """Bring the empty staging file to the disk under the name that waits for a decision."""
        return {**await super().prepare(), "version": ABSENT, "removal": True}

    def _commit(self) -> Entry:
        with told_of(self._stage.path):
            return self._stage.remove(self._match, durable=self._durable)


def _has_name(fd: int) -> bool:
    try:
        return bool(os.fstat(fd).st_nlink)
    except OSError:
        return False  # closing it will tell


def copy_bytes(source: int, target: int, start: int, stop: int, offset: int) -> None:
    """Copy `start` to `stop` of one descriptor to `offset` of another, within the kernel where it can."""
    while start < stop:
        step = min(COPY_STEP, stop - start)
        copied = _copy_in_kernel(source, target, step, start, offset)
        if not copied:
            data = os.pread(source, step, start)
            if not data:
                raise Conflict.of(None, "the file was cut meanwhile")
            _write(target, data, offset)
            copied = len(data)
        start += copied
        offset += copied


def _copy_in_kernel(source: int, target: int, size: int, start: int, offset: int) -> int:
    """Return how many bytes the kernel copied; none where it does not do that."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, size, start, offset)
    except OSError:
        return 0


def _write(fd: int, data: Part, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
