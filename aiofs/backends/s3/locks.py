"""What a lock object says: who holds the lock, since when and for how long, in a numbered format."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.errors import UNCLEAR
from aiofs.backends.s3.reading import open_stream
from aiofs.backends.s3.store import LOCKS
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, Conflict, Damaged, Locked, NotFound, Unavailable, Unsupported
from aiofs.kit import together
from aiofs.locks import LeaseElsewhere, RenewedLease, granted, locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.probe import Traits
    from aiofs.backends.s3.requests import Answer, Sdk
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Driver, Lease

FORMAT = 1
"""The number of the format. 2.0.0a1 wrote the same, without a number."""
_CLOCK_STEP = timedelta(seconds=1)  # HTTP tells times in whole seconds
_WHO = f"process {os.getpid()} on {socket.gethostname()}"


def new_note(path: str, lease: float) -> dict[str, Any]:
    """Return what the lock of somebody says who takes it now."""
    return {
        "format": FORMAT,
        "path": path,
        "token": uuid.uuid4().hex,
        "holder": _WHO,
        "since": datetime.now(UTC).isoformat(),
        "ttl": lease,
        "turn": 0,
    }


def freed_note(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the same lock says once it is given back by somebody who may not remove it."""
    return {**note, "ttl": 0, "free": True}


@dataclass(frozen=True)
class Found:
    """A lock object as it is."""

    note: Mapping[str, Any]
    version: str
    version_id: str | None
    modified: datetime
    live: bool
    """Whether the lock is held, as far as the store's clock tells; one in a format of the future is."""

    @property
    def path(self) -> str:
        """What is locked."""
        return str(self.note.get("path", ""))

    @property
    def holder(self) -> str | None:
        """Who holds the lock; `None` if it was given back."""
        return None if self.note.get("free") else str(self.note.get("holder", "somebody"))

    def refusal(self, path: str) -> Locked | Unsupported:
        """Return the error for somebody else who wants the lock."""
        if not is_known(self.note):
            return Unsupported.of(
                path,
                f"its lock has the format {self.note['format']!r}, and this aiofs knows {FORMAT}: "
                "use the aiofs that wrote it, or a newer one",
            )
        since = self.note.get("since")
        return locked(path, self.holder, None if since is None else datetime.fromisoformat(since))


def parse_note(data: bytes, facts: Facts, version_id: str | None, path: str) -> Found:
    """Return the lock object that was read.

    :raises Damaged: if somebody else has put something else there.
    """
    note = _read(data, path)
    now = facts.now or datetime.now(UTC)
    live = not is_known(note) or (not note.get("free") and is_young(facts, float(note.get("ttl", 0))))
    return Found(note, facts.version, version_id, facts.modified or now, live)


def is_known(note: Mapping[str, Any]) -> bool:
    """Whether this program knows the format of what a lock object says."""
    number = note.get("format", FORMAT)
    return isinstance(number, int) and number == FORMAT


def is_young(facts: Facts, seconds: float) -> bool:
    """Return whether an object was written no longer ago than that, by the store's own clock."""
    if facts.modified is None:
        return True
    return (facts.now or datetime.now(UTC)) - facts.modified < timedelta(seconds=seconds) + _CLOCK_STEP


def _read(data: bytes, path: str) -> dict[str, Any]:
    try:
        note = json.loads(data)
    except ValueError as error:
        raise Damaged.of(path, "the object that is its lock is none of this package's") from error
    if not isinstance(note, dict):
        raise Damaged.of(path, "the object that is its lock is none of this package's")
    return note


ROUNDS = 4
"""How often to try a lock that is given back, or whose answers are lost, just then."""


