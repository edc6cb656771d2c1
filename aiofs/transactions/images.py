"""Before-images: what files were before a transaction published over them, kept until it is sure to stay.

The store makes them where it can: as a snapshot of its own, or as a copy under a reserved name. Elsewhere the bytes go
into a file beside the journal.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aiofs.driver import ABSENT, Copies
from aiofs.errors import AlreadyExists, NotFound
from aiofs.files.reading import whole_chunks
from aiofs.lifetimes import finish
from aiofs.names import RESERVED, under
from aiofs.powers import Snapshots
from aiofs.transactions.journal import publish
from aiofs.transactions.records import FOLDER

if TYPE_CHECKING:
    from aiofs.driver import Driver, Entry, Lease

BEFORE = f"{RESERVED}-before-"


def images_of(driver: Driver, journal: Driver) -> Snapshots:
    """Return what keeps the before-images of a store."""
    snapshots = driver.offers(Snapshots)
    if snapshots is not None:
        return snapshots
    copies = driver.offers(Copies)
    return Copied(driver, copies) if copies is not None else Journaled(driver, journal)


class Copied:
    """Before-images that the store copies."""

    def __init__(self, driver: Driver, copies: Copies) -> None:
        self._driver = driver
        self._copies = copies

    async def keep(self, path: str, tag: str) -> None:
        """Copy the file, unless that was done before."""
        image = _beside(path, tag)
        lease = await self._driver.lock(image)
        try:
            await self._copies.copy(path, image, lease, match=ABSENT)
        except (NotFound, AlreadyExists):
            return
        finally:
            await finish(lease.release())

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Copy it back."""
        return await self._copies.copy(_beside(path, tag), path, lease, match=match)

    async def drop(self, path: str, tag: str) -> None:
        """Remove the copy."""
        await self._driver.delete([_beside(path, tag)], missing_ok=True)


class Journaled:
    """Before-images beside the journal, for stores that copy nothing by themselves."""

    def __init__(self, driver: Driver, journal: Driver) -> None:
        self._driver = driver
        self._journal = journal

    async def keep(self, path: str, tag: str) -> None:
        """Copy the file, unless that was done before."""
        image = _journaled(tag)
        lease = await self._journal.lock(image)
        try:
            await transfer(self._driver, path, self._journal, image, lease, match=ABSENT)
        except (NotFound, AlreadyExists):
            return
        finally:
            await finish(lease.release())

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Copy it back."""
        return await transfer(self._journal, _journaled(tag), self._driver, path, lease, match=match)

    async def drop(self, path: str, tag: str) -> None:
        """Remove the copy."""
        await self._journal.delete([_journaled(tag)], missing_ok=True)


async def transfer(source: Driver, path: str, target: Driver, name: str, lease: Lease, *, match: str) -> Entry:
    """Copy a file from one driver to another, in place of version `match`."""
    stream = await source.read(path)
    try:
        metadata = stream.entry.kept(target.capabilities)
        session = await target.begin(name, lease, match=match, metadata=metadata)
        return await publish(session, whole_chunks(stream), target.part_size)
    finally:
        await finish(stream.aclose())


def _beside(path: str, tag: str) -> str:
    folder, _, leaf = path.rpartition("/")
    return under(folder) + BEFORE + hashlib.blake2b(f"{tag}\0{leaf}".encode(), digest_size=16).hexdigest()


def _journaled(tag: str) -> str:
    unit, _, number = tag.partition("-")
    return f"{FOLDER}/{unit}.before-{number}"
