"""What unfinished writers left: reporting it, and removing it. Most of it expires by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.redis.locks import begun_at, holder_of
from aiofs.backends.redis.names import FOREVER, LOCK, PART, key_of_tail, part_of, path_of
from aiofs.errors import WrongType
from aiofs.powers import Leftover

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiofs.backends.redis.client import RedisClient


class RedisSweeper:
    """The power to sweep a Redis."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield every lock that is held, and every staged write."""
        async for key in self._client.keys(f"{LOCK}:*"):
            path = path_of(key_of_tail(key.removeprefix(LOCK)))
            if not path.startswith(prefix):
                continue
            try:
                value = await self._client.ask(path, "GET", key)
            except WrongType:
                stays = f"the key {key!r} is not a lock, and keeps everybody from writing this file: delete it by hand"
                yield Leftover(path, "lock", None, None, live=False, token="", stays=stays)
                continue
            if value:  # an empty one was released
                since, holder = holder_of(value)
                yield Leftover(path, "lock", since, holder, live=True, token=key)
        async for key in self._client.keys(f"{PART}:*.0:*"):
            leftover = await self._staged(key)
            if leftover is not None and leftover.path.startswith(prefix):
                yield leftover

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove a staged write whose lock is gone. A lock that exists is live."""
        key = leftover.token
        if key.startswith(f"{LOCK}:"):
            return not await self._client.ask(leftover.path, "EXISTS", key)
        found = await self._staged(key)
        if found is None:
            return True
        if found.live:
            return False
        identity, tail = _parsed(key)
        number = 0
        while await self._client.ask(leftover.path, "UNLINK", part_of(identity, number, tail)):
            number += 1
        return True

    async def _staged(self, key: str) -> Leftover | None:
        """Return the leftover of a session, given the key of its first part; `None` if the part belongs to a file."""
        identity, tail = _parsed(key)
        name = key_of_tail(tail)
        lock, published, life = await self._client.ask_each(
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
        return Leftover(path_of(name), kind, begun_at(identity), holder, live=live, token=key)


def _parsed(key: str) -> tuple[str, str]:
    """Return the identity and the tail in the key of a first part."""
    identity, _, tail = key.removeprefix(f"{PART}:").partition(".0:")
    return identity, f":{tail}"
