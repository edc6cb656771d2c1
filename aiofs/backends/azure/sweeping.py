"""What unfinished writers left behind: told, and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.azure.conditions import matching, version_of
from aiofs.backends.azure.listing import pages
from aiofs.backends.azure.locks import SHORTEST, acquire, is_free, read_note
from aiofs.backends.azure.names import HIDDEN, LOCKS
from aiofs.backends.azure.removing import remove
from aiofs.backends.azure.versions import KIND, old_versions, remove_old
from aiofs.driver import Leftover
from aiofs.errors import Conflict, Locked, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.container import Container

PAGE = 5000
UNCOMMITTED = "uncommitted blocks"


class Sweeper:
    """The power to sweep."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield every lock, every blob that has blocks and no bytes yet, and old versions of hidden blobs.

        Blocks staged for a file that is there already are not told by the service's listings; it drops them when the
        file is written next, or after a week.
        """
        held: dict[str, str | None] = {}
        async for lock in locks(self._container):
            path, holder, since = read_note(lock.metadata)
            if not is_free(lock):
                held[path] = holder
            if path.startswith(prefix):
                yield Leftover(path, "lock", since, holder, live=path in held, token=lock.name)
        committed = self._names()
        last = await anext(committed, None)
        async for blob in self._blobs(["uncommittedblobs"]):
            while last is not None and _order(last) < _order(blob.name):
                last = await anext(committed, None)
            if blob.name != last and blob.name.startswith(prefix) and not blob.name.startswith(HIDDEN):
                live = blob.name in held
                yield Leftover(
                    blob.name, UNCOMMITTED, blob.last_modified, held.get(blob.name), live=live, token=blob.name
                )
        async for leftover in old_versions(self._container, prefix):
            yield leftover

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove blocks that nobody holds the lock of, locks whose lease expired, and old versions."""
        if leftover.kind == KIND:
            return await remove_old(self._container, leftover.path)
        if leftover.token.startswith(LOCKS):
            return await self._sweep_lock(leftover)
        try:
            lease = await acquire(self._container, leftover.path, SHORTEST)
        except Locked:
            return False
        blob = self._container.blob(leftover.path)
        try:
            await self._container.ask(leftover.path, blob.get_blob_properties)
        except NotFound:
            await remove(self._container, leftover.path, leftover.path)
        finally:
            await lease.release()
        return True

    async def _sweep_lock(self, leftover: Leftover) -> bool:
        blob = self._container.blob(leftover.token)
        try:
            lock = await self._container.ask(leftover.path, blob.get_blob_properties)
            if not is_free(lock):
                return False
            await remove(self._container, lock.name, leftover.path, **matching(version_of(lock.etag)))
        except NotFound:
            return True
        except (Conflict, Locked):
            return False  # somebody took it just then
        return True

    async def _blobs(self, include: list[str] | None = None) -> AsyncGenerator[BlobProperties]:
        async for page in pages(self._container, "", None, PAGE, include):
            for blob in page:
                yield blob

    async def _names(self) -> AsyncGenerator[str]:
        async for blob in self._blobs():
            yield blob.name


async def locks(container: Container) -> AsyncGenerator[BlobProperties]:
    """Yield all locks, held or not."""
    async for page in pages(container, LOCKS, None, PAGE, ["metadata"]):
        for lock in page:
            yield lock


def _order(name: str) -> bytes:
    """Return what the service sorts a name by."""
    return name.encode("utf-16-be")
