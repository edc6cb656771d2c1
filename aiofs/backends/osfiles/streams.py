"""Reading and writing the open files of the driver."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.locking import FOUND
from aiofs.backends.osfiles.names import FORMAT
from aiofs.backends.osfiles.place import version_of
from aiofs.backends.osfiles.reading import copy_bytes, write_at
from aiofs.driver import ABSENT, Entry, Part, WriteSession
from aiofs.errors import Conflict
from aiofs.threads import hop

if TYPE_CHECKING:
    from aiofs.backends.osfiles.staging import Stage

COPY_STEP = 1 << 24


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
            write_at(self._stage.fd, data, offset)

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
