"""Writing one file: its bytes are collected under another key and get the right one in a single step."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs.backends.redis import scripts
from aiofs.backends.redis.names import part_of
from aiofs.backends.redis.scripts import entry_of
from aiofs.driver import MIB, Entry, Part, WriteSession
from aiofs.errors import AiofsError, AlreadyExists, Conflict, Damaged, NotFound, TooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.backends.redis.client import Connection
    from aiofs.backends.redis.locks import RedisLease
    from aiofs.backends.redis.names import Layout

LARGEST_VALUE = 512 * MIB
MOST_PARTS = 1 << 17
"""Of how many parts a file that was prepared may be, at most."""
LARGEST_COPY = 8 * MIB
"""How much the server copies in one step, during which it does nothing else."""
ANYTHING = "*"
FORMAT = 1
"""What the token of a prepared write says of itself. 2.0.0a1 said nothing, and meant this one."""
_LOST = "the lock on this file was lost before it was published; nothing was overwritten"
_REFUSALS: dict[bytes, tuple[type[AiofsError], str | None]] = {
    b"lost": (Conflict, _LOST),
    b"changed": (Conflict, "the file was changed meanwhile"),
    b"exists": (AlreadyExists, None),
    b"missing": (NotFound, None),
    b"gone": (Damaged, "what was staged for this file is not there any more; nothing was overwritten"),
    b"foreign": (AlreadyExists, "the key holds something that is not a file; nothing was overwritten"),
}


def check_answer(answer: Sequence[bytes], path: str) -> None:
    """Raise what a step refused, if it did."""
    refusal = _REFUSALS.get(answer[0])
    if refusal is not None:
        kind, reason = refusal
        raise kind.of(path, reason)


class RedisSession(WriteSession):
    """New bytes for a key. What fits into one part is sent with the commit itself; more is staged beside it.

    Files of more than `part_size` bytes become several parts if `chunked`; otherwise they are refused.
    """

    def __init__(
        self,
        connection: Connection,
        lease: RedisLease,
        match: str,
        *,
        part_size: int = LARGEST_VALUE,
        chunked: bool = False,
        ttl: int = 0,
        base: Layout | None = None,
        identity: str | None = None,
    ) -> None:
        self._connection = connection
        self._lease = lease
        self._path = lease.path
        self._match = match
        self._part_size = part_size
        self._chunked = chunked
        self._ttl = ttl
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

        :raises TooLarge: before anything is sent, if the file gets larger than a value may be.
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
        """Overwrite bytes that were handed over."""
        await self._stage_first()
        self._hash = None
        await self._put(offset, data)

    async def resize(self, size: int) -> None:
        """Forget what was handed over from `size` on."""
        await self._stage_first()
        self._hash = None
        self._size = size
        while len(self._staged) > self._count:
            await self._connection.ask(self._path, "UNLINK", self._staged.pop())
        last = self._count - 1
        args = (size - last * self._part_size, self._lease.staged_life)
        await self._connection.run(self._path, scripts.CUT, (self._staged[last],), *args)

    async def copy_range(self, start: int, stop: int) -> None:
        """Let the server copy bytes of the version that is replaced.

        :raises Conflict: if it is not there any more.
        """
        assert self._base is not None  # noqa: S101 -- only a session with a version to replace is asked
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
            copied = await self._connection.run(self._path, scripts.COPY_RANGE, keys, *args)
            if copied != size:
                raise Conflict.of(self._path, "the file was changed meanwhile")
            self._size += size
            start += size

    async def prepare(self) -> dict[str, Any]:
        """Stage everything, for good; from now on it replaces what is there now, and nothing newer."""
        await self._stage_first()
        if not self._staged:
            await self._put(0, b"")
        lease = self._lease
        args = (lease.fence, self._identity, self._count, lease.tail, self._size, self._match)
        answer = await self._connection.run(self._path, scripts.PREPARE, (lease.key, lease.lock_key), *args)
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
            "ttl": self._ttl,
            "version": self._version or None,
        }

    async def commit(self) -> Entry:
        """Publish, if the lock is still ours and the version to be replaced still there."""
        if self._done is not None:
            return self._done
        lease = self._lease
        keys = (lease.key, lease.lock_key)
        args: list[Any] = [lease.fence, self._identity, self._match, self._ttl, self._version, lease.tail]
        args += [self._size, self._part_size, self._count]
        if not self._staged:
            args.append(self._first or b"")
        answer = await self._connection.run(self._path, scripts.COMMIT, keys, *args)
        check_answer(answer, self._path)
        lease.staged.difference_update(self._staged)
        self._done = entry_of(self._path, self._size, answer[1].decode())
        await self.leave()
        return self._done

    async def abort(self) -> None:
        """Remove what was staged."""
        if self._done is None:
            self._first = None
            keys, self._staged = self._staged, []
            self._lease.staged.difference_update(keys)
            if keys:
                with suppress(OSError):  # unless it was prepared, it expires by itself
                    await self._connection.run(self._path, scripts.ABORT, (self._lease.key, *keys), self._identity)
            await self.leave()

    async def leave(self) -> None:
        """Let go of what was prepared, and of a lock that came with it."""
        if self._adopted:
            await self._lease.release()

    def adopt(self, size: int) -> None:
        """Go on with what another process prepared, under a lease that is given back at the end."""
        self._size = size
        self._hash = None
        self._adopted = True
        for number in range(self._count):
            self._staged.append(part_of(self._identity, number, self._lease.tail))

    @property
    def _count(self) -> int:
        return max(1, -(-self._size // self._part_size))

    @property
    def _version(self) -> str:
        """Return what the version will be, or nothing where only the server can tell."""
        if self._count > 1:
            return self._identity
        return "" if self._hash is None else str(self._hash.hexdigest())

    def _check_room(self, more: int) -> None:
        if self._size + more > self._part_size and not self._chunked:
            reason = f"a value of Redis holds {self._part_size} bytes at most; chunked=True allows for more"
            raise TooLarge.of(self._path, reason)
        if self._lease.lost:
            raise Conflict.of(self._path, _LOST)

    async def _stage_first(self) -> None:
        """Send what was kept back in the hope that it would be all."""
        first, self._first = self._first, None
        if first is not None:
            await self._put(0, first)

    async def _put(self, offset: int, data: Part) -> None:
        """Write to the parts; being told where, the server may be told twice."""
        view = memoryview(data)
        while True:
            number, start = divmod(offset, self._part_size)
            piece = view[: self._part_size - start]
            if self._stage(number):
                await self._connection.ask(
                    self._path, "SET", self._staged[number], piece, "PX", self._lease.staged_life
                )
            else:
                key = self._staged[number]
                staged, _ = await self._connection.ask_each(
                    [("STRLEN", key), ("SETRANGE", key, start, piece)], self._path
                )
                if staged < start:  # a server that forgot what it was told last would fill the gap with zeros
                    check_answer([b"gone"], self._path)
            offset += len(piece)
            view = view[len(piece) :]
            if not view:
                return

    def _stage(self, number: int) -> bool:
        """Note the key of a part, which then lives as long as the lock is renewed; return whether it is new."""
        if number < len(self._staged):
            return False
        key = part_of(self._identity, number, self._lease.tail)
        self._staged.append(key)
        self._lease.staged.add(key)
        return True
