"""Adding to an append blob: one block, in one request, if the blob is still as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aiofs.backends.azure.conditions import matching, version_of
from aiofs.backends.azure.kinds import check_replaceable
from aiofs.backends.azure.labels import entry_of
from aiofs.backends.azure.session import LOST, PublishedOnce, slices
from aiofs.backends.azure.streams import open_stream
from aiofs.driver import MIB, Entry, Part
from aiofs.errors import Conflict, TooLarge
from aiofs.kit import whole_part
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.container import Container
    from aiofs.backends.azure.locks import AzureLease

LARGEST_BLOCK = 100 * MIB
LARGEST_BLOCK_BEFORE = 4 * MIB
"""Of what a block may have in versions of the service before `LARGER_SINCE`."""
LARGER_SINCE = "2022-11-02"


class AppendSession(PublishedOnce):
    """Bytes for the end of an append blob, held until they are published: they go as one block or not at all."""

    def __init__(self, container: Container, lease: AzureLease, match: str, properties: BlobProperties) -> None:
        self._container = container
        self._lease = lease
        self._path = lease.path
        self._match = match
        self._before = properties
        self._parts: list[Part] = []
        self._size = 0
        self._kept = False
        newer = container.client.api_version >= LARGER_SINCE
        self._largest: int = LARGEST_BLOCK if newer else LARGEST_BLOCK_BEFORE

    async def keep_base(self) -> None:
        """Begin with what the blob has."""
        self._kept = True

    async def write(self, part: Part) -> None:
        """Take the next part.

        :raises Unsupported: if the blob was to be written anew: it would not be an append blob any more.
        :raises TooLarge: if it does not fit into one block.
        """
        self._check_kept()
        if self._lease.lost:
            raise Conflict.of(self._path, LOST)
        self._size += len(part)
        if self._size > self._largest:
            reason = f"one block of an append blob has {self._largest // MIB} MiB at most; append less at a time"
            raise TooLarge.of(self._path, reason)
        self._parts.append(part)

    async def prepare(self) -> dict[str, Any]:
        """Refuse: a block that was appended is seen at once, and cannot be taken back."""
        check_replaceable(self._path, self._before)
        return await super().prepare()

    async def commit(self) -> Entry:
        """Append the block, if the blob is still the version that was to be added to."""
        self._check_kept()
        return await super().commit()

    async def abort(self) -> None:
        """Forget the bytes."""
        self.abandon()

    def abandon(self) -> None:
        """Forget the bytes."""
        self._ended = True
        self._parts = []

    def _check_kept(self) -> None:
        if not self._kept:
            check_replaceable(self._path, self._before)

    async def _publish(self) -> None:
        if self._size:
            self._done = await self._container.ask(self._path, self._append, settled=self._is_there)
        else:
            self._done = entry_of(self._path, self._before)
        self.abandon()

    async def _append(self) -> Entry:
        blob = self._container.blob(self._path)
        appended = await blob.append_block(
            slices(*self._parts), length=self._size, appendpos_condition=self._before.size, **matching(self._match)
        )
        answer = cast("Mapping[str, Any]", appended)
        size = self._before.size + self._size
        return Entry(self._path, size, answer.get("last_modified"), version_of(answer.get("etag")))

    async def _is_there(self) -> Entry | None:
        """Return what is there if it is what was, and our bytes behind that."""
        size = self._before.size + self._size
        stream = await open_stream(self._container, self._path, self._before.size, None, None)
        try:
            if stream.entry.size != size or stream.entry.version == self._match:
                return None
            data = await whole_part(stream, self._size)
        finally:
            await finish(stream.aclose())
        return stream.entry if data == b"".join(self._parts) else None
