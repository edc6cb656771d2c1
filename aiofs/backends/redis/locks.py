"""Locks: keys that expire unless their holder renews them."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiofs import clock
from aiofs.backends.redis import scripts
from aiofs.backends.redis.names import LOCK, key_of, tail_of
from aiofs.errors import Locked
from aiofs.kit import unknown_format
from aiofs.locks import NUMBERS_KEPT, RenewedLease, granted, locked, next_number
from aiofs.names import lock_of_path

if TYPE_CHECKING:
    from aiofs.backends.redis.client import RedisClient

STAGED_LIVES = 2
"""Staged keys live this many times as long as the lease after its last renewal."""
FORMAT = "1"
"""The format in a lock's value. 2.0.0a1 wrote none, and meant this one."""
_FORMAT_LINE = "\naiofs-format "
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class RedisLease(RenewedLease):
    """A lock of a key; `fence` is the token that its value begins with."""

    def __init__(self, path: str, fence: str, ttl: float, client: RedisClient, granted: float) -> None:
        self.key: str = key_of(path)
        self.tail: str = tail_of(self.key)
        self.lock_key: str = LOCK + self.tail
        self.staged: set[str] = set()
        """Keys that live as long as the lock is renewed."""
        self._client = client
        self._life = milliseconds(ttl)
        self._sessions = 0
        super().__init__(path, fence, ttl, renew=self._prolong, release=self._free, granted=granted)

    @property
    def staged_life(self) -> int:
        """How many milliseconds a staged key lives unless it is renewed."""
        return STAGED_LIVES * self._life

    def next_session(self) -> str:
        """Return an identity for a write under this lock. It begins with the lock's token."""
        self._sessions += 1
        return f"{self.fence}-{self._sessions}"

    async def _prolong(self) -> bool:
        keys = (self.lock_key, *self.staged)
        answer = await self._client.run(
            self.path, scripts.RENEW, keys, self.fence, self._life, self.staged_life, urgent=True
        )
        return bool(answer)

    async def _free(self) -> None:
        with suppress(OSError):  # it expires by itself
            await self._client.run(self.path, scripts.RELEASE, (self.lock_key,), self.fence)


async def acquire(client: RedisClient, path: str, ttl: float) -> RedisLease:
    """Return the lock of `path`.

    :raises Locked: if somebody else has it; the message says who, and since when.
    """
    return await granted(_acquire(client, path, ttl))


async def _acquire(client: RedisClient, path: str, ttl: float) -> RedisLease:
    now = clock.now()
    token = f"{milliseconds(now.timestamp()):012x}{clock.token(10)}"
    value = f"{token} {now:{_TIME}} {socket.gethostname()}:{os.getpid()}{_FORMAT_LINE}{FORMAT}"
    key = LOCK + tail_of(key_of(path))
    asked = clock.monotonic()
    if lock_of_path(path) is None:
        holder = await client.run(path, scripts.LOCK, (key,), token, value, milliseconds(ttl))
        number = None
    else:
        life = milliseconds(NUMBERS_KEPT.total_seconds())
        keys = (key, key_of(path))
        args = (token, value, milliseconds(ttl), life, next_number(None))
        answer = await client.run(path, scripts.NUMBERED_LOCK, keys, *args)
        holder, number = (None, int(answer[0])) if isinstance(answer, list) else (answer, None)
    if holder is not None:
        raise refusal(path, holder)
    lease = RedisLease(path, token, ttl, client, asked)
    lease.number = number
    return lease


def refusal(path: str, value: bytes) -> Locked:
    """Return the error for a lock that somebody else holds, given the lock's value."""
    number = value.decode(errors="replace").partition(_FORMAT_LINE)[2].partition("\n")[0]
    if number not in {"", FORMAT}:
        return Locked.of(path, str(unknown_format(path, "the lock of this file", number, FORMAT).strerror))
    since, name = holder_of(value)
    return locked(path, name, since)


def holder_of(value: bytes) -> tuple[datetime | None, str | None]:
    """Return since when a lock is held, and by whom, if its value says so."""
    words = value.decode(errors="replace").partition("\n")[0].split(" ", 2)
    try:
        _, since, name = words
        return datetime.strptime(since, _TIME).replace(tzinfo=UTC), name
    except ValueError:
        return None, None


def begun_at(identity: str) -> datetime | None:
    """Return when the lock was taken under which this session wrote, given its identity."""
    try:
        return datetime.fromtimestamp(int(identity[:12], 16) / 1000, UTC)
    except ValueError:
        return None


def milliseconds(seconds: float) -> int:
    """Return a time in milliseconds, at least one."""
    return max(1, round(seconds * 1000))