class LockObjects:
    """The lock objects of a store."""

    def __init__(self, store: Store, calls: Sdk | None = None) -> None:
        self.store = store
        self._calls = calls or store.calls

    def urgently(self) -> LockObjects:
        """Return the same for renewals, which must not wait for their turn behind thousands of requests."""
        return LockObjects(self.store, self._calls.urgently())

    async def lock(self, path: str) -> ObjectLease:
        """Create the lock object, or take over one whose time is up.

        :raises Locked: at once, if somebody else has it.
        :raises Unsupported: if the store's conditional writes cannot be trusted.
        """
        for _ in range(ROUNDS):
            traits = await self._trusted(path)
            lease = await granted(self._acquire(path, traits))
            if traits.hold(lease.version_id):
                return lease
            # The bucket's versioning was switched since it was tried, so the lock may be worth nothing.
            self.store.forget(traits)
            await lease.release()
        raise Unavailable.of(path, "the bucket's versioning is being switched: try again")

    async def refuse(self, paths: Sequence[str], *, few: int) -> None:
        """Raise `Locked` if one of `paths` is taken; more than `few` of them are compared with a list of all locks."""
        if len(paths) > few:
            taken = {entry async for entry in self.names()}
            paths = [path for path in paths if lock_key(path) in taken]
        for found, path in zip(await together(map(self.look, paths)), paths, strict=True):
            if found is not None and found.live:
                raise found.refusal(path)

    async def names(self) -> AsyncIterator[str]:
        """Yield the names below the prefix of all lock objects."""
        where: dict[str, Any] = {"Prefix": self.store.key(LOCKS)}
        while True:
            page = await self._calls.page(cut=len(self.store.settings.prefix), **where)
            for entry in page.entries:
                yield entry.path
            if page.more is None:
                return
            where["ContinuationToken"] = page.more

    async def look(self, path: str) -> Found | None:
        """Return the lock object of `path`, live or not."""
        return await self.read(lock_key(path), path)

    async def read(self, name: str, path: str | None = None) -> Found | None:
        """Return the lock object of that name below the prefix, which is for `path` if that is known."""
        store = self.store
        try:
            stream = await open_stream(self._calls, store.key(name), path or name, 0, None, match=None, whole=False)
        except NotFound:
            return None
        async with stream:
            return parse_note(await stream.rest(), stream.facts, stream.version_id, path or name)

    async def rewrite(self, note: Mapping[str, Any], match: str) -> Answer:
        """Make `note` the lock object in place of `match`.

        :raises Unsupported: if the store's conditional writes cannot be trusted.
        """
        return await self._write(note, match, await self._trusted(note["path"]))

    async def _write(self, note: Mapping[str, Any], match: str, traits: Traits) -> Answer:
        path = note["path"]
        return await self._calls.send(
            "put_object",
            path,
            Key=self.store.key(lock_key(path)),
            Body=json.dumps(note).encode(),
            ContentType="application/json",
            **traits.condition(match),
        )

    async def remove(self, path: str, version: str) -> bool:
        """Remove a lock object if it still is `version`, as far as the store checks; return whether it is gone.

        :raises AccessDenied: if we may not remove objects.
        """
        traits = await self.store.traits(path)
        condition = {} if traits.deletes is False else traits.same(version)
        try:
            await self._calls.send("delete_object", path, Key=self.store.key(lock_key(path)), **condition)
        except NotFound:
            return True
        except Conflict:
            return await self.look(path) is None  # some stores say so where there is none
        return True

    async def remove_versions(self, path: str, version_ids: Sequence[str]) -> bool:
        """Remove old versions of a lock object, oldest first, which a bucket with versioning kept.

        :return: Whether they are gone; `False` if we may not remove versions.
        """
        if not self.store.may_remove_versions:
            return False
        try:
            for each in version_ids:
                with suppress(NotFound):
                    await self._calls.send("delete_object", path, Key=self.store.key(lock_key(path)), VersionId=each)
        except AccessDenied:
            self.store.may_remove_versions = False
            return False
        return True

    async def _trusted(self, path: str) -> Traits:
        traits = await self.store.traits(path)
        if traits.fault is not None:
            raise Unsupported.of(
                path,
                f"locks cannot be kept in {self.store.settings}, because {traits.fault}: give locks=, another file "
                "system that keeps them (a RedisFileSystem, say)",
            )
        return traits

    async def _acquire(self, path: str, traits: Traits) -> ObjectLease:
        note = new_note(path, self.store.settings.lease)
        granted = time.monotonic()
        match = ABSENT
        replaced: list[str] = []
        for left in reversed(range(ROUNDS)):
            try:
                answer = await self._write(note, match, traits)
            except UNCLEAR:
                found = await self.look(path)
                if found is None:
                    match = ABSENT
                elif found.note.get("token") == note["token"]:
                    return ObjectLease(self, note, found.version, found.version_id, replaced=replaced, granted=granted)
                elif found.live:
                    raise found.refusal(path) from None
                else:
                    match = found.version
                    replaced = kept(found.version_id)
                if not left:
                    raise
            else:
                return ObjectLease(self, note, answer.version, answer.version_id, replaced=replaced, granted=granted)
        raise AssertionError  # the last round returns or raises


