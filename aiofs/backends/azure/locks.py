"""Locks: blobs under a hidden prefix, leased.

Why not the lease of the file's own blob? There is none before the file is first written, and none after it was removed,
while a writer (a transaction, a move) may hold its lock through both; and an empty blob made to be leased would be seen
by every reader. A blob beside it, named after the path, is the same lock all the time. What a lease of the file itself
would give, that nobody publishes without it, the conditions of publishing give: see `session`.
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

from aiofs.backends.azure.conditions import matching
from aiofs.backends.azure.names import LOCKS
from aiofs.driver import ABSENT
from aiofs.errors import AlreadyExists, Conflict, Locked, NotFound
from aiofs.locks import RenewedLease, granted, locked
from aiofs.shield import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.container import Container

SHORTEST, LONGEST = 15, 60
"""How many seconds the service grants a lease for."""
ROUNDS = 4
_LEASED = "leased"


class AzureLease(RenewedLease):
    """A lease of a lock's blob; `fence` is its id."""

    def __init__(self, path: str, fence: str, ttl: float, container: Container, granted: float) -> None:
        self._container = container
        self._lock = lock_name(path)
        super().__init__(path, fence, ttl, renew=self._prolong, release=self._free, granted=granted)

    async def _prolong(self) -> bool:
        lease = BlobLeaseClient(self._container.blob(self._lock), self.fence)
        try:
            await self._container.ask(self.path, lease.renew, urgent=True)
        except (Conflict, NotFound):
            return False
        return True

    async def _free(self) -> None:
        blob = self._container.blob(self._lock)
        with suppress(OSError):  # it expires by itself
            await self._container.ask(self.path, lambda: blob.delete_blob(lease=self.fence))


async def acquire(container: Container, path: str, ttl: int) -> AzureLease:
    """Return the lock of `path`.

    :raises Locked: if somebody else has it, naming who and since when.
    """
    return await granted(_ask_for(container, path, ttl))


async def check_free(container: Container, path: str) -> None:
    """Raise `Locked` if somebody has the lock of `path`."""
    found = await _look(container, path)
    if found is not None and is_held(found):
        raise refusal(path, found)


def lock_name(path: str) -> str:
    """Return the name of the blob that is the lock of `path`."""
    return LOCKS + hashlib.sha256(path.encode()).hexdigest()


def is_held(lock: BlobProperties) -> bool:
    """Whether the lock has a lease that did not expire."""
    return bool(lock.lease.state == _LEASED)


def refusal(path: str, lock: BlobProperties) -> Locked:
    """Return the error that says what a lock says."""
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
    note = {"path": quote(path), "holder": f"{socket.gethostname()}:{os.getpid()}", "since": since}
    for _ in range(ROUNDS):
        made = True
        try:
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
