"""Locks that are objects: created if absent, renewed or taken over if unchanged, removed when released.

An object contains a note: who holds the lock and for how long. Its age is computed from the times in the store's
answers, so the clocks of the machines do not matter. `writing` protects files against writers that have lost their
lock: each write has a condition on the version that was there while the lease was valid.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.s3.errors import UNCLEAR
from aiofs.backends.s3.reading import open_stream
from aiofs.backends.s3.store import LOCKS
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, Conflict, Damaged, Locked, NotFound, Unavailable, Unsupported
from aiofs.kit import together, unknown_format
from aiofs.locks import NUMBERS_KEPT, LeaseElsewhere, RenewedLease, granted, locked, next_number
from aiofs.names import lock_of_path, path_of_lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiofs.backends.s3.client import SdkRequests
    from aiofs.backends.s3.facts import ObjectFacts, S3Answer, Traits
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Driver, Lease

FORMAT = 1
"""The number of the format of notes. 2.0.0a1 wrote the same format, without a number."""
ROUNDS = 4
"""How often to try again when the lock is released at the same time, or an answer was lost."""
_CLOCK_STEP = timedelta(seconds=1)  # HTTP gives times in whole seconds
_WHO = f"process {os.getpid()} on {socket.gethostname()}"


def new_note(path: str, lease: float) -> dict[str, Any]:
    """Return the note of a lock that is taken now."""
    return {
        "format": FORMAT,
        "path": path,
        "token": clock.token(),
        "holder": _WHO,
        "since": clock.now().isoformat(),
        "ttl": float(lease),
        "turn": 0,
    }


def freed_note(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return the note that says that the lock was released. A user who may not remove the object writes it."""
    return {**note, "ttl": 0, "free": True}


@dataclass(frozen=True)
class LockState:
    """A lock object, as it was read."""

    note: Mapping[str, Any]
    version: str
    version_id: str | None
    modified: datetime
    live: bool
    """Whether the lock is held, by the store's clock. A note in a newer format counts as held."""

    @property
    def path(self) -> str:
        """The path that is locked."""
        return str(self.note.get("path", ""))

    @property
    def holder(self) -> str | None:
        """Who holds the lock; `None` if it was released."""
        return None if self.note.get("free") else str(self.note.get("holder", "somebody"))

    @property
    def number(self) -> int | None:
        """The number of the last holder of a lock with a name."""
        return self.note.get("number")

    @property
    def needed(self) -> bool:
        """Whether nobody holds the lock, and the next holder needs its number."""
        return not self.live and self.number is not None and clock.now() - self.modified < NUMBERS_KEPT

    def refusal(self, path: str) -> Locked | Unsupported:
        """Return the error for somebody else who asks for the lock."""
        if not is_known(self.note):
            return unknown_format(path, "its lock", self.note["format"], FORMAT)
        since = self.note.get("since")
        return locked(path, self.holder, None if since is None else datetime.fromisoformat(since))


def parse_note(data: bytes, facts: ObjectFacts, version_id: str | None, path: str) -> LockState:
    """Return the lock object with the content `data`.

    :raises Damaged: if it is not a note of this package.
    """
    note = _read(data, path)
    now = facts.now or clock.now()
    live = not is_known(note) or (not note.get("free") and is_young(facts, float(note.get("ttl", 0))))
    return LockState(note, facts.version, version_id, facts.modified or now, live)


def is_known(note: Mapping[str, Any]) -> bool:
    """Return whether this program knows the format of a note."""
    number = note.get("format", FORMAT)
    return isinstance(number, int) and number == FORMAT


def is_young(facts: ObjectFacts, seconds: float) -> bool:
    """Return whether an object was written at most so many seconds ago, by the store's own clock."""
    if facts.modified is None:
        return True
    return (facts.now or clock.now()) - facts.modified < timedelta(seconds=seconds) + _CLOCK_STEP


def _read(data: bytes, path: str) -> dict[str, Any]:
    try:
        note = json.loads(data)
    except ValueError:
        note = None
    if not isinstance(note, dict):
        raise Damaged.of(path, "the object in place of its lock was not written by this package")
    return note


