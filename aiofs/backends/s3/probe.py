"""What a bucket can promise: found out by trying, since no store tells.

Only clear answers give a verdict. A store that failed, or did not answer, is `Unavailable` and asked again next time:
a bad moment is not a nature.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, AiofsError, Conflict, NotFound, Unavailable, Unsupported
from aiofs.kit import together
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from aiofs.backends.s3.requests import Sdk

RACERS = 16
NAME = "probe-"
"""What the names of the objects begin with, which are tried with and then removed."""
KEPT = "kept"
"""How the name of the only one ends that whoever may not remove any leaves."""
SORTED = ("-/b", ".c", "/a", "B", "b")
"""How names end, in the order of their bytes, that stores without this order list otherwise: by folder, by letter."""
ROUNDS = 4
"""How often to try again what somebody else came before."""
STALE = "0" * 32
"""A version that no object has."""
_LOST = (Conflict, NotFound, Unsupported)
"""How stores answer clearly to the losers of a race, or to conditions that they do not know."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a bucket treats conditions, and in which order it lists."""

    fault: str | None = None
    """Why locks cannot be made of its conditions."""
    quotes: bool = True
    """Whether `If-Match` of a write takes ETags with their quotes, as the standard has it."""
    deletes: bool | None = True
    """Whether `DELETE` checks `If-Match`; `None` where we may not remove, and so cannot know."""
    ordered: bool | None = True
    """Whether it lists by the bytes of its names, and from where it is told; `None` if that could not be tried."""
    versioning: str | None = None
    """Which versions it kept when it was tried: none (`""`), one ("null") or all ("all"); `None` where it is trusted
    anyway."""

    def condition(self, match: str) -> dict[str, str]:
        """Return the parameters by which a PUT replaces `match` only; none where the store would not honour them."""
        if self.fault is not None:
            return {}
        return {"IfNoneMatch": "*"} if match == ABSENT else self.same(match)

    def same(self, version: str) -> dict[str, str]:
        """Return the parameter by which a write is about `version` only."""
        return {"IfMatch": f'"{version}"' if self.quotes else version}

    def hold(self, version_id: str | None) -> bool:
        """Whether the bucket still treats versions as when it was tried, by the answer to a write."""
        return self.versioning in {None, versioning(version_id)}


AWS = Traits()


def versioning(version_id: str | None) -> str:
    """Return which versions a bucket keeps that answers to a write with that version id."""
    return "null" if version_id == "null" else "all" if version_id else ""


async def probe(calls: Sdk, folder: str, path: str) -> Traits:
    """Try conditional writes on an object of its own in `folder`, some of them at the same time.

    Once begun it is ended, whoever is cancelled: a request that is broken off may arrive after all was removed.

    :raises OSError: about `path`, if the store did not answer clearly.
    """
    return await finish(_Probe(calls, folder, path).run())


class _Probe:
    def __init__(self, calls: Sdk, folder: str, path: str) -> None:
        self._calls = calls
        self._path = path
        self._key = f"{folder}{NAME}{uuid.uuid4().hex}"
        self._fixed = f"{folder}{NAME}{KEPT}"
        self._made: list[tuple[str, str]] = []  # keys and ids of the versions to remove
        self._versioning = ""

    async def run(self) -> Traits:
        """Try everything and remove what it took."""
        removes = await self._may_remove()
        if not removes:
            self._key = self._fixed  # what stays is one object, however often this is tried
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
        """Whether a write in place of the version that is there is accepted.

        :raises Unavailable: if others who may not remove theirs try the same object, again and again.
        """
        for _ in range(ROUNDS):
            version = await self._version()
            if await self._put(0, **traits.same(version)):
                return True
            if await self._version() == version:
                return False
        raise Unavailable.of(self._path, "others try the store at the same time: try again")

    async def _race(self, **condition: str) -> str | None:
        """Write at the same time, each something else; return what is wrong with the outcome.

        :raises Unavailable: if none won and the store failed: then that may be why.
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
            return None  # whatever the others were told: Ceph fails for some of those who lose
        if failures:
            raise failures[0]
        # None is told that it won where the answer to the winner was lost; then the object is there all the same.
        return None if await self._is_there() else "none succeeded"

    async def _put(self, number: int, **condition: Any) -> bool:
        body = f"{number} {uuid.uuid4().hex}".encode()
        try:
            await self._send("put_object", Key=self._key, Body=body, **condition)
        except _LOST:
            return False
        return True

    async def _send(self, operation: str, *, Key: str, **parameters: Any) -> None:  # noqa: N803 -- the SDK's own word
        """Make a request that may leave a version, and remember it."""
        answer = await self._calls.send(operation, self._path, Key=Key, **parameters)
        if operation == "put_object":
            self._versioning = versioning(answer.version_id)
        if answer.version_id:
            self._made.append((Key, answer.version_id))

    async def _version(self) -> str:
        return (await self._calls.send("head_object", self._path, Key=self._key)).version

    async def _is_there(self) -> bool:
        try:
            await self._version()
        except NotFound:
            return False
        return True

    async def _may_remove(self) -> bool:
        """Whether we may remove objects, which is asked about one that is not there."""
        try:
            await self._send("delete_object", Key=self._key)
        except NotFound:
            return True
        except AccessDenied:
            return False
        return True

    async def _deletes(self, traits: Traits) -> bool:
        """Whether DELETE checks conditions: refuses what is stale, and does what is not."""
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
        """Whether names are listed by their bytes, and `StartAfter` by the same order."""
        keys = [f"{self._key}{end}" for end in SORTED]
        try:
            await together(self._send("put_object", Key=key, Body=b"order") for key in keys)
            found = await self._listed()
            behind = await self._listed(StartAfter=keys[1])
        except AiofsError:
            return None  # not what was to be found out in the first place: listings look by themselves
        if sorted(found) != keys:
            return None
        return found == keys and behind == keys[2:]

    async def _listed(self, **start: Any) -> list[str]:
        page = await self._calls.page(Prefix=self._key, **start)
        return [entry.path for entry in page.entries if entry.path != self._key]

    async def _clean(self) -> None:
        """Remove everything that may be there; what cannot be removed now, `fsck` finds."""
        keys = [self._key, *(f"{self._key}{end}" for end in SORTED)]
        kept = [self._remove(Key=key, VersionId=version_id) for key, version_id in self._made]
        if not kept or not all(await together(kept)):
            await together(self._remove(Key=key) for key in keys)

    async def _remove(self, **version: str) -> bool:
        try:
            await self._calls.send("delete_object", self._path, **version)
        except AiofsError:
            return False
        return True
