"""Locks made of objects: created if absent, renewed and taken over if unchanged, removed when given back.

An object says who holds the lock and for how long; the store's own clock, in its answers, says since when. So the
clocks of the machines do not matter. The fence is not here but in `publishing`: what is written is made conditional on
the version seen while the lease was known to hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.errors import UNCLEAR
from aiofs.backends.s3.reading import open_stream
from aiofs.backends.s3.store import LOCKS
from aiofs.driver import ABSENT
from aiofs.errors import Conflict, Damaged, NotFound, Unsupported
from aiofs.locks import LeaseElsewhere, RenewedLease, granted, locked
from aiofs.sessions import together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiofs.backends.s3.calls import Sdk
    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Driver, Lease
    from aiofs.errors import Locked

ROUNDS = 4
"""How often to try a lock that is given back, or whose answers are lost, just then."""
_CLOCK_STEP = timedelta(seconds=1)  # HTTP tells times in whole seconds
_WHO = f"process {os.getpid()} on {socket.gethostname()}"


@dataclass(frozen=True)
class Found:
    """A lock object as it is."""

    note: Mapping[str, Any]
    version: str
    modified: datetime
    live: bool

    @property
    def path(self) -> str:
        """What is locked."""
        return str(self.note.get("path", ""))

    @property
    def holder(self) -> str:
        """Who holds the lock."""
        return str(self.note.get("holder", "somebody"))

    def refusal(self, path: str) -> Locked:
        """Return the error for somebody else who wants the lock."""
        since = self.note.get("since")
        return locked(path, self.holder, None if since is None else datetime.fromisoformat(since))


class LockObjects:
    """The lock objects of a store."""

    def __init__(self, store: Store, calls: Sdk | None = None) -> None:
        self._store = store
        self._calls = calls or store.calls

    def urgently(self) -> LockObjects:
        """Return the same for renewals, which must not wait for their turn behind thousands of requests."""
        return LockObjects(self._store, self._calls.urgently())

    async def lock(self, path: str) -> ObjectLease:
        """Create the lock object, or take over one whose time is up.

        :raises Locked: at once, if somebody else has it.
        :raises Unsupported: if the store's conditional writes cannot be trusted.
        """
        fault = (await self._store.traits()).fault
        if fault is not None:
            raise Unsupported.of(
                path,
                f"locks cannot be kept in {self._store.settings}, because {fault}: give locks=, another file system "
                "that keeps them (a RedisFileSystem, say)",
            )
        return await granted(self._acquire(path))

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
        where: dict[str, Any] = {"Prefix": self._store.key(LOCKS)}
        while True:
            page = await self._calls.page(cut=len(self._store.settings.prefix), **where)
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
        store = self._store
        try:
            stream = await open_stream(self._calls, store.key(name), path or name, 0, None, match=None, whole=False)
        except NotFound:
            return None
        async with stream:
            note = _read_note(await stream.rest(), path or name)
        facts = stream.facts
        now = facts.now or datetime.now(UTC)
        live = is_young(facts, float(note.get("ttl", 0)))
        return Found(note, facts.version, facts.modified or now, live)

    async def remove_checked(self, path: str, version: str) -> bool:
        """Remove a lock object if the store checks by itself that it still is `version`; return whether it is gone."""
        return (await self._store.traits()).deletes and await self.remove(path, version)

    async def remove(self, path: str, version: str) -> bool:
        """Remove a lock object if it still is `version`, as far as the store checks; return whether it is gone."""
        traits = await self._store.traits()
        condition = traits.same(version) if traits.deletes else {}
        try:
            await self._calls.send("delete_object", path, Key=self._store.key(lock_key(path)), **condition)
        except NotFound:
            return True
        except Conflict:
            return False
        return True

    async def write(self, note: Mapping[str, Any], match: str) -> str:
        """Make `note` the lock object in place of `match`, and return its version."""
        traits = await self._store.traits()
        answer = await self._calls.send(
            "put_object",
            note["path"],
            Key=self._store.key(lock_key(note["path"])),
            Body=json.dumps(note).encode(),
            ContentType="application/json",
            **traits.condition(match),
        )
        return answer.version

    async def _acquire(self, path: str) -> ObjectLease:
        note = {
            "path": path,
            "token": uuid.uuid4().hex,
            "holder": _WHO,
            "since": datetime.now(UTC).isoformat(),
            "ttl": self._store.settings.lease,
            "turn": 0,
        }
        granted = time.monotonic()
        match = ABSENT
        for left in reversed(range(ROUNDS)):
            try:
                version = await self.write(note, match)
            except UNCLEAR:
                found = await self.look(path)
                if found is None:
                    match = ABSENT
                elif found.note.get("token") == note["token"]:
                    return ObjectLease(self, note, found.version, granted)
                elif found.live:
                    raise found.refusal(path) from None
                else:
                    match = found.version
                if not left:
                    raise
            else:
                return ObjectLease(self, note, version, granted)
        raise AssertionError  # the last round returns or raises


class ObjectLease(RenewedLease):
    """The right to write one path, told to others by an object."""

    def __init__(self, objects: LockObjects, note: dict[str, Any], version: str, granted: float) -> None:
        self._objects = objects
        self._urgent = objects.urgently()
        self._note = note
        self._version = version
        self._turn = asyncio.Lock()
        super().__init__(
            note["path"], note["token"], note["ttl"], renew=self.confirm, release=self._remove, granted=granted
        )

    async def confirm(self) -> bool:
        """Ask for the lock anew; return whether it still is ours."""
        async with self._turn:
            self._note = {**self._note, "turn": self._note["turn"] + 1}
            try:
                self._version = await self._urgent.write(self._note, self._version)
            except UNCLEAR:
                found = await self._ours(self._urgent)
                if found is None:
                    return False
                self._version = await self._urgent.write(self._note, found.version)
            return True

    async def _remove(self) -> None:
        """Remove the object, unless it became somebody else's."""
        async with self._turn:
            if not await self._objects.remove_checked(self.path, self._version):
                # Renewed by a request whose answer was lost, or somebody else's, or the store does not check.
                found = await self._ours(self._objects)
                if found is not None:
                    await self._objects.remove(self.path, found.version)

    async def _ours(self, objects: LockObjects) -> Found | None:
        found = await objects.look(self.path)
        return found if found is not None and found.note.get("token") == self._note["token"] else None


def is_young(facts: Facts, seconds: float) -> bool:
    """Return whether an object was written no longer ago than that, by the store's own clock."""
    if facts.modified is None:
        return True
    return (facts.now or datetime.now(UTC)) - facts.modified < timedelta(seconds=seconds) + _CLOCK_STEP


def _read_note(data: bytes, path: str) -> dict[str, Any]:
    """Return what a lock object says.

    :raises Damaged: if somebody else has put something else there.
    """
    try:
        note = json.loads(data)
    except ValueError as error:
        raise Damaged.of(path, "the object that is its lock is none of this package's") from error
    if not isinstance(note, dict):
        raise Damaged.of(path, "the object that is its lock is none of this package's")
    return note


def lock_key(path: str) -> str:
    """Return the name of a path's lock object, of bounded length whatever the path."""
    return f"{LOCKS}{_digest(path)}"


def _digest(name: str) -> str:
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
        name = f"{self._store.settings.bucket}/{_digest(self._store.key(path))}"
        try:
            return LeaseElsewhere(path, await self.keeper.lock(name))
        except OSError as error:
            error.filename = path  # the keeper says what it calls the lock
            raise