class LockObjects:
    """Reads, writes and removes the lock objects of a store."""

    def __init__(self, store: Store, requests: SdkRequests | None = None) -> None:
        self.store = store
        self._requests = requests or store.requests

    def urgently(self) -> LockObjects:
        """Return the same for renewals, which must not wait for their turn behind thousands of requests."""
        return LockObjects(self.store, self._requests.urgently())

    async def lock(self, path: str) -> ObjectLease:
        """Create the lock object, or take over one whose lease has run out.

        :raises Locked: at once, if somebody else holds the lock.
        :raises Unsupported: if the conditional writes of the store cannot be trusted.
        """
        for _ in range(ROUNDS):
            traits = await self._trusted(path)
            lease = await granted(self._acquire(path, traits))
            if traits.hold(lease.version_id):
                return lease
            # The bucket's versioning was switched since it was probed, so its conditions may not hold any more.
            self.store.forget(traits)
            await lease.release()
        raise Unavailable.of(path, "the bucket's versioning is being switched: try again")

    async def refuse(self, paths: Sequence[str], *, few: int) -> None:
        """Raise `Locked` if one of the paths is locked. More than `few` paths are compared with a list of all locks."""
        if len(paths) > few:
            taken = {entry async for entry in self.names()}
            paths = [path for path in paths if lock_key(path) in taken]
        for found, path in zip(await together(map(self.look, paths)), paths, strict=True):
            if found is not None and found.live:
                raise found.refusal(path)

    async def names(self) -> AsyncIterator[str]:
        """Yield the names of all lock objects, below the prefix."""
        where: dict[str, Any] = {"Prefix": self.store.key(LOCKS)}
        while True:
            page = await self._requests.page(cut=len(self.store.settings.prefix), **where)
            for entry in page.entries:
                yield entry.path
            if page.more is None:
                return
            where["ContinuationToken"] = page.more

    async def look(self, path: str) -> LockState | None:
        """Return the lock object of `path`, even one whose lease has run out; `None` if there is none."""
        return await self.read(lock_key(path), path)

    async def read(self, name: str, path: str | None = None) -> LockState | None:
        """Return the lock object with that name below the prefix; `path` is used in errors, if it is known."""
        store = self.store
        try:
            stream = await open_stream(self._requests, store.key(name), path or name, 0, None, match=None, whole=False)
        except NotFound:
            return None
        async with stream:
            return parse_note(await stream.rest(), stream.facts, stream.version_id, path or name)

    async def rewrite(self, note: Mapping[str, Any], match: str) -> S3Answer:
        """Write `note` to the lock object, in place of the version `match`.

        :raises Unsupported: if the conditional writes of the store cannot be trusted.
        """
        return await self._write(note, match, await self._trusted(note["path"]))

    async def _write(self, note: Mapping[str, Any], match: str, traits: Traits) -> S3Answer:
        path = note["path"]
        return await self._requests.send(
            "put_object",
            path,
            Key=self.store.key(lock_key(path)),
            Body=json.dumps(note).encode(),
            ContentType="application/json",
            **traits.condition(match),
        )

    async def remove(self, path: str, version: str) -> bool:
        """Remove a lock object; if the store checks that, only this version. Return whether it is gone.

        :raises AccessDenied: if we may not remove objects.
        """
        traits = await self.store.traits(path)
        condition = {} if traits.deletes is False else traits.same(version)
        try:
            await self._requests.send("delete_object", path, Key=self.store.key(lock_key(path)), **condition)
        except NotFound:
            return True
        except Conflict:
            return await self.look(path) is None  # some stores report a missing object as a conflict
        return True

    async def remove_versions(self, path: str, version_ids: Sequence[str]) -> bool:
        """Remove old versions of a lock object, the oldest first, which a bucket with versioning keeps.

        :return: Whether they are gone; `False` if we may not remove versions.
        """
        if not self.store.may_remove_versions:
            return False
        try:
            for each in version_ids:
                with suppress(NotFound):
                    await self._requests.send("delete_object", path, Key=self.store.key(lock_key(path)), VersionId=each)
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
                "system that keeps them (for example a RedisFileSystem)",
            )
        return traits

    async def _look_for_free(self, path: str) -> LockState | None:
        """Return the lock object of `path`, if there is one.

        :raises Locked: if somebody holds the lock.
        """
        found = await self.look(path)
        if found is not None and found.live:
            raise found.refusal(path)
        return found

    async def _acquire(self, path: str, traits: Traits) -> ObjectLease:
        note = new_note(path, self.store.settings.lease)
        named = lock_of_path(path) is not None
        granted = clock.monotonic()
        found = await self._look_for_free(path) if named else None
        for left in reversed(range(ROUNDS)):
            match = ABSENT if found is None else found.version
            replaced = [] if found is None else versions_to_remove(found.version_id)
            if named:
                note["number"] = next_number(None if found is None else found.number)
            try:
                answer = await self._write(note, match, traits)
            except UNCLEAR:
                found = await self.look(path)
                if found is not None and found.note.get("token") == note["token"]:
                    mine = dict(found.note)
                    return ObjectLease(self, mine, found.version, found.version_id, replaced=replaced, granted=granted)
                if found is not None and found.live:
                    raise found.refusal(path) from None
                if not left:
                    raise
            else:
                return ObjectLease(self, note, answer.version, answer.version_id, replaced=replaced, granted=granted)
        raise AssertionError  # the last round returns or raises


