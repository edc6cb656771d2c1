"""The six verbs on Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from math import inf
from typing import TYPE_CHECKING, Any

from aiofs.backends.redis import scripts
from aiofs.backends.redis.client import AnyRedis, RedisClient
from aiofs.backends.redis.listing import entries
from aiofs.backends.redis.locks import RedisLease, acquire, milliseconds, refusal
from aiofs.backends.redis.names import LOCK, Layout, key_of, part_of, slot_of, tail_of
from aiofs.backends.redis.reading import LARGEST_WHOLE, ReadRequest, describe, open_stream
from aiofs.backends.redis.sweeping import RedisSweeper
from aiofs.backends.redis.writing import ANYTHING, FORMAT, LARGEST_VALUE, MOST_PARTS, RedisSession, check_answer
from aiofs.driver import MIB, Capabilities, Driver, Entry, Lease, ReadStream, WriteSession
from aiofs.errors import AlreadyExists, Conflict, NotFound, Unsupported
from aiofs.kit import EndedSession, copy_through, own_lease, unknown_format, without_defaults
from aiofs.properties import EXPIRES, TTL, expiry_of, ttl_of
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence

    from aiofs.powers import ServerFacts

CHUNK = 64 * MIB
"""How many bytes go into each key of a file that has several."""


class RedisDriver(RedisSweeper, Driver):
    """Each file is a key. With `ttl`, files expire that say no ttl of their own.

    With `chunked`, a large file has several keys.
    """

    capabilities: Capabilities = Capabilities(
        locks="shared", fences=True, resume=True, rewrite=True, properties=frozenset({"ttl"})
    )
    window: int | None = LARGEST_WHOLE

    def __init__(
        self,
        url: str | None = None,
        client: AnyRedis | None = None,
        *,
        ttl: float | None = None,
        lease: float = 30,
        timeout: float = 30,
        chunked: bool = False,
        chunk_size: int = CHUNK,
        page: int = 50_000,
        replica: str | AnyRedis | None = None,
    ) -> None:
        _check_settings(ttl=ttl, lease=lease, timeout=timeout, chunk_size=chunk_size)
        if chunked and chunk_size > LARGEST_VALUE:
            raise ValueError(
                f"chunk_size must be at most {LARGEST_VALUE}, the most that a value holds, not {chunk_size!r}"
            )
        super().__init__(RedisClient(url, client, timeout, no_cluster=replica is not None))
        self._replica = None if replica is None else _connected(replica, timeout)
        self._ttl = 0 if ttl is None else milliseconds(ttl)
        self._lease = lease
        self._chunked = chunked
        self._largest = chunk_size if chunked else LARGEST_VALUE
        self._page = page

    async def stat(self, path: str) -> Entry:
        """Describe the file. The server computes the digest that is its version, and does not send the bytes."""
        return await describe(self._client, path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading. This writes nothing on the server."""
        request = ReadRequest(path, start, stop, _match_argument(match), dated=True)
        return await open_stream([self._client], request)

    async def read_replica(self, path: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open the file for reading on the replica. Bytes that the replica cannot give come from the primary."""
        request, clients = ReadRequest(path, start, stop), [self._client]
        if self._replica is not None:
            try:
                return await open_stream([self._replica, *clients], request)
            except Unsupported:
                raise  # this server cannot be a replica, so trying again does not help
            except OSError:
                pass  # the primary is asked instead
        return await open_stream(clients, request)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        ttl, expires = self._life(metadata) if metadata else (self._ttl, None)
        own = own_lease(lease, RedisLease)
        base = await self._layout(own, match) if match else None
        return RedisSession(
            self._client,
            own,
            _match_argument(match),
            part_size=self._largest,
            chunked=self._chunked,
            ttl=ttl,
            expires=expires,
            base=base,
        )

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session."""
        given = Token(token)
        if token.get("format", FORMAT) != FORMAT:
            raise unknown_format(given.path, "this prepared write", token["format"], FORMAT)
        path, identity = given.path, given.text("session", "[0-9A-Za-z]+-[0-9]+")
        size, part_size = given.number("size"), given.number("part_size", 1, LARGEST_VALUE)
        if size > MOST_PARTS * part_size:
            raise given.wrong("size", f"it is more than {MOST_PARTS} parts")
        match, ttl = given.text("match"), given.number("ttl")
        expires = given.number("expires") if given.has("expires") else None
        staged = part_of(identity, 0, tail_of(key_of(path)))
        if not await self._client.ask(path, "EXISTS", staged):
            return EndedSession(self, path)
        lease = await acquire(self._client, path, self._lease)
        session = RedisSession(
            self._client,
            lease,
            match,
            part_size=part_size,
            ttl=ttl,
            expires=expires,
            identity=identity,
        )
        session.adopt(size)
        return session

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files in one step; in a cluster, where they may be on several nodes, one after the other."""
        fences = {lease.path: lease.fence for lease in (own_lease(each, RedisLease) for each in leases)}
        args = (_match_argument(match), int(missing_ok))
        if len(paths) == 1 or not await self._client.is_cluster():
            await self._delete(paths, fences, *args)
            return
        async with AsyncExitStack() as held:
            for path in paths:
                if path not in fences:
                    lease = await acquire(self._client, path, self._lease)
                    held.push_async_callback(lease.release)
                    fences[path] = lease.fence
            for path in paths:
                if not missing_ok and not await self._client.ask(path, "EXISTS", key_of(path)):
                    raise NotFound.of(path)
            for path in paths:
                await self._delete([path], fences, *args)

    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield the files and folders of all nodes, sorted a page at a time."""
        return entries(self._client, prefix, after, delimiter, self._page)

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path."""
        return await acquire(self._client, path, self._lease)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Let the server copy; between nodes of a cluster, copy through this process."""
        own = own_lease(lease, RedisLease)
        key = key_of(source)
        if slot_of(key) != slot_of(own.key) and await self._client.is_cluster():
            return await copy_through(self, source, target, own, match)
        args = (own.fence, own.next_session(), _match_argument(match), self._ttl, own.tail)
        answer = await self._client.run(target, scripts.COPY, (key, own.key, own.lock_key), *args)
        check_answer(answer, source if answer[0] == b"missing" else target)
        return Entry(target, answer[1])

    def origin(self, path: str) -> tuple[Driver, str]:
        return self, path

    def can_copy_from(self, origin: Driver) -> bool:
        """Whether it is the same database: two prefixes of it are two folders."""
        return isinstance(origin, RedisDriver) and origin._client.place == self._client.place  # noqa: SLF001 -- same class

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        """Let the server copy, whatever version the source has when it does."""
        return await self.copy(source.path, target, lease, match=match)

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Let the server rename; between nodes of a cluster, copy through this process and remove."""
        old, new = (own_lease(lease, RedisLease) for lease in leases)
        if slot_of(old.key) != slot_of(new.key) and await self._client.is_cluster():
            await self.check_may_remove(source)
            entry = await copy_through(self, source, target, new)
            await self.delete([source], leases=[old])
            return entry
        args = (old.fence, new.fence, new.next_session(), new.tail)
        keys = (old.key, new.key, old.lock_key, new.lock_key)
        answer = await self._client.run(target, scripts.MOVE, keys, *args)
        check_answer(answer, source if answer[0] == b"missing" else target)
        return Entry(target, answer[1])

    async def check_may_remove(self, path: str) -> None:
        """Raise `AccessDenied` if the user may not remove keys."""
        await self._client.check_may_remove(path, "removing or moving a file")

    async def note(self, path: str, data: bytes) -> None:
        """Create a small file without a lock, if the user may remove it later."""
        await self._client.check_may_remove(path, "a transaction, which removes its journal at the end,")
        key = key_of(path)
        made = await self._client.ask(path, "SET", key, data, "NX")
        # If an answer was lost and the command sent again, the key that stops it may be ours.
        if not made and await self._client.ask(path, "GET", key) != data:
            raise AlreadyExists.of(path)

    async def erase(self, paths: Sequence[str]) -> None:
        """Remove small files without asking for locks."""
        for path in paths:
            await self._client.ask(path, "UNLINK", key_of(path))

    async def aclose(self) -> None:
        """Close the clients, except lent ones."""
        try:
            await self._client.aclose()
        finally:
            if self._replica is not None:
                await self._replica.aclose()

    def address(self, folder: str) -> str:
        """Return the URL without its password, which the environment must have then."""
        own: dict[str, object] = {"ttl": self._ttl / 1000, "lease": self._lease, "chunked": self._chunked}
        own |= {"chunk_size": self._largest if self._chunked else CHUNK, "prefix": folder}
        usual = {"ttl": 0, "lease": 30, "chunked": False, "chunk_size": CHUNK, "prefix": ""}
        replica = None if self._replica is None else self._replica.address({"timeout": None})
        return self._client.address({**without_defaults(own, usual), "replica": replica})

    async def probe(self, removed: Sequence[str]) -> ServerFacts:
        """Ask the server whether it writes to its disk, and whether it removes keys when its memory is full."""
        del removed
        try:
            found = await self._client.ask(None, "INFO")
        except OSError:  # a cluster, or this user may not ask
            return {"ordered": False, "keeps_versions": False}
        facts = found if isinstance(found, dict) else {}
        advice = []
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            advice.append(f"a full server removes keys (maxmemory-policy {policy}), also files: set noeviction")
        logs = facts.get("aof_enabled")
        if logs == 0:
            advice.append("the server keeps no log on its disk (appendonly no): a crash loses the last writes")
        return {
            "durable": None if logs is None else bool(logs),
            "ordered": False,
            "keeps_versions": False,
            "advice": advice,
        }

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the server and database as the store."""
        return ("redis", self._client.place), path

    def __str__(self) -> str:
        return str(self._client)

    def _life(self, metadata: Mapping[str, str]) -> tuple[int, int | None]:
        """Return for how many milliseconds a new file lives, 0 for ever; or until when, if it goes on as an old one."""
        if TTL in metadata:
            return milliseconds(ttl_of(metadata[TTL])), None
        if self._ttl or EXPIRES not in metadata:
            return self._ttl, None
        return 0, milliseconds(expiry_of(metadata[EXPIRES]).timestamp())

    async def _layout(self, lease: RedisLease, version: str) -> Layout:
        """Return where the bytes of a version are. If it is gone, replacing it later raises `Conflict`."""
        if "-" not in version:
            return Layout((lease.key,), LARGEST_VALUE)
        fields = ("part", "count", "tail")
        found = await self._client.ask(lease.path, "HMGET", lease.key, *fields)
        if None in found:
            raise Conflict.of(lease.path, "the file was changed meanwhile")
        part_size, count, tail = found
        return Layout.of(version, int(part_size), int(count), tail.decode())

    async def _delete(self, paths: Sequence[str], fences: Mapping[str, str], match: str, missing_ok: int) -> None:
        keys = [key_of(path) for path in paths]
        both = [name for key in keys for name in (key, LOCK + tail_of(key))]
        tokens = [fences.get(path, "") for path in paths]
        answer = await self._client.run(None, scripts.DELETE, both, match, missing_ok, *tokens)
        if answer[0] != b"ok":
            index: int = answer[1]
            path = paths[index - 1]
            if answer[0] == b"locked":
                raise refusal(path, answer[2])
            check_answer(answer, path)


def _connected(server: str | AnyRedis, timeout: float) -> RedisClient:
    url, client = (server, None) if isinstance(server, str) else (None, server)
    return RedisClient(url, client, timeout, no_cluster=True)


def _check_settings(*, ttl: float | None, lease: float, timeout: float, chunk_size: int) -> None:
    for name, value in {"ttl": ttl, "lease": lease, "timeout": timeout, "chunk_size": chunk_size}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be greater than 0, not {value!r}")
    for name, value in {"ttl": ttl, "lease": lease}.items():
        if value == inf:
            raise ValueError(f"{name} must be a finite number of seconds, not {value!r}")
    if not isinstance(chunk_size, int):
        raise ValueError(f"chunk_size must be a whole number, not {chunk_size!r}")  # noqa: TRY004 -- as other settings


def _match_argument(match: str | None) -> str:
    """Return a version to be matched as the scripts take it."""
    return ANYTHING if match is None else match
