"""Whether a store checks conditions, and atomically: found out by trying, since none of them tells."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiofs.driver import ABSENT
from aiofs.errors import Conflict, NotFound, Unavailable, Unsupported
from aiofs.sessions import together
from aiofs.shield import finish

if TYPE_CHECKING:
    from aiofs.backends.s3.calls import Sdk

RACERS = 16
NAME = "probe-"
"""What the name of the object begins with, which is tried with and then removed."""
_STALE = "0" * 32
_LOST = (Conflict, NotFound, Unavailable)
"""How stores answer to the losers of a race."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a store treats conditions."""

    fault: str | None = None
    """Why locks cannot be made of its conditions."""
    quotes: bool = True
    """Whether `If-Match` of a write takes ETags with their quotes, as the standard has it."""
    deletes: bool = True
    """Whether `DELETE` checks `If-Match`."""

    def condition(self, match: str) -> dict[str, str]:
        """Return the parameters by which a PUT replaces `match` only; none where the store would not honour them."""
        if self.fault is not None:
            return {}
        return {"IfNoneMatch": "*"} if match == ABSENT else self.same(match)

    def same(self, version: str) -> dict[str, str]:
        """Return the parameter by which a write is about `version` only."""
        return {"IfMatch": f'"{version}"' if self.quotes else version}


AWS = Traits()


async def probe(calls: Sdk, folder: str) -> Traits:
    """Try conditional writes on an object of its own in `folder`, some of them at the same time."""
    key = f"{folder}{NAME}{uuid.uuid4().hex}"
    try:
        return await _Probe(calls, key).traits()
    finally:
        await finish(calls.send("delete_object", None, Key=key))


class _Probe:
    def __init__(self, calls: Sdk, key: str) -> None:
        self._calls = calls
        self._key = key

    async def traits(self) -> Traits:
        fault = await self._race(IfNoneMatch="*")
        if fault is not None:
            return Traits(fault=f"of {RACERS} exclusive creations of one object {fault}", deletes=False)
        for traits in (Traits(), Traits(quotes=False)):
            if await self._put(0, **traits.same(_STALE)):
                return Traits(fault="a write with a stale If-Match is accepted", deletes=False)
            if await self._put(0, **traits.same(await self._version())):
                break
        else:
            return Traits(fault="no write with If-Match is accepted", deletes=False)
        fault = await self._race(**traits.same(await self._version()))
        if fault is not None:
            return Traits(fault=f"of {RACERS} replacements of one version {fault}", deletes=False)
        return Traits(quotes=traits.quotes, deletes=await self._deletes_conditionally(traits))

    async def _race(self, **condition: str) -> str | None:
        """Write at the same time, each something else; return what is wrong with the outcome."""
        won = await together(self._put(number, **condition) for number in range(1, RACERS + 1))
        if sum(won) > 1:
            return f"{sum(won)} succeeded"
        # None is told that it won where the answer to the winner was lost; then the object is there all the same.
        return None if any(won) or await self._is_there() else "none succeeded"

    async def _put(self, number: int, **condition: Any) -> bool:
        body = f"{number} {uuid.uuid4().hex}".encode()
        try:
            await self._calls.send("put_object", None, Key=self._key, Body=body, **condition)
        except (*_LOST, Unsupported):
            return False
        return True

    async def _version(self) -> str:
        return (await self._calls.send("head_object", None, Key=self._key)).version

    async def _is_there(self) -> bool:
        try:
            await self._version()
        except NotFound:
            return False
        return True

    async def _deletes_conditionally(self, traits: Traits) -> bool:
        try:
            await self._calls.send("delete_object", None, Key=self._key, **traits.same(_STALE))
        except Conflict:
            return True
        except Unsupported:
            return False
        return False
