"""Locks: leased blobs under a hidden prefix, each named after the path that it locks.

Why not lease the file's own blob? It does not exist before the file is first written and after it was removed, while a
transaction or a move holds its lock through both; and every reader would see an empty blob that is made to be leased.
A lease of the file itself would keep everybody else from publishing; the conditions of publishing do that too (see
`writing`).

Releasing a lock removes its blob. Where that is not permitted the blob stays without a lease, which means that the lock
is free.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from azure.storage.blob.aio import BlobLeaseClient

from aiofs import clock
from aiofs.backends.azure.errors import creating
from aiofs.backends.azure.listing import pages
from aiofs.backends.azure.names import FORMAT, LOCKS, check_format, is_known
from aiofs.backends.azure.properties import matching
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, AlreadyExists, Conflict, Locked, NotFound
from aiofs.kit import each
from aiofs.lifetimes import finish
from aiofs.locks import RenewedLease, granted, locked, next_number
from aiofs.names import lock_of_path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Container

SHORTEST, LONGEST = 15, 60
"""For how many seconds the service grants a lease."""
ROUNDS = 4
FEW = 8
"""Up to this number locks are looked up one by one; for more of them, all locks are listed."""
PAGE = 5000
_LOCK = "the lock of this file"
_LEASED = "leased"


class AzureLease(RenewedLease):
    """A lease of the blob that is the lock; `fence` is its id."""

    def __init__(self, path: str, fence: str, ttl: float, container: Container, granted: float) -> None:
        self._container = container
        self._lock = lock_name(path)
        self.removed: bool = lock_of_path(path) is None
        """Whether releasing the lock removes the blob; else the blob stays without a lease. The blob of a lock with a
        name stays, as it has the number of the last holder."""
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
                    await self._container.remove(self._lock, self.path, lease=self.fence)
                except AccessDenied:  # those who may write need not be allowed to remove
                    self.removed = False
            if not self.removed:
                lease = BlobLeaseClient(self._container.blob(self._lock), self.fence)
                await self._container.ask(self.path, lease.release)


async def acquire(container: Container, path: str, ttl: int) -> AzureLease:
    """Return the lock of `path`.

    :raises Locked: if somebody else has it; the message says who, and since when.
    """
    return await granted(_acquire(container, path, ttl))


async def check_free(container: Container, paths: Sequence[str]) -> None:
    """Raise `Locked` if somebody is writing one of the paths."""

    async def check(path: str) -> None:
        found = await container.find(lock_name(path), path)
        if found is not None and not is_free(found):
            raise _refusal(path, found)

    if len(paths) <= FEW:
        await each(paths, check)
        return
    held = {lock.name: lock async for lock in all_locks(container) if not is_free(lock)}
    for path in paths:
        if lock_name(path) in held:
            raise _refusal(path, held[lock_name(path)])


async def all_locks(container: Container) -> AsyncGenerator[BlobProperties]:
    """Yield all locks, held or free."""
    async for page in pages(container, LOCKS, None, PAGE, ["metadata"]):
        for lock in page:
            yield lock


def lock_name(path: str) -> str:
    """Return the name of the blob that is the lock of `path`."""
    return LOCKS + hashlib.sha256(path.encode()).hexdigest()


def is_free(lock: BlobProperties) -> bool:
    """Whether nobody holds the lock. A lock in an unknown format counts as held."""
    return is_known(lock.metadata) and lock.lease.state != _LEASED


def _refusal(path: str, lock: BlobProperties) -> Locked:
    """Return the error for a lock that somebody else holds.

    :raises Unsupported: if the lock has an unknown format.
    """
    check_format(path, _LOCK, lock.metadata)
    _, holder, since = read_note(lock.metadata)
    return locked(path, holder, since)


def read_note(metadata: Mapping[str, str] | None) -> tuple[str, str | None, datetime | None]:
    """Return which path a lock is for, who holds it, and since when."""
    note = metadata or {}
    since = note.get("since")
    return unquote(note.get("path", "")), note.get("holder"), datetime.fromisoformat(since) if since else None


def _number_in(metadata: Mapping[str, str] | None) -> int | None:
    """Return the number of the last holder of a lock with a name, if the metadata of the blob have one."""
    number = (metadata or {}).get("number", "")
    return int(number) if number.isdecimal() else None


async def _acquire(container: Container, path: str, ttl: int) -> AzureLease:
    blob = container.blob(lock_name(path))
    fence = str(uuid.UUID(clock.token()))
    since = clock.now().isoformat(timespec="seconds")
    note = {"path": quote(path), "holder": f"{socket.gethostname()}:{os.getpid()}", "since": since, "format": FORMAT}
    named = lock_of_path(path) is not None
    for _ in range(ROUNDS):
        made = True
        try:
            with creating(path):
                await container.ask(
                    path, lambda: blob.upload_blob(b"", length=0, overwrite=True, metadata=note, **matching(ABSENT))
                )
        except (AlreadyExists, Locked):
            made = False
        asked = clock.monotonic()
        try:
            await container.ask(path, lambda: blob.acquire_lease(ttl, lease_id=fence))
        except NotFound:
            continue  # released in this moment
        except Locked:
            found = await container.find(lock_name(path), path)
            raise locked(path) if found is None else _refusal(path, found) from None
        lease = AzureLease(path, fence, ttl, container, asked)
        if not made or named:  # somebody may have held the lock since it was made
            try:
                there = await container.ask(path, blob.get_blob_properties)
                lease.removed = is_known(there.metadata) and not named
                check_format(path, _LOCK, there.metadata)  # in another format a lease alone may not make a lock
                if named:
                    lease.number = next_number(_number_in(there.metadata))
                    note["number"] = str(lease.number)
                await container.ask(path, lambda: blob.set_blob_metadata(note, lease=fence))
            except BaseException:
                await finish(lease.release())
                raise
        return lease
    raise locked(path)
