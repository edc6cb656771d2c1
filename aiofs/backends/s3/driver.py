"""The S3 driver: its verbs. The modules beside it do the work.

- `settings`: what can be set, credentials and endpoints.
- `store`: the bucket and prefix, which all modules share. `facts` and `errors`: what the answers of a server mean.
- `client`: the SDK's client, and all requests. `signing`: simple requests, which are sent without the SDK.
- `reading`, with old versions; `writing`; `partial`, writes that another process continues; `listing`; `locks`.
- `probe`: which promises a bucket keeps. `sweeping`: what processes left in it.

Copying is in this module.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

from aiofs import clock
from aiofs.backends.s3 import listing, sweeping
from aiofs.backends.s3.facts import ObjectFacts, tags_of, unquoted, version_parameter, with_tags, write_options
from aiofs.backends.s3.locks import LockObjects, LocksElsewhere, lock_key
from aiofs.backends.s3.partial import STORE, S3Partial, find_kept
from aiofs.backends.s3.reading import history_of, naming_version, open_stream, read_version
from aiofs.backends.s3.store import Store, check_backslash, check_name
from aiofs.backends.s3.writing import ResumedUpload, S3Publication, S3Write, check_token, is_removed
from aiofs.driver import ABSENT, MIB, Capabilities, Driver, Entry
from aiofs.errors import AccessDenied, Archived, Conflict, NotFound, Unsupported
from aiofs.kit import EndedSession, check_match, keeper_url
from aiofs.lifetimes import finish
from aiofs.locks import LockTable
from aiofs.names import lock_of_path
from aiofs.partials import id_in
from aiofs.powers import Notes
from aiofs.properties import DESCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence

    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Lease, PartialSession, Power, ReadStream, WriteSession
    from aiofs.powers import Leftover, ServerFacts

# One for all file systems of this process with the same bucket and prefix.
_TABLES: WeakValueDictionary[str, LockTable] = WeakValueDictionary()
LONGEST_URL = 7 * 24 * 3600
FEW = 8
"""The locks of so many paths are looked up one by one; for more paths, all locks are listed."""
COPIED_WHOLE = 256 * MIB
"""An object of at most this size is copied by one request. S3 takes 5 GiB, but answers only when it has copied them."""


class S3Driver(Driver):
    """Files in a bucket."""

    window: int | None = 1 << 18

    def __init__(self, settings: Settings, locks: Driver | None = None, *, close_locks: bool = False) -> None:
        shared = settings.locking == "lease" if locks is None else locks.capabilities.locks == "shared"
        self.capabilities: Capabilities = Capabilities(
            locks="shared" if shared else "process",
            fences=shared if locks is None else locks.capabilities.fences,
            resume=True,
            partial=True,
            metadata=True,
            properties=DESCRIPTIONS,
        )
        self.part_size: int = settings.part_size
        self._store = Store(settings)
        self._elsewhere = None if locks is None else LocksElsewhere(locks, self._store)
        self._close_locks = close_locks
        self._objects = LockObjects(self._store)
        self._table = _TABLES.setdefault(settings.place, LockTable())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings. An unpickled driver shares its locks with the process that it is in."""
        keeper = None if self._elsewhere is None else self._elsewhere.keeper
        return partial(S3Driver, close_locks=self._close_locks), (self._store.settings, keeper)

    def address(self, folder: str) -> str:
        """Return the `s3://` URL. Credentials are not in it; the environment must have them."""
        settings = self._store.settings
        if folder and self._elsewhere is None:
            raise Unsupported.of(None, f"folder {folder!r} of {self} has no URL: with one, it would have other locks")
        return settings.address(folder, None if self._elsewhere is None else keeper_url(self._elsewhere.keeper))

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the bucket as the store, or the prefix, if that has locks of its own."""
        reached, prefix = self._store.settings.reached, self._store.settings.prefix
        if self._elsewhere is None:
            return ("s3", reached, prefix), path
        return ("s3", reached, self._elsewhere.keeper.locate("")), f"{prefix}{path}".removesuffix("/")

    def identity(self, path: str) -> Hashable:
        """Return the bucket and the key: prefixes with locks of their own may lie in one another."""
        return "s3", self._store.settings.reached, self._store.key(path)

    def check_name(self, path: str) -> None:
        """Raise `ValueError` for a path whose key would be longer than 1024 bytes."""
        check_name(self._store, path)

    async def stat(self, path: str) -> Entry:
        """Describe the file, by HEAD. Tags, if there are any, take a second request."""
        await check_backslash(self._store, path)
        facts = await self._store.facts(path)
        return facts.entry(path, await self._store.tags(path) if facts.tagged else None)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading, by one ranged GET."""
        store = self._store
        settings = store.settings
        await check_backslash(store, path)
        return await open_stream(
            store.requests,
            store.key(path),
            path,
            start,
            stop,
            match=match,
            whole=settings.checksum is not None,
        )

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin to write. No request is made before there are two parts, unless there are tags to keep."""
        await check_backslash(self._store, path)
        version, rest = tags_of(metadata)
        if version is not None and version == match:
            tags = {}
            with suppress(NotFound):  # publishing then raises that the version is gone
                tags = await self._store.tags(path)
            metadata = with_tags(rest, tags)
        return S3Write(self._store, path, lease, match=match, metadata=metadata)

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        """Begin a write whose upload another process can continue."""
        await check_backslash(self._store, path)
        return S3Partial(self._store, path, lease, match, metadata, clock.token())

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        """Continue the upload of another process."""
        identity = id_in(token, STORE, path)
        kept, rest = await find_kept(self._store, path, identity)
        session = S3Partial(self._store, path, lease, match, kept.metadata, identity, kept.writer)
        await session.continue_from(kept, rest)
        return session

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Continue a prepared upload, and lock its path."""
        checked = check_token(token)
        path = checked["path"]
        if await is_removed(self._store, checked):
            return EndedSession(self, path)
        return ResumedUpload(self._store, checked, await self.lock(path))

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files, a thousand by one request, after a check that all are there and none is locked."""
        for path in paths:
            await check_backslash(self._store, path)
        await self._refuse_locked(paths, leases)
        if match is not None:
            await self._store.remove_version(paths[0], match, missing_ok=missing_ok)
            return
        if not missing_ok:
            await self._store.check_present(paths)
        await self._store.remove(paths)

    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry, None]:
        """Yield the files, page after page."""
        return listing.entries(self._store, prefix, after, delimiter)

    async def lock(self, path: str) -> Lease:
        """Lock a path: in the store `locks=`, by a lock object, or only within this process.

        :raises Unsupported: for a lock with a name, if the lock would only be known to this process.
        """
        only_here = self._elsewhere is None and self._store.settings.locking == "commit"
        if only_here and (name := lock_of_path(path)) is not None:
            raise Unsupported.of(
                name,
                "with locking='commit' this file system keeps no locks: use locking='lease', or give locks=, another "
                "file system that keeps them",
            )
        await check_backslash(self._store, path)
        if self._elsewhere is not None:
            return await self._elsewhere.lock(path)
        if only_here:
            return self._table.acquire(path)
        return await self._objects.lock(path)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Have the store copy `source` to `target`."""
        await check_backslash(self._store, source)
        await check_backslash(self._store, target)
        facts = await self._store.facts(source)
        return await self._copy(CopySource(self._store, source, facts), target, lease, match)

    def origin(self, path: str) -> tuple[Driver, str]:
        return self, path

    def can_copy_from(self, origin: Driver) -> bool:
        """Whether it is a bucket or prefix at the same endpoint that the same credentials may read."""
        return isinstance(origin, S3Driver) and self._store.settings.reaches(origin._store.settings)  # noqa: SLF001 -- of the same class

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        """Have the store copy from another prefix or bucket."""
        assert isinstance(origin, S3Driver)  # noqa: S101 -- `can_copy_from` looked
        store = origin._store  # noqa: SLF001 -- of the same class
        await check_backslash(self._store, target)
        facts = await store.facts(source.path)
        check_match(source.path, source.version, facts.version)
        return await self._copy(CopySource(store, source.path, facts), target, lease, match)

    def history(self, path: str) -> AsyncGenerator[Entry, None]:
        """Yield the versions that the bucket keeps of the file, the newest first."""
        return history_of(self._store, path)

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open an old version for reading."""
        return await read_version(self._store, path, version_id, start, stop)

    async def restore_version(self, path: str, version_id: str, lease: Lease) -> Entry:
        """Have the store make an old version the present one again, by a copy.

        :raises NotFound: if there is no such version, or it is a delete marker.
        """
        with naming_version(path, version_id):
            facts = await self._store.facts(path, version_id)
        source = CopySource(self._store, path, facts, version_id)
        return await self._copy(source, path, lease)

    async def check_may_remove(self, path: str) -> None:
        """Raise `AccessDenied` if objects may not be removed."""
        await self._store.check_may_remove(path, "removing or moving a file")

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        """Return a URL that is valid for `expires` seconds. A PUT with it takes no lock.

        :raises ValueError: for more than seven days.
        """
        if expires > LONGEST_URL:
            raise ValueError(f"expires must be at most {LONGEST_URL} seconds (7 days), not {expires}")
        operation = "get_object" if method == "GET" else "put_object"
        settings = self._store.settings
        if settings.customer_key is not None:
            raise Unsupported.of(path, "a URL cannot contain the customer_key= that reading and writing need")
        await check_backslash(self._store, path)
        where = {"Bucket": settings.bucket, "Key": self._store.key(path)}
        if settings.requester_pays:
            where["RequestPayer"] = "requester"
        client = await self._store.clients.client()
        url: str = await client.generate_presigned_url(operation, Params=where, ExpiresIn=ceil(expires))
        return url

    async def note(self, path: str, data: bytes) -> None:
        """Create a small file by one PUT, if there is none.

        :raises AccessDenied: if we may not remove it at the end.
        """
        await self._store.check_may_remove(path, "a transaction, which removes its journal at the end,")
        session = S3Write(self._store, path, LockTable().acquire(path), match=ABSENT)
        await session.write(data)
        await session.commit()

    async def erase(self, paths: Sequence[str]) -> None:
        """Remove files without a check of their locks."""
        try:
            await self._store.remove(paths)
        except AccessDenied:
            if any([await self._store.look(path) is not None for path in paths]):
                raise

    def offers(self, power: type[Power]) -> Power | None:
        """Return the power, if this driver has it. Notes need locks that other processes see."""
        if power is Notes and self.capabilities.locks == "process":
            return None
        return super().offers(power)

    async def probe(self, removed: Sequence[str]) -> ServerFacts:
        """Try what this bucket does with conditions and listings, and remove old versions of files and their locks."""
        traits = await self._store.probed()
        advice = [] if traits.fault is None else [f"its conditional writes cannot be trusted: {traits.fault}"]
        if traits.versioning:
            try:
                for name in [*removed, *map(lock_key, removed)]:
                    await sweeping.remove_old(self._store, name)
            except AccessDenied as error:
                advice.append(f"old versions of the {len(removed)} files of this probe stay: {error.strerror}")
        return {
            "durable": True,
            "ordered": traits.ordered,
            "keeps_versions": bool(traits.versioning),
            "advice": advice,
        }

    def leftovers(self, prefix: str = "") -> AsyncIterator[Leftover]:
        """Yield partial writes, unfinished multipart uploads, lock objects, probes and old versions."""
        return sweeping.leftovers(self._store, self._objects, self._elsewhere, prefix)

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove a leftover, unless it is live."""
        return await sweeping.sweep(self._store, self._objects, leftover)

    async def aclose(self) -> None:
        """Close the clients of all loops that have not ended, and the store of the locks unless it was lent."""
        try:
            await self._store.clients.aclose()
        finally:
            if self._close_locks and self._elsewhere is not None:
                await self._elsewhere.keeper.aclose()

    def __str__(self) -> str:
        return str(self._store.settings)

    async def _copy(self, source: CopySource, target: str, lease: Lease, match: str | None = None) -> Entry:
        """Copy to `target` the version that the source had when its facts were read.

        :raises Conflict: if the source was changed since, beside what publishing raises.
        """
        store, facts = self._store, source.facts
        _, metadata = tags_of(facts.entry(source.path).kept(self.capabilities))
        try:
            if facts.size <= COPIED_WHOLE:
                return await _copy_whole(store, source, target, lease, match, metadata)
            if facts.tagged:
                metadata = with_tags(metadata, await source.store.tags(source.path, source.version_id))
            session = S3Write(store, target, lease, match=match, metadata=metadata)
            return await _copy_in_parts(session, source)
        except Archived as error:
            error.filename = source.path
            raise

    async def _refuse_locked(self, paths: Sequence[str], leases: Sequence[Lease]) -> None:
        """Raise `Locked` for a path that is locked by a lease other than those given.

        :raises Conflict: if a given lease was lost.
        """
        for lease in leases:
            if lease.lost:
                raise Conflict.of(lease.path, "the lock was lost before the file was removed")
        held = {lease.path for lease in leases}
        free = [path for path in paths if path not in held]
        if self._elsewhere is not None:
            for path in free:
                lease = await self._elsewhere.lock(path)
                await lease.release()
        elif self._store.settings.locking == "commit":
            for path in free:
                self._table.refuse(path, list(leases))
        else:
            await self._objects.refuse(free, few=FEW)


