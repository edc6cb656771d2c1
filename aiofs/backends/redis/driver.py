"""The six verbs on Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from math import inf
from typing import TYPE_CHECKING, Any

from aiofs.backends.redis import scripts
from aiofs.backends.redis.client import Client, Connection, Rights
from aiofs.backends.redis.errors import unknown_format
from aiofs.backends.redis.listing import first_names, sized
from aiofs.backends.redis.locks import RedisLease, acquire, held_by, milliseconds
from aiofs.backends.redis.names import LOCK, Layout, key_of, part_of, slot_of, tail_of
from aiofs.backends.redis.reading import LARGEST_WHOLE, Asked, described, opened
from aiofs.backends.redis.sweeping import Sweeper
from aiofs.backends.redis.writing import ANYTHING, FORMAT, LARGEST_VALUE, MOST_PARTS, RedisSession, check_answer
from aiofs.driver import MIB, Capabilities, Driver, Entry, Lease, ReadStream, WriteSession
from aiofs.errors import AlreadyExists, Conflict, NotFound, Unsupported
from aiofs.kit import EndedSession, copy_through
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

CHUNK = 64 * MIB
"""How much of a file that has several keys goes into each of them."""
SIZES_AT_ONCE = 1000


class RedisDriver(Sweeper, Driver):
    """Each file a key. `ttl` gives every file written a time to live, `chunked` lets large ones have several keys."""

    capabilities: Capabilities = Capabilities(locks="shared", resume=True, rewrite=True)
    window: int | None = LARGEST_WHOLE

    def __init__(
        self,
        url: str | None = None,
        client: Client | None = None,
        *,
        ttl: float | None = None,
        lease: float = 30,
        timeout: float = 30,
        chunked: bool = False,
        chunk_size: int = CHUNK,
        page: int = 50_000,
        replica: str | Client | None = None,
    ) -> None:
        _check_settings(ttl=ttl, lease=lease, timeout=timeout, chunk_size=chunk_size)
        if chunked and chunk_size > LARGEST_VALUE:
            raise ValueError(f"chunk_size {chunk_size!r}: a value of Redis holds {LARGEST_VALUE} bytes at most")
        super().__init__(Connection(url, client, timeout, no_cluster=replica is not None))
        self._replica = None if replica is None else _connected(replica, timeout)
        self._rights = Rights(self._connection)
        self._ttl = 0 if ttl is None else milliseconds(ttl)
        self._lease = lease
        self._chunked = chunked
        self._largest = chunk_size if chunked else LARGEST_VALUE
        self._page = page

    async def stat(self, path: str) -> Entry:
        """Describe the file; the server makes the digest that is its version, and sends no more than that."""
        return await described(self._connection, path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading, which writes nothing on the server."""
        return await opened([self._connection], Asked(path, start, stop, _spelled(match)))

    async def read_replica(self, path: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open the file for reading on the replica; what that cannot give, the primary is asked for."""
        asked, connections = Asked(path, start, stop), [self._connection]
        if self._replica is not None:
            try:
                return await opened([self._replica, *connections], asked)
            except Unsupported:
                raise  # no try will help: this is no server that can be a replica
            except OSError:
                pass  # the primary is asked instead
        return await opened(connections, asked)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        del metadata  # which the portable side does not let through, as the capabilities say
        own = _own(lease)
        base = await self._layout(own, match) if match else None
        return RedisSession(
            self._connection,
            own,
            _spelled(match),
            part_size=self._largest,
            chunked=self._chunked,
            ttl=self._ttl,
            base=base,
        )

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session."""
        told = Token(token)
        if token.get("format", FORMAT) != FORMAT:
            raise unknown_format("this prepared write", token["format"], told.path)
        path, identity = told.path, told.text("session", "[0-9A-Za-z]+-[0-9]+")
        size, part_size = told.number("size"), told.number("part_size", 1, LARGEST_VALUE)
        if size > MOST_PARTS * part_size:
            raise told.wrong("size", f"it is more than {MOST_PARTS} parts")
        match, ttl = told.text("match"), told.number("ttl")
        staged = part_of(identity, 0, tail_of(key_of(path)))
        if not await self._connection.ask(path, "EXISTS", staged):
            return EndedSession(self, path)
        lease = await acquire(self._connection, path, self._lease)
        session = RedisSession(
            self._connection,
            lease,
            match,
            part_size=part_size,
            ttl=ttl,
            identity=identity,
        )
        session.adopt(size)
        return session

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files: in one step, unless the nodes of a cluster have to take one each."""
        fences = {lease.path: lease.fence for lease in map(_own, leases)}
        args = (_spelled(match), int(missing_ok))
        if len(paths) == 1 or not await self._connection.is_cluster():
            await self._delete(paths, fences, *args)
            return
        async with AsyncExitStack() as held:
            for path in paths:
                if path not in fences:
                    lease = await acquire(self._connection, path, self._lease)
                    held.push_async_callback(lease.release)
                    fences[path] = lease.fence
            for path in paths:
                if not missing_ok and not await self._connection.ask(path, "EXISTS", key_of(path)):
                    raise NotFound.of(path)
            for path in paths:
                await self._delete([path], fences, *args)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield what the keys of all nodes say, sorted a page at a time, so that memory does not grow with them."""
        full = True
        while full:
            names = await first_names(self._connection, prefix, after, delimiter, self._page)
            for start in range(0, len(names), SIZES_AT_ONCE):
                for entry in await sized(self._connection, names[start : start + SIZES_AT_ONCE]):
                    yield entry
            full = len(names) == self._page
            after = names[-1] if names else after

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path."""
        return await acquire(self._connection, path, self._lease)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Let the server copy, or carry the bytes where the two keys are on different nodes of a cluster."""
        own = _own(lease)
        key = key_of(source)
        if slot_of(key) != slot_of(own.key) and await self._connection.is_cluster():
            return await copy_through(self, source, target, own, match)
        args = (own.fence, own.next_session(), _spelled(match), self._ttl, own.tail)
        answer = await self._connection.run(target, scripts.COPY, (key, own.key, own.lock_key), *args)
        check_answer(answer, source if answer[0] == b"missing" else target)
        return Entry(target, answer[1])

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Let the server rename. Between nodes of a cluster: copy, then remove."""
        old, new = map(_own, leases)
        if slot_of(old.key) != slot_of(new.key) and await self._connection.is_cluster():
            await self.check_may_remove(source)
            entry = await copy_through(self, source, target, new)
            await self.delete([source], leases=[old])
            return entry
        args = (old.fence, new.fence, new.next_session(), new.tail)
        keys = (old.key, new.key, old.lock_key, new.lock_key)
        answer = await self._connection.run(target, scripts.MOVE, keys, *args)
        check_answer(answer, source if answer[0] == b"missing" else target)
        return Entry(target, answer[1])

    async def check_may_remove(self, path: str) -> None:
        """Raise `AccessDenied` if the user may not remove keys."""
        await self._rights.check_may_remove(path, "removing or moving a file")

    async def note(self, path: str, data: bytes) -> None:
        """Create a small file without a lock, if the user has the right to remove it at the end."""
        await self._rights.check_may_remove(path, "a transaction, which removes its journal at the end,")
        key = key_of(path)
        made = await self._connection.ask(path, "SET", key, data, "NX")
        # Asked again, because the answer was lost, the server says that the key is there.
        if not made and await self._connection.ask(path, "GET", key) != data:
            raise AlreadyExists.of(path)

    async def erase(self, paths: Sequence[str]) -> None:
        """Remove small files, whoever may hold locks."""
        for path in paths:
            await self._connection.ask(path, "UNLINK", key_of(path))

    async def aclose(self) -> None:
        """Close the clients, unless they were lent."""
        try:
            await self._connection.aclose()
        finally:
            if self._replica is not None:
                await self._replica.aclose()

    def __str__(self) -> str:
        return str(self._connection)

    async def _layout(self, lease: RedisLease, version: str) -> Layout:
        """Return where the bytes of a version are; one that is not there any more is found out when it is replaced."""
        if "-" not in version:
            return Layout((lease.key,), LARGEST_VALUE)
        fields = ("part", "count", "tail")
        found = await self._connection.ask(lease.path, "HMGET", lease.key, *fields)
        if None in found:
            raise Conflict.of(lease.path, "the file was changed meanwhile")
        part_size, count, tail = found
        return Layout.of(version, int(part_size), int(count), tail.decode())

    async def _delete(self, paths: Sequence[str], fences: Mapping[str, str], match: str, missing_ok: int) -> None:
        keys = [key_of(path) for path in paths]
        both = [name for key in keys for name in (key, LOCK + tail_of(key))]
        tokens = [fences.get(path, "") for path in paths]
        answer = await self._connection.run(None, scripts.DELETE, both, match, missing_ok, *tokens)
        if answer[0] != b"ok":
            index: int = answer[1]
            path = paths[index - 1]
            if answer[0] == b"locked":
                raise held_by(path, answer[2])
            check_answer(answer, path)


def _connected(server: str | Client, timeout: float) -> Connection:
    url, client = (server, None) if isinstance(server, str) else (None, server)
    return Connection(url, client, timeout, no_cluster=True)


def _check_settings(*, ttl: float | None, lease: float, timeout: float, chunk_size: int) -> None:
    for name, value in {"ttl": ttl, "lease": lease, "timeout": timeout, "chunk_size": chunk_size}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} {value!r}: it must be more than nothing")
    for name, value in {"ttl": ttl, "lease": lease}.items():
        if value == inf:
            raise ValueError(f"{name} {value!r}: Redis counts it, so it must end")
    if not isinstance(chunk_size, int):
        raise ValueError(f"chunk_size {chunk_size!r}: it must be a whole number")  # noqa: TRY004 -- as other settings


def _own(lease: Lease) -> RedisLease:
    if not isinstance(lease, RedisLease):
        raise TypeError(f"a lease of this store is needed, not {type(lease).__name__}")
    return lease


def _spelled(match: str | None) -> str:
    """Return a version to be matched as the scripts take it."""
    return ANYTHING if match is None else match