class ObjectLease(RenewedLease):
    """The right to write one path, told to others by an object."""

    def __init__(
        self,
        objects: LockObjects,
        note: dict[str, Any],
        version: str,
        version_id: str | None,
        *,
        replaced: list[str],
        granted: float,
    ) -> None:
        self._objects = objects
        self._urgent = objects.urgently()
        self._note = note
        self._turns = count(note["turn"] + 1)  # each is written once, so that it is known which request succeeded
        self._version = version
        self._versions = [*replaced, *kept(version_id)]
        self._unsure = False  # whether a version may be there whose answer did not come
        self._turn = asyncio.Lock()
        self.version_id = version_id
        super().__init__(
            note["path"], note["token"], note["ttl"], renew=self.confirm, release=self._remove, granted=granted
        )

    async def confirm(self) -> bool:
        """Ask for the lock anew; return whether it still is ours."""
        async with self._turn:
            if not await self._rewrite({**self._note, "turn": next(self._turns)}, self._urgent):
                return False
            if len(self._versions) > 1:
                with suppress(OSError):  # a bucket that keeps versions keeps no more of them than it must
                    if await self._urgent.remove_versions(self.path, self._versions[:-1]):
                        del self._versions[:-1]
            return True

    async def _remove(self) -> None:
        """Remove the object, unless it became somebody else's, or say in it that the lock is free."""
        async with self._turn:
            store = self._objects.store
            if self._unsure:
                await self._look_again(self._objects)
            if self._versions and await self._objects.remove_versions(self.path, self._versions):
                return
            traits = await store.traits(self.path)
            if traits.fault is not None:
                return  # versioning was switched meanwhile, and nothing can be removed safely: it runs out
            if store.may_remove is not False and traits.deletes is not None:
                try:
                    await (self._remove_checked() if traits.deletes else self._remove_quickly())
                except AccessDenied:
                    store.may_remove = False
                else:
                    store.may_remove = True
                    return
            await self._rewrite(freed_note(self._note), self._objects)

    async def _remove_checked(self) -> None:
        """Remove the object where the store checks that it still is the one that we know."""
        if not await self._objects.remove(self.path, self._version) and await self._look_again(self._objects):
            await self._objects.remove(self.path, self._version)

    async def _remove_quickly(self) -> None:
        """Remove the object where the store does not check: while the lock is sure to be ours."""
        if await self._rewrite({**self._note, "turn": next(self._turns)}, self._objects):
            with suppress(TimeoutError):  # it runs out: removed any later, it might be somebody else's
                async with asyncio.timeout(self._note["ttl"] / 2):
                    await self._objects.remove(self.path, self._version)

    async def _rewrite(self, note: dict[str, Any], objects: LockObjects) -> bool:
        """Put `note` in the place of what we have written; return whether the lock is ours."""
        self._unsure = True
        try:
            answer = await objects.rewrite(note, self._version)
        except UNCLEAR:
            found = await self._look_again(objects)
            if found is None:
                return False
            if found.note == note:
                self._note, self._unsure = note, False
                return True
            answer = await objects.rewrite(note, self._version)
        self._note, self._version, self._unsure = note, answer.version, False
        self._versions += kept(answer.version_id)
        return True

    async def _look_again(self, objects: LockObjects) -> Found | None:
        """Look what became of a request whose answer was lost; return the lock if it is ours."""
        found = await objects.look(self.path)
        if found is None or found.note.get("token") != self._note["token"]:
            return None
        self._version = found.version
        self._versions += [each for each in kept(found.version_id) if each not in self._versions]
        return found


def kept(version_id: str | None) -> list[str]:
    """Return the version to remove in the end, where a bucket keeps those that are replaced."""
    return [] if version_id is None or version_id == "null" else [version_id]


def lock_key(path: str) -> str:
    """Return the name of a path's lock object, of bounded length whatever the path."""
    return f"{LOCKS}{digest(path)}"


def digest(name: str) -> str:
    """Return a short name for a name of any length."""
    return hashlib.sha256(name.encode()).hexdigest()[:40]


class LocksElsewhere:
    """Locks that another store keeps, which may keep those of several buckets."""

    def __init__(self, keeper: Driver, store: Store) -> None:
        self.keeper = keeper
        self._store = store

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path.

        :raises Locked: if somebody else has it.
        """
        # A digest, as the keeper may not take every key: to it, what has a slash may be in a folder of what has none.
        name = f"{self._store.settings.bucket}/{digest(self._store.key(path))}"
        try:
            return LeaseElsewhere(path, await self.keeper.lock(name))
        except OSError as error:
            error.filename = path  # the keeper says what it calls the lock
            raise