@dataclass(frozen=True)
class CopySource:
    """The source of a copy: the present version of a file, or an old one, also of another prefix or bucket."""

    store: Store
    path: str
    facts: ObjectFacts
    version_id: str | None = None

    @property
    def where(self) -> dict[str, str]:
        """The value of the SDK's parameter `CopySource`."""
        store = self.store
        return {"Bucket": store.settings.bucket, "Key": store.key(self.path), **version_parameter(self.version_id)}


async def _copy_whole(  # noqa: PLR0917 -- the source and the target, with what goes with each
    store: Store, source: CopySource, target: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
) -> Entry:
    writer = clock.token()
    options = write_options(store.settings, target, metadata, writer)
    if store.settings.checksum:  # the store computes it, for the whole object
        options["ChecksumAlgorithm"] = store.settings.checksum.upper()
    if source.facts.tagged:
        options["TaggingDirective"] = "COPY"

    async def send(condition: dict[str, str]) -> str:
        answer = await store.requests.send(
            "copy_object",
            target,
            Key=store.key(target),
            CopySource=source.where,
            CopySourceIfMatch=f'"{source.facts.version}"',
            MetadataDirective="REPLACE",
            **options,
            **condition,
        )
        return unquoted(answer.parsed["CopyObjectResult"]["ETag"])

    size = source.facts.size
    version = await S3Publication(store, target, lease, match, writer).run(send, size=size, checked=False)
    return Entry(target, size, None, version).described(metadata)


async def _copy_in_parts(session: S3Write, source: CopySource) -> Entry:
    try:
        await session.copy_from(source.where, source.facts.version, 0, source.facts.size)
        return await session.commit()
    except Conflict as error:
        raise Conflict.of(source.path, "a file was changed while it was copied") from error
    finally:
        await finish(session.abort())
