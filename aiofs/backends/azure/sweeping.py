"""Counts and removes old versions of hidden blobs (locks, journals), which an account with versioning keeps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.azure.client import remove
from aiofs.backends.azure.errors import NotPermitted
from aiofs.backends.azure.listing import pages
from aiofs.backends.azure.locks import SHORTEST, acquire, is_free, read_note
from aiofs.backends.azure.names import HIDDEN, LOCKS
from aiofs.backends.azure.properties import matching, version_of
from aiofs.driver import Leftover
from aiofs.errors import Conflict, Locked, NotFound
from aiofs.kit import together
from aiofs.names import RESERVED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Container

KIND = "old versions"
_PAGE = 5000
_AT_ONCE = 32
_NEEDED = "removing old versions needs a permission ('x' in a SAS, .../blobs/deleteBlobVersion/action in a role)"


async def old_versions(container: Container, prefix: str) -> AsyncGenerator[Leftover]:
    """Yield one leftover for all old versions of hidden blobs in the folder `prefix`, if there are any."""
    if RESERVED in prefix or not (prefix == "" or prefix.endswith("/")):
        return
    beginning = prefix + RESERVED
    found = len([blob async for blob in _removable(container, beginning)])
    if found:
        rule = f"{container.name}/{beginning}"
        advice = (
            f"{found} old versions of hidden blobs: fix=True removes them; so does a rule of the account's lifecycle "
            f"management that deletes previous versions below {rule!r}"
        )
        yield Leftover(beginning, KIND, None, None, live=False, token=f"{KIND}:{beginning}", advice=advice)


async def remove_old(container: Container, beginning: str) -> bool:
    """Remove the old versions of all blobs whose names start with `beginning`; return whether none is left.

    :raises NotPermitted: if the user may not remove versions; it names the permission.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(version: BlobProperties) -> None:
        async with places:
            blob = container.blob(version.name, version_id=str(version.version_id))
            try:
                with suppress(NotFound):
                    await container.ask(version.name, blob.delete_blob)
            except NotPermitted as error:
                raise NotPermitted.of(version.name, f"{error.strerror}: {_NEEDED}") from error.__cause__

    await together([one(version) async for version in _removable(container, beginning)])
    return not [blob async for blob in _removable(container, beginning)]


async def _removable(container: Container, beginning: str) -> AsyncGenerator[BlobProperties]:
    """Yield the versions that are not the current one of their blob."""
    async for page in pages(container, beginning, None, _PAGE, ["versions"]):
        for blob in page:
            if blob.version_id and not blob.is_current_version:
                yield blob


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
