"""Writing one file: its bytes are staged under another key, and a single step gives them the file's key."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.redis import scripts
from aiofs.backends.redis.locks import milliseconds
from aiofs.backends.redis.names import part_of
from aiofs.backends.redis.scripts import entry_of
from aiofs.driver import MIB, Entry, Part, WriteSession
from aiofs.errors import AiofsError, AlreadyExists, Conflict, Damaged, NotFound, TooLarge
from aiofs.kit import check_lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.backends.redis.client import RedisClient
    from aiofs.backends.redis.locks import RedisLease
    from aiofs.backends.redis.names import Layout

LARGEST_VALUE = 512 * MIB
MOST_PARTS = 1 << 17
"""How many parts a prepared file may have at most."""
LARGEST_COPY = 8 * MIB
"""How much the server copies in one step, while all other clients wait."""
ANYTHING = "*"
FORMAT = 1
"""The format in the token of a prepared write. 2.0.0a1 wrote none, and meant this one."""
_REFUSALS: dict[bytes, tuple[type[AiofsError], str | None]] = {
    b"lost": (Conflict, "the lock on this file was lost before it was published; nothing was overwritten"),
    b"changed": (Conflict, "the file was changed meanwhile"),
    b"exists": (AlreadyExists, None),
    b"missing": (NotFound, None),
    b"gone": (Damaged, "the bytes that were staged for this file are gone; nothing was overwritten"),
    b"foreign": (AlreadyExists, "the key holds something that is not a file; nothing was overwritten"),
}


def check_answer(answer: Sequence[bytes], path: str) -> None:
    """Raise the error for the answer of a script that refused to do its work."""
    refusal = _REFUSALS.get(answer[0])
    if refusal is not None:
        kind, reason = refusal
        raise kind.of(path, reason)


class RedisSession(WriteSession):
    """New bytes for a key. Up to one write goes with the commit; more is staged under other keys.

    A file of more than `part_size` bytes gets several parts with `chunked`, and is refused without. It lives for `ttl`
    milliseconds (0: for ever), counted from the commit, or until the time `expires`, in milliseconds since 1970.
    """

    def __init__(
        self,
        client: RedisClient,
        lease: RedisLease,
        match: str,
        *,
        part_size: int = LARGEST_VALUE,
        chunked: bool = False,
        ttl: int = 0,
        expires: int | None = None,
        base: Layout | None = None,
        identity: str | None = None,
    ) -> None:
        self._client = client
        self._lease = lease
        self._path = lease.path
        self._match = match
        self._part_size = part_size
        self._chunked = chunked
        self._ttl = ttl
        self._expires = expires
        self._base = base
        self._identity = identity or lease.next_session()
        self._size = 0
        self._first: memoryview | None = None
        self._staged: list[str] = []
        self._hash: Any = hashlib.sha1(usedforsecurity=False)
        self._adopted = False
        self._done: Entry | None = None

    async def write(self, part: Part) -> None:
        """Take the next part.

        :raises TooLarge: before it is sent, if the file would be larger than a value can be.
        """
        self._check_room(len(part))
        if self._hash is not None:
            self._hash.update(part)
        if not self._size and not self._staged and len(part) <= self._part_size:
            self._first = memoryview(part)  # some versions of redis-py send no bytearray
        else:
            await self._stage_first()
            await self._put(self._size, part)
        self._size += len(part)

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were written."""
        await self._stage_first()
        self._hash = None
        await self._put(offset, data)

    async def resize(self, size: int) -> None:
        """Drop the bytes that were written from `size` on."""
        await self._stage_first()
        self._hash = None
        self._size = size
        while len(self._staged) > self._count:
            await self._client.ask(self._path, "UNLINK", self._staged.pop())
        last = self._count - 1
        args = (size - last * self._part_size, self._lease.staged_life)
        await self._client.run(self._path, scripts.CUT, (self._staged[last],), *args)

    async def copy_range(self, start: int, stop: int) -> None:
        """Let the server copy bytes of the replaced version.

        :raises Conflict: if that version is gone.
        """
        assert self._base is not None  # noqa: S101 -- only a session that replaces a version is asked
        self._check_room(stop - start)
        await self._stage_first()
        self._hash = None
        while start < stop:
            number, offset = divmod(start, self._base.part_size)
            target, target_offset = divmod(self._size, self._part_size)
            room = min(self._base.part_size - offset, self._part_size - target_offset)
            size = min(stop - start, room, LARGEST_COPY)
            self._stage(target)
            keys = (self._base.keys[number], self._staged[target])
            args = (offset, offset + size - 1, target_offset, self._lease.staged_life)
            copied = await self._client.run(self._path, scripts.COPY_RANGE, keys, *args)
            if copied != size:
                raise Conflict.of(self._path, "the file was changed meanwhile")
            self._size += size
            start += size

    async def prepare(self) -> dict[str, Any]:
        """Stage all bytes so that they do not expire. They can replace only the version that is there now."""
        await self._stage_first()
        if not self._staged:
            await self._put(0, b"")
        lease = self._lease
        args = (lease.fence, self._identity, self._count, lease.tail, self._size, self._match)
        answer = await self._client.run(self._path, scripts.PREPARE, (lease.key, lease.lock_key), *args)
        check_answer(answer, self._path)
        self._match = answer[1].decode()
        lease.staged.difference_update(self._staged)
        return {
            "format": FORMAT,
            "path": self._path,
            "session": self._identity,
            "match": self._match,
            "size": self._size,
            "part_size": self._part_size,
            "ttl": self._life,
            **({} if self._expires is None else {"expires": self._expires}),
            "version": self._version or None,
        }

    async def commit(self) -> Entry:
        """Publish, if the lock is still ours and the version to be replaced is still there."""
        if self._done is not None:
            return self._done
        lease = self._lease
        keys = (lease.key, lease.lock_key)
        args: list[Any] = [lease.fence, self._identity, self._match, self._life, self._version, lease.tail]
        args += [self._size, self._part_size, self._count]
        if not self._staged:
            args.append(self._first or b"")
        answer = await self._client.run(self._path, scripts.COMMIT, keys, *args)
        check_answer(answer, self._path)
        lease.staged.difference_update(self._staged)
        self._done = entry_of(self._path, self._size, answer[1].decode())
        await self.leave()
        return self._done

    async def abort(self) -> None:
        """Remove the staged bytes."""
        if self._done is None:
            self._first = None
            keys, self._staged = self._staged, []
            self._lease.staged.difference_update(keys)
            if keys:
                with suppress(OSError):  # they expire, unless they were prepared
                    await self._client.run(self._path, scripts.ABORT, (self._lease.key, *keys), self._identity)
            await self.leave()

    async def leave(self) -> None:
        """Leave what was prepared to others, and release the lock that came with it."""
        if self._adopted:
            await self._lease.release()

    def adopt(self, size: int) -> None:
        """Continue what another process prepared; this session releases its lease at the end."""
        self._size = size
        self._hash = None
        self._adopted = True
        for number in range(self._count):
            self._staged.append(part_of(self._identity, number, self._lease.tail))

    @property
    def _count(self) -> int:
        return max(1, -(-self._size // self._part_size))

    @property
    def _life(self) -> int:
        """How many milliseconds the file lives if it is published now; 0 for ever."""
        if self._expires is None:
            return self._ttl
        return max(1, self._expires - milliseconds(clock.now().timestamp()))

    @property
    def _version(self) -> str:
        """Return the version that the file will have, or an empty text if only the server can compute it."""
        if self._count > 1:
            return self._identity
        return "" if self._hash is None else str(self._hash.hexdigest())

    def _check_room(self, more: int) -> None:
        if self._size + more > self._part_size and not self._chunked:
            reason = f"a value of Redis holds at most {self._part_size} bytes: chunked=True allows more"
            raise TooLarge.of(self._path, reason)
        check_lease(self._lease, self._path)

    async def _stage_first(self) -> None:
        """Send the first write, which was kept in case that it is the whole file."""
        first, self._first = self._first, None
        if first is not None:
            await self._put(0, first)

    async def _put(self, offset: int, data: Part) -> None:
        """Write to the parts. Every request says where, so it can be sent twice."""
        view = memoryview(data)
        while True:
            number, start = divmod(offset, self._part_size)
            piece = view[: self._part_size - start]
            if self._stage(number):
                await self._client.ask(self._path, "SET", self._staged[number], piece, "PX", self._lease.staged_life)
            else:
                key = self._staged[number]
                staged, _ = await self._client.ask_each([("STRLEN", key), ("SETRANGE", key, start, piece)], self._path)
                if staged < start:  # a server that lost its last writes would fill the gap with zeros
                    check_answer([b"gone"], self._path)
            offset += len(piece)
            view = view[len(piece) :]
            if not view:
                return

    def _stage(self, number: int) -> bool:
        """Add the key of a part, so that it lives as long as the lock is renewed; return whether it is new."""
        if number < len(self._staged):
            return False
        key = part_of(self._identity, number, self._lease.tail)
        self._staged.append(key)
        self._lease.staged.add(key)
        return True