class ObjectLease(RenewedLease):
    """The lock of one path, which an object shows to others.

    The object of a lock with a name stays when the lock is released, as it has the number of the last holder.
    """

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
        self._turns = count(note["turn"] + 1)  # each turn is written once, so that we see which request succeeded
        self._version = version
        self._versions = [*replaced, *versions_to_remove(version_id)]
        self._unsure = False  # whether a version may be there that no answer has named
        self._turn = asyncio.Lock()
        self.version_id = version_id
        super().__init__(
            note["path"], note["token"], note["ttl"], renew=self._prolong, release=self._remove, granted=granted
        )
        self.number: int | None = note.get("number")

    async def _prolong(self) -> bool:
        """Renew the lock; return whether it is still ours."""
        async with self._turn:
            if not await self._rewrite({**self._note, "turn": next(self._turns)}, self._urgent):
                return False
            if len(self._versions) > 1:
                with suppress(OSError):  # the next renewal, or the release, tries again
                    if await self._urgent.remove_versions(self.path, self._versions[:-1]):
                        del self._versions[:-1]
            return True

    async def _remove(self) -> None:
        """Remove the object, unless it is somebody else's by now; or write into it that the lock is free."""
        async with self._turn:
            store = self._objects.store
            if self._unsure:
                await self._look_again(self._objects)
            if self.number is not None:
                await self._free()
                return
            if self._versions and await self._objects.remove_versions(self.path, self._versions):
                return
            traits = await store.traits(self.path)
            if traits.fault is not None:
                return  # versioning was switched meanwhile, and nothing can be removed safely: the lease runs out
            if store.may_remove is not False and traits.deletes is not None:
                try:
                    await (self._remove_checked() if traits.deletes else self._remove_quickly())
                except AccessDenied:
                    store.may_remove = False
                else:
                    store.may_remove = True
                    return
            await self._rewrite(freed_note(self._note), self._objects)

    async def _free(self) -> None:
        """Write into the object that the lock is free; remove its old versions."""
        traits = await self._objects.store.traits(self.path)
        if traits.fault is None and await self._rewrite(freed_note(self._note), self._objects):
            await self._objects.remove_versions(self.path, self._versions[:-1])

    async def _remove_checked(self) -> None:
        """Remove the object on a store that checks the version."""
        if not await self._objects.remove(self.path, self._version) and await self._look_again(self._objects):
            await self._objects.remove(self.path, self._version)

    async def _remove_quickly(self) -> None:
        """Remove the object on a store that does not check the version: renew the lock, then remove it in time."""
        if await self._rewrite({**self._note, "turn": next(self._turns)}, self._objects):
            with suppress(TimeoutError):  # then the lease runs out; a later removal could remove somebody else's lock
                async with asyncio.timeout(self._note["ttl"] / 2):
                    await self._objects.remove(self.path, self._version)

    async def _rewrite(self, note: dict[str, Any], objects: LockObjects) -> bool:
        """Write `note` in place of the version that we know; return whether the lock is ours."""
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
        self._versions += versions_to_remove(answer.version_id)
        return True

    async def _look_again(self, objects: LockObjects) -> LockState | None:
        """Read the object after a request without a clear answer; return it if it is ours."""
        found = await objects.look(self.path)
        if found is None or found.note.get("token") != self._note["token"]:
            return None
        self._version = found.version
        self._versions += [each for each in versions_to_remove(found.version_id) if each not in self._versions]
        return found


def versions_to_remove(version_id: str | None) -> list[str]:
    """Return the version to remove later, if the bucket keeps the versions that were replaced."""
    return [] if version_id is None or version_id == "null" else [version_id]


def lock_key(path: str) -> str:
    """Return the name of a path's lock object; its length does not depend on the path."""
    return f"{LOCKS}{digest(path)}"


def digest(name: str) -> str:
    """Return a name of 40 digits for a name of any length."""
    return hashlib.sha256(name.encode()).hexdigest()[:40]


class LocksElsewhere:
    """Locks in another store (`locks=`), which may keep those of several buckets."""

    def __init__(self, keeper: Driver, store: Store) -> None:
        self.keeper = keeper
        self._store = store

    async def lock(self, path: str) -> Lease:
        """Lock the path.

        :raises Locked: if somebody else holds the lock.
        """
        # A digest, as the keeper may refuse some keys: `a` and `a/b`, for example, if it has folders.
        name = f"{self._store.settings.bucket}/{digest(self._store.key(path))}"
        if lock_of_path(path) is not None:
            name = path_of_lock(name)
        try:
            return LeaseElsewhere(path, await self.keeper.lock(name))
        except OSError as error:
            error.filename = path  # the keeper's error has its own name of the lock
            raise
