"""Locks: blobs under a hidden prefix, leased.

Why not the lease of the file's own blob? There is none before the file is first written, and none after it was removed,
while a writer (a transaction, a move) may hold its lock through both; and an empty blob made to be leased would be seen
by every reader. A blob beside it, named after the path, is the same lock all the time. What a lease of the file itself
would give, that nobody publishes without it, the conditions of publishing give: see `session`.

A lock that was given back is removed. Where that is not permitted its blob stays, without a lease: that is a free lock.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from azure.storage.blob.aio import BlobLeaseClient

from aiofs.backends.azure.client import remove
from aiofs.backends.azure.errors import creating
from aiofs.backends.azure.names import FORMAT, LOCKS, check_format, is_known
from aiofs.backends.azure.properties import matching
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, AlreadyExists, Conflict, Locked, NotFound
from aiofs.lifetimes import finish
from aiofs.locks import RenewedLease, granted, locked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Container

SHORTEST, LONGEST = 15, 60
"""How many seconds the service grants a lease for."""
ROUNDS = 4
_LOCK = "the lock of this file"
_LEASED = "leased"


class AzureLease(RenewedLease):
    """A lease of a lock's blob; `fence` is its id."""

    def __init__(self, path: str, fence: str, ttl: float, container: Container, granted: float) -> None:
        self._container = container
        self._lock = lock_name(path)
        self.removed: bool = True
        """Whether the blob goes with the lock; else it stays, and is free."""
        super().__init__(path, fence, ttl, renew=self._prolong, release=self._free, granted=granted)

    async def _prolong(self) -> bool:
        lease = BlobLeaseClient(self._container.blob(self._lock), self.fence)
        try:
            await self._container.ask(self.path, lease.renew, urgent=True)
        except (Conflict, NotFound):
            return False
        return True

    async def _free(self) -> None:
        with suppress(OSError):  # it expires by itself
            if self.removed:
                try:
                    await remove(self._container, self._lock, self.path, lease=self.fence)
                except AccessDenied:  # who may write need not be allowed to remove
                    self.removed = False
            if not self.removed:
                lease = BlobLeaseClient(self._container.blob(self._lock), self.fence)
                await self._container.ask(self.path, lease.release)


async def acquire(container: Container, path: str, ttl: int) -> AzureLease:
    """Return the lock of `path`.

    :raises Locked: if somebody else has it, naming who and since when.
    """
    return await granted(_ask_for(container, path, ttl))


async def check_free(container: Container, path: str) -> None:
    """Raise `Locked` if somebody has the lock of `path`."""
    found = await _look(container, path)
    if found is not None and not is_free(found):
        raise refusal(path, found)


def lock_name(path: str) -> str:
    """Return the name of the blob that is the lock of `path`."""
    return LOCKS + hashlib.sha256(path.encode()).hexdigest()


def is_free(lock: BlobProperties) -> bool:
    """Whether the lock has no lease, or one that expired; of one in an unknown format nobody can say that."""
    return is_known(lock.metadata) and lock.lease.state != _LEASED


def refusal(path: str, lock: BlobProperties) -> Locked:
    """Return the error that says what a lock says.

    :raises Unsupported: if it has an unknown format.
    """
    check_format(path, _LOCK, lock.metadata)
    _, holder, since = read_note(lock.metadata)
    return locked(path, holder, since)


def read_note(metadata: Mapping[str, str] | None) -> tuple[str, str | None, datetime | None]:
    """Return what a lock says: which path it is of, who holds it, and since when."""
    note = metadata or {}
    since = note.get("since")
    return unquote(note.get("path", "")), note.get("holder"), datetime.fromisoformat(since) if since else None


async def _ask_for(container: Container, path: str, ttl: int) -> AzureLease:
    blob = container.blob(lock_name(path))
    fence = str(uuid.uuid4())
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = {"path": quote(path), "holder": f"{socket.gethostname()}:{os.getpid()}", "since": since, "format": FORMAT}
    for _ in range(ROUNDS):
        made = True
        try:
            with creating(path):
                await container.ask(
                    path, lambda: blob.upload_blob(b"", length=0, overwrite=True, metadata=note, **matching(ABSENT))
                )
        except (AlreadyExists, Locked):
            made = False
        asked = time.monotonic()
        try:
            await container.ask(path, lambda: blob.acquire_lease(ttl, lease_id=fence))
        except NotFound:
            continue  # given back just then
        except Locked:
            found = await _look(container, path)
            raise locked(path) if found is None else refusal(path, found) from None
        lease = AzureLease(path, fence, ttl, container, asked)
        if not made:
            try:
                there = await container.ask(path, blob.get_blob_properties)
                lease.removed = is_known(there.metadata)
                check_format(path, _LOCK, there.metadata)  # another may not be held by its lease alone
                await container.ask(path, lambda: blob.set_blob_metadata(note, lease=fence))
            except BaseException:
                await finish(lease.release())
                raise
        return lease
    raise locked(path)


async def _look(container: Container, path: str) -> BlobProperties | None:
    blob = container.blob(lock_name(path))
    try:
        return await container.ask(path, blob.get_blob_properties)
    except NotFound:
        return None
