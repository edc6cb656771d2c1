"""What unfinished writers left behind: told, and removed. Most of it expires by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.redis.locks import began, holder_of
from aiofs.backends.redis.names import LOCK, PART, key_of_tail, part_of, path_of
from aiofs.driver import Leftover
from aiofs.errors import WrongType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiofs.backends.redis.client import Connection

FOREVER = -1


class Sweeper:
    """The power to sweep."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield every lock that is held, and every write that is staged."""
        async for key in self._connection.keys(f"{LOCK}:*"):
            path = path_of(key_of_tail(key.removeprefix(LOCK)))
            if not path.startswith(prefix):
                continue
            try:
                value = await self._connection.ask(path, "GET", key)
            except WrongType:
                stays = f"the key {key!r} is no lock, and keeps writers of this file out: delete it by hand"
                yield Leftover(path, "lock", None, None, live=False, token="", stays=stays)
                continue
            if value:  # an empty one was given back
                since, holder = holder_of(value)
                yield Leftover(path, "lock", since, holder, live=True, token=key)
        async for key in self._connection.keys(f"{PART}:*.0:*"):
            leftover = await self._staged(key)
            if leftover is not None and leftover.path.startswith(prefix):
                yield leftover

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove a staged write whose lock is gone. A lock is live as long as it is there."""
        key = leftover.token
        if key.startswith(f"{LOCK}:"):
            return not await self._connection.ask(leftover.path, "EXISTS", key)
        found = await self._staged(key)
        if found is None:
            return True
        if found.live:
            return False
        identity, tail = _parsed(key)
        number = 0
        while await self._connection.ask(leftover.path, "UNLINK", part_of(identity, number, tail)):
            number += 1
        return True

    async def _staged(self, key: str) -> Leftover | None:
        """Return what is left over of a session, given the key of its first part; `None` if that is part of a file."""
        identity, tail = _parsed(key)
        name = key_of_tail(tail)
        lock, published, life = await self._connection.ask_each(
            [
                ("GET", LOCK + tail),
                ("HGET", name, "aiofs"),
                ("PTTL", key),
            ]
        )
        if published == identity.encode() or life < FOREVER:
            return None
        kind = "prepared write" if life == FOREVER else "staged write"
        value = lock or b""
        live = value.startswith(identity.partition("-")[0].encode())
        holder = holder_of(value)[1] if live else None
        return Leftover(path_of(name), kind, began(identity), holder, live=live, token=key)


def _parsed(key: str) -> tuple[str, str]:
    """Return the identity and the tail in the key of a first part."""
    identity, _, tail = key.removeprefix(f"{PART}:").partition(".0:")
    return identity, f":{tail}"
