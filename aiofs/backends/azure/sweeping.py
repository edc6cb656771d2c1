"""What unfinished writers left, and old versions of hidden blobs: reporting them, and removing them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs import clock
from aiofs.backends.azure.errors import NotPermitted
from aiofs.backends.azure.listing import pages
from aiofs.backends.azure.locks import SHORTEST, acquire, all_locks, is_free, read_note
from aiofs.backends.azure.names import HIDDEN, LOCKS
from aiofs.backends.azure.partial import kept_writes
from aiofs.backends.azure.properties import matching, version_of
from aiofs.errors import Conflict, Locked, NotFound
from aiofs.kit import each
from aiofs.locks import NUMBERS_KEPT
from aiofs.names import RESERVED, lock_of_path
from aiofs.partials import DAYS, KIND, check_days, why_kept
from aiofs.powers import Leftover

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from datetime import timedelta

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Container

PAGE = 5000
UNCOMMITTED = "uncommitted blocks"
OLD_VERSIONS = "old versions"
_NEEDED = "removing old versions needs a permission ('x' in a SAS, .../blobs/deleteBlobVersion/action in a role)"


class AzureSweeper:
    """The power to sweep a container."""

    _kept_for: timedelta = check_days(DAYS)

    def __init__(self, container: Container) -> None:
        self._container = container

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield locks, partial writes, blobs that have blocks and no bytes yet, and old versions of hidden blobs.

        The service does not list blocks that are staged for a blob that has bytes. It drops them at the next write to
        that blob, or after a week.
        """
        held: dict[str, str | None] = {}
        async for lock in all_locks(self._container):
            path, holder, since = read_note(lock.metadata)
            if not is_free(lock):
                held[path] = holder
            elif lock_of_path(path) is not None and clock.now() - lock.last_modified < NUMBERS_KEPT:
                continue  # the next holder needs its number
            if path.startswith(prefix):
                yield Leftover(path, "lock", since, holder, live=path in held, token=lock.name)
        partial: set[str] = set()
        async for kept in kept_writes(self._container):
            partial.add(kept.path)
            if kept.path.startswith(prefix):
                live = kept.path in held
                why = "" if live else why_kept(kept.modified, self._kept_for)
                token = f"{kept.name}\n{kept.version}"
                yield Leftover(kept.path, KIND, kept.modified, held.get(kept.path), live, token, why)
        async for leftover in self._uncommitted(prefix, held):
            if leftover.path not in partial:
                yield leftover
        async for leftover in _old_versions(self._container, prefix):
            yield leftover

    async def _uncommitted(self, prefix: str, held: Mapping[str, str | None]) -> AsyncGenerator[Leftover]:
        committed = self._names()
        last = await anext(committed, None)
        async for blob in _listed(self._container, "", ["uncommittedblobs"]):
            while last is not None and _order(last) < _order(blob.name):
                last = await anext(committed, None)
            if blob.name != last and blob.name.startswith(prefix) and not blob.name.startswith(HIDDEN):
                live = blob.name in held
                yield Leftover(
                    blob.name, UNCOMMITTED, blob.last_modified, held.get(blob.name), live=live, token=blob.name
                )

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove blocks if nobody holds the lock of their path, locks without a lease, and old versions."""
        if leftover.kind == OLD_VERSIONS:
            return await _remove_old(self._container, leftover.path)
        if leftover.token.startswith(LOCKS):
            return await self._sweep_lock(leftover)
        if leftover.stays:
            return False
        try:
            lease = await acquire(self._container, leftover.path, SHORTEST)
        except Locked:
            return False
        try:
            if leftover.kind == KIND:
                name, _, version = leftover.token.partition("\n")
                with suppress(NotFound):
                    await self._container.remove(name, leftover.path, **matching(version))
            kept = [each async for each in kept_writes(self._container) if each.path == leftover.path]
            if not kept and await self._container.find(leftover.path) is None:
                with suppress(NotFound):
                    await self._container.remove(leftover.path, leftover.path)
        except Conflict:
            return False  # somebody continued the partial write in this moment
        finally:
            await lease.release()
        return True

    async def _sweep_lock(self, leftover: Leftover) -> bool:
        try:
            lock = await self._container.find(leftover.token, leftover.path)
            if lock is None:
                return True
            if not is_free(lock):
                return False
            await self._container.remove(lock.name, leftover.path, **matching(version_of(lock.etag)))
        except NotFound:
            return True
        except (Conflict, Locked):
            return False  # somebody took it in this moment
        return True

    async def _names(self) -> AsyncGenerator[str]:
        async for blob in _listed(self._container, ""):
            yield blob.name


async def _old_versions(container: Container, prefix: str) -> AsyncGenerator[Leftover]:
    """Yield one leftover for all old versions of hidden blobs in the folder `prefix`, if there are any.

    An account with versioning keeps old versions of locks and journals too.
    """
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
        token = f"{OLD_VERSIONS}:{beginning}"
        yield Leftover(beginning, OLD_VERSIONS, None, None, live=False, token=token, advice=advice)


async def _remove_old(container: Container, beginning: str) -> bool:
    """Remove the old versions of all blobs whose names start with `beginning`; return whether none is left.

    :raises NotPermitted: if we may not remove versions; the message names the permission.
    """

    async def remove(version: BlobProperties) -> None:
        blob = container.blob(version.name, version_id=str(version.version_id))
        try:
            with suppress(NotFound):
                await container.ask(version.name, blob.delete_blob)
        except NotPermitted as error:
            raise NotPermitted.of(version.name, f"{error.strerror}: {_NEEDED}") from error.__cause__

    await each([version async for version in _removable(container, beginning)], remove)
    return not [blob async for blob in _removable(container, beginning)]


async def _removable(container: Container, beginning: str) -> AsyncGenerator[BlobProperties]:
    """Yield the versions that are not the current one of their blob."""
    async for blob in _listed(container, beginning, ["versions"]):
        if blob.version_id and not blob.is_current_version:
            yield blob


async def _listed(
    container: Container, prefix: str, include: list[str] | None = None
) -> AsyncGenerator[BlobProperties]:
    async for page in pages(container, prefix, None, PAGE, include):
        for blob in page:
            yield blob


def _order(name: str) -> bytes:
    """Return the key by which the service sorts a name."""
    return name.encode("utf-16-be")
