"""Steps: what a transaction does to one path, as sessions that wait for the decision and that any process can finish.

A store that can resume prepared writes keeps them itself. Elsewhere the transaction keeps them: the bytes of a small
file in the journal's decision, those of a large one in a file beside the journal; a removal needs only the version that
is removed. If a prepared write keeps other writers out no longer than the lock does, the decision has the small files
of that store as well: the store then gets only one request for such a file, the one that publishes it.

A before-image is what a file was before a transaction published over it, kept until the transaction ended. The store
makes it where it can: as a snapshot, or as a copy under a reserved name. Elsewhere it is a file beside the journal.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs.driver import ABSENT, Driver, Entry, WriteSession
from aiofs.errors import AlreadyExists, Conflict, NotFound, Unsupported
from aiofs.files.reading import whole_chunks
from aiofs.kit import BytesStream, EndedSession
from aiofs.lifetimes import finish
from aiofs.names import RESERVED, under
from aiofs.powers import Copies, HasOwners, Snapshots
from aiofs.properties import OWNERSHIP
from aiofs.transactions.journal import entry_at, fetch, publish
from aiofs.transactions.records import FOLDER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiofs.driver import Lease, Part, ReadStream
    from aiofs.transactions.records import Step

SMALL = 1 << 16
"""The largest file whose bytes go into the decision itself."""


class StepSession(WriteSession):
    """A step that the transaction, not the store, keeps until the decision."""

    def __init__(self, driver: Driver, path: str, lease: Lease, match: str, *, taken: bool = False) -> None:
        self._driver = driver
        self._path = path
        self._lease = lease
        self._match = match
        self._taken = taken

    async def write(self, part: Part) -> None:
        """Refuse: the bytes were known from the beginning."""
        raise Conflict.of(self._path, f"{len(part)} bytes more for a step that was prepared")

    async def abort(self) -> None:
        """Release the lock, if it came with the session."""
        await self.leave()

    async def leave(self) -> None:
        """Release the lock, if it came with the session."""
        if self._taken:
            await self._lease.release()


class PreparedStep(WriteSession):
    """A step that the store keeps while no process holds it. It is taken over when it is needed."""

    def __init__(self, driver: Driver, token: Mapping[str, Any]) -> None:
        self._driver = driver
        self._token = token

    async def write(self, part: Part) -> None:
        """Refuse: it was prepared."""
        raise Conflict.of(self._token["path"], f"{len(part)} bytes more for a step that was prepared")

    async def is_there(self) -> bool:
        """Whether the store still keeps the step, so that it was neither published nor aborted."""
        session = await self._driver.resume(self._token)
        await session.leave()
        return not isinstance(session, EndedSession)

    async def commit(self) -> Entry:
        """Have the store publish the file."""
        session = await self._driver.resume(self._token)
        if isinstance(session, EndedSession):
            return Entry(self._token["path"], version=self._token.get("version"))
        try:
            return await session.commit()
        except BaseException:
            await finish(session.leave())
            raise

    async def abort(self) -> None:
        """Have the store forget the step."""
        session = await self._driver.resume(self._token)
        await session.abort()


class RemovalStep(StepSession):
    """A removal, which the journal keeps."""

    async def prepare(self) -> dict[str, Any]:
        """Return the version that is removed."""
        return {"by": "delete", "path": self._path, "match": self._match, "removal": True, "version": ABSENT}

    async def commit(self) -> Entry:
        """Remove the file, unless that was done before."""
        with suppress(NotFound):
            await self._driver.delete([self._path], leases=[self._lease], match=self._match)
        await self.leave()
        return Entry(self._path)


class RewriteStep(StepSession):
    """New bytes, which the journal keeps."""

    def __init__(
        self, driver: Driver, path: str, lease: Lease, match: str, source: JournaledBytes, *, taken: bool = False
    ) -> None:
        super().__init__(driver, path, lease, match, taken=taken)
        self._source = source

    async def prepare(self) -> dict[str, Any]:
        """Return the bytes, or the name of the file that has them."""
        return {"path": self._path, "match": self._match, **self._source.token()}

    async def commit(self) -> Entry:
        """Write the file, unless that was done before."""
        present = await entry_at(self._driver, self._path) if self._taken else None
        if present is not None and present.version != self._match and await self._source.is_in(self._driver, present):
            entry = present
        else:
            entry = await self._write()
        await self.leave()
        return entry

    async def is_done(self, present: Entry) -> bool:
        """Whether the file has these bytes now."""
        return await self._source.is_in(self._driver, present)

    async def _write(self) -> Entry:
        metadata, permissions = self._source.metadata, self._source.permissions
        if permissions is not None and self._driver.offers(HasOwners) is not None:
            metadata = {**(metadata or {}), OWNERSHIP: permissions}
        session = await self._driver.begin(self._path, self._lease, match=self._match, metadata=metadata)
        return await publish(session, self._source.chunks(), self._driver.part_size)


class JournaledBytes:
    """Bytes in the decision itself."""

    def __init__(self, data: bytes, metadata: Mapping[str, str] | None, permissions: str | None = None) -> None:
        self.data = data
        self.metadata: dict[str, str] | None = None if metadata is None else dict(metadata)
        self.permissions = permissions

    @classmethod
    def of(cls, token: Mapping[str, Any]) -> JournaledBytes:
        """Return what a token describes."""
        return JournaledBytes(base64.b64decode(token["bytes"]), token["metadata"], token.get("permissions"))

    def token(self) -> dict[str, Any]:
        """Return the token for the journal."""
        return {"by": "bytes", "bytes": base64.b64encode(self.data).decode(), **self._described()}

    def _described(self) -> dict[str, Any]:
        permissions = {} if self.permissions is None else {"permissions": self.permissions}
        return {"metadata": self.metadata, **permissions}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        yield self.data

    async def is_in(self, driver: Driver, present: Entry) -> bool:
        """Whether the file has exactly these bytes."""
        return present.size in {None, len(self.data)} and await fetch(driver, present.path) == self.data


class JournaledFile(JournaledBytes):
    """Bytes in a file beside the journal."""

    def __init__(
        self, journal: Driver, name: str, metadata: Mapping[str, str] | None, permissions: str | None = None
    ) -> None:
        super().__init__(b"", metadata, permissions)
        self._journal = journal
        self._name = name

    def token(self) -> dict[str, Any]:
        """Return the token for the journal."""
        return {"by": "file", "file": self._name, **self._described()}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        async for data in chunks_of(self._journal, self._name):
            yield data

    async def is_in(self, driver: Driver, present: Entry) -> bool:
        """Whether the file has exactly these bytes."""
        size = (await self._journal.stat(self._name)).size
        if None not in {size, present.size} and size != present.size:
            return False
        theirs, ours = chunks_of(driver, present.path), self.chunks()
        return await _digest(theirs) == await _digest(ours)


async def chunks_of(driver: Driver, path: str) -> AsyncIterator[bytes]:
    """Yield the bytes of a file."""
    stream = await driver.read(path)
    try:
        async for data in whole_chunks(stream):
            yield data
    finally:
        await finish(stream.aclose())


async def _digest(chunks: AsyncIterator[bytes]) -> bytes:
    digest = hashlib.blake2b()
    async for data in chunks:
        digest.update(data)
    return digest.digest()


async def resume(step: Step, driver: Driver, journal: Driver) -> WriteSession:
    """Take over what finishing or undoing a step takes, including the lock.

    :raises Locked: if the process that prepared it, another one that recovers it, or a writer of the file is alive.
    """
    token, path = step.token, step.path
    by = token.get("by")
    if by == "store":
        session = await driver.resume(token["token"])
        if not driver.capabilities.holds:
            return session
        await session.leave()  # the log is locked, so no other process takes it
        return PreparedStep(driver, token["token"])
    if by == "file" and await entry_at(journal, token["file"]) is None:
        return EndedSession(driver, path)  # the transaction had ended, and its files were being removed
    lease = await driver.lock(path)
    if by == "delete":
        return RemovalStep(driver, path, lease, step.base, taken=True)
    if by == "bytes":
        source = JournaledBytes.of(token)
    elif by == "file":
        source = JournaledFile(journal, token["file"], token["metadata"], token.get("permissions"))
    else:
        await lease.release()
        raise Unsupported.of(path, f"this version of aiofs does not know a step that is kept by {by!r}")
    return RewriteStep(driver, path, lease, step.base, source, taken=True)


BEFORE = f"{RESERVED}-before-"


def images_for(driver: Driver, journal: Driver) -> Snapshots:
    """Return the object that keeps the before-images of a store."""
    snapshots = driver.offers(Snapshots)
    if snapshots is not None:
        return snapshots
    copies = driver.offers(Copies)
    return CopiedImages(driver, copies) if copies is not None else JournaledImages(driver, journal)


async def read_before(step: Step, driver: Driver, journal: Driver) -> ReadStream:
    """Open what the file of a decided step was before: the file itself, as long as it is not published over.

    :raises NotFound: if there was no file, or there is no before-image: a transaction of one file makes none.
    """
    if step.base == ABSENT:
        raise NotFound.of(step.path, "there was no file before the transaction")
    if step.before is not None:
        source = JournaledBytes.of(step.before)
        return BytesStream(Entry(step.path, len(source.data), version=step.base), source.data)
    try:
        return await driver.read(step.path, match=step.base)
    except (NotFound, Conflict):
        return await images_for(driver, journal).read_image(step.path, step.tag)


class CopiedImages:
    """Before-images that are copies, made by the store."""

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

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open the copy for reading."""
        return await self._driver.read(_beside(path, tag))

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Copy the before-image back."""
        return await self._copies.copy(_beside(path, tag), path, lease, match=match)

    async def drop(self, path: str, tag: str) -> None:
        """Remove the copy."""
        await self._driver.delete([_beside(path, tag)], missing_ok=True)


class JournaledImages:
    """Before-images in files beside the journal, for stores that cannot copy by themselves."""

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

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open the copy for reading."""
        return await self._journal.read(_journaled(tag))

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Copy the before-image back."""
        return await transfer(self._journal, _journaled(tag), self._driver, path, lease, match=match)

    async def drop(self, path: str, tag: str) -> None:
        """Remove the copy."""
        await self._journal.delete([_journaled(tag)], missing_ok=True)


async def transfer(source: Driver, path: str, target: Driver, name: str, lease: Lease, *, match: str) -> Entry:
    """Copy a file from one driver to another, where it replaces version `match`."""
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
