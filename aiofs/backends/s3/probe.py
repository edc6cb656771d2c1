"""Probing: whether a bucket's conditional writes can be trusted, and in which order it lists. Both are tried.

Only clear answers count. If the store fails or does not answer, that is `Unavailable`, and it is probed again next
time: a temporary failure says nothing about the store.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.s3.facts import Traits, versioning
from aiofs.errors import AccessDenied, AiofsError, Conflict, NotFound, Unavailable, Unsupported
from aiofs.kit import together
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from aiofs.backends.s3.client import SdkRequests

RACERS = 16
NAME = "probe-"
"""The beginning of the names of the objects that are written to probe, and removed afterwards."""
KEPT = "kept"
"""The end of the name of the only object that stays, if we may not remove objects."""
SORTED = ("-/b", ".c", "/a", "B", "b")
"""Ends of names, in the order of their bytes. A store that sorts by folder or by letter shows it here."""
ROUNDS = 4
"""How often to try again when somebody else wrote the object meanwhile."""
STALE = "0" * 32
"""A version that no object has."""
_LOST = (Conflict, NotFound, Unsupported)
"""Clear refusals: for the losers of a race, or because the store does not know conditions."""


async def probe(requests: SdkRequests, folder: str, path: str | None) -> Traits:
    """Try conditional writes on an object of our own in `folder`, some of them at the same time.

    A cancellation does not end it early: a request that is broken off could arrive after everything was removed.

    :raises OSError: about `path`, if the store did not answer clearly.
    """
    return await finish(_Probe(requests, folder, path).run())


class _Probe:
    def __init__(self, requests: SdkRequests, folder: str, path: str | None) -> None:
        self._requests = requests
        self._path = path
        self._key = f"{folder}{NAME}{clock.token()}"
        self._fixed = f"{folder}{NAME}{KEPT}"
        self._made: list[tuple[str, str]] = []  # keys and ids of the versions to remove
        self._versioning = ""

    async def run(self) -> Traits:
        """Try everything, and remove the objects."""
        removes = await self._may_remove()
        if not removes:
            self._key = self._fixed  # so only one object stays, however often it is probed
        try:
            traits = await self._conditions()
            if removes and traits.fault is None:
                traits = replace(traits, deletes=await self._deletes(traits))
            elif not removes:
                traits = replace(traits, deletes=None)
            traits = replace(traits, ordered=await self._order() if removes else None)
            return replace(traits, versioning=self._versioning)
        finally:
            if removes:
                await self._clean()

    async def _conditions(self) -> Traits:
        fault = await self._race(IfNoneMatch="*")
        if fault is not None:
            return Traits(fault=f"of {RACERS} exclusive creations of one object {fault}", deletes=False)
        for traits in (Traits(), Traits(quotes=False)):
            if await self._put(0, **traits.same(STALE)):
                return Traits(fault="a write with a stale If-Match is accepted", deletes=False)
            if await self._replaces(traits):
                break
        else:
            return Traits(fault="no write with If-Match is accepted", deletes=False)
        fault = await self._race(**traits.same(await self._version()))
        if fault is not None:
            return Traits(fault=f"of {RACERS} replacements of one version {fault}", deletes=False)
        return traits

    async def _replaces(self, traits: Traits) -> bool:
        """Return whether the store accepts a write in place of the present version.

        :raises Unavailable: if others, who may not remove objects either, write the same object again and again.
        """
        for _ in range(ROUNDS):
            version = await self._version()
            if await self._put(0, **traits.same(version)):
                return True
            if await self._version() == version:
                return False
        raise Unavailable.of(self._path, "others probe the store at the same time: try again")

    async def _race(self, **condition: str) -> str | None:
        """Make several writes at the same time, with different bytes; return what is wrong with the result.

        :raises Unavailable: if no write succeeded and the store failed, which may be the reason.
        """
        failures: list[Unavailable] = []

        async def attempt(number: int) -> bool:
            try:
                return await self._put(number, **condition)
            except Unavailable as error:
                failures.append(error)
                return False

        won = sum(await together(map(attempt, range(1, RACERS + 1))))
        if won > 1:
            return f"{won} succeeded"
        if won:
            return None  # the answers to the others do not matter: Ceph reports a failure to some of them
        if failures:
            raise failures[0]
        # If the answer to the winner was lost, none seems to have won; but the object is there.
        return None if await self._is_there() else "none succeeded"

    async def _put(self, number: int, **condition: Any) -> bool:
        body = f"{number} {clock.token()}".encode()
        try:
            await self._send("put_object", Key=self._key, Body=body, **condition)
        except _LOST:
            return False
        return True

    async def _send(self, operation: str, *, Key: str, **parameters: Any) -> None:  # noqa: N803 -- the SDK's own word
        """Make a request that may leave a version, and remember the version."""
        answer = await self._requests.send(operation, self._path, Key=Key, **parameters)
        if operation == "put_object":
            self._versioning = versioning(answer.version_id)
        if answer.version_id:
            self._made.append((Key, answer.version_id))

    async def _version(self) -> str:
        return (await self._requests.send("head_object", self._path, Key=self._key)).version

    async def _is_there(self) -> bool:
        try:
            await self._version()
        except NotFound:
            return False
        return True

    async def _may_remove(self) -> bool:
        """Return whether we may remove objects; one that is not there is removed to see it."""
        try:
            await self._send("delete_object", Key=self._key)
        except NotFound:
            return True
        except AccessDenied:
            return False
        return True

    async def _deletes(self, traits: Traits) -> bool:
        """Return whether DELETE checks conditions: it must refuse a stale version, and remove the present one."""
        try:
            await self._send("delete_object", Key=self._key, **traits.same(STALE))
        except Conflict:
            pass
        except Unsupported:
            return False
        else:
            return False
        try:
            await self._send("delete_object", Key=self._key, **traits.same(await self._version()))
        except (Conflict, Unsupported):
            return False
        return not await self._is_there()

    async def _order(self) -> bool | None:
        """Return whether names are listed in the order of their bytes, and `StartAfter` has the same order."""
        keys = [f"{self._key}{end}" for end in SORTED]
        try:
            await together(self._send("put_object", Key=key, Body=b"order") for key in keys)
            found = await self._listed()
            behind = await self._listed(StartAfter=keys[1])
        except AiofsError:
            return None  # no reason to fail: listings check the order themselves
        if sorted(found) != keys:
            return None
        return found == keys and behind == keys[2:]

    async def _listed(self, **start: Any) -> list[str]:
        page = await self._requests.page(Prefix=self._key, **start)
        return [entry.path for entry in page.entries if entry.path != self._key]

    async def _clean(self) -> None:
        """Remove all objects that may be there. `fsck` finds those that cannot be removed now."""
        keys = [self._key, *(f"{self._key}{end}" for end in SORTED)]
        kept = [self._remove(Key=key, VersionId=version_id) for key, version_id in self._made]
        if not kept or not all(await together(kept)):
            await together(self._remove(Key=key) for key in keys)

    async def _remove(self, **version: str) -> bool:
        try:
            await self._requests.send("delete_object", self._path, **version)
        except AiofsError:
            return False
        return True
