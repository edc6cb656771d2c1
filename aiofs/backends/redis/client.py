"""The client of a Redis, one for each event loop: requests, time limits and new attempts.

Every command that goes through here has the same effect when it arrives twice. So it is sent again when its answer was
lost.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import redis.asyncio as redis
from redis import __version__ as sdk_version
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

from aiofs import clock
from aiofs.backends.redis.errors import OF_LOOPS, NotInScript, Undigested, failed, raised_by_the_loop
from aiofs.backends.redis.names import NEVER
from aiofs.backends.redis.scripts import digest_of
from aiofs.errors import AccessDenied, Unsupported, WrongType
from aiofs.kit import lanes, store_url, without_defaults
from aiofs.lifetimes import PerLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping, Sequence
    from types import TracebackType

    from aiofs.backends.redis.scripts import Script, ScriptText

# Without this, redis-py looks its version up in files, on the loop, for every connection.
try:
    from redis.driver_info import DriverInfo
except ImportError:  # before redis-py 7.1
    _LIBRARY: dict[str, Any] = {"lib_version": sdk_version}
else:
    _LIBRARY = {"driver_info": DriverInfo(lib_version=sdk_version)}

AnyRedis = redis.Redis | redis.RedisCluster
T = TypeVar("T")

ATTEMPTS = 6
SHORTEST_PAUSE = 0.02
SCAN_COUNT = 1000
_NODE_ATTEMPTS = 3
_AT_ONCE = 80
"""How many requests are made at the same time, while others wait; redis-py has a hundred connections."""
_NO_CLUSTER = (
    "replica= works with a single server, and this is a cluster: leave replica= out, and the primaries of the cluster "
    "answer everything"
)
_FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)


class Deadline:
    """`with deadline:` raises `TimeoutError` if its block lasts longer than `seconds`, or a little more.

    One timer serves all tasks of a loop: `asyncio.timeout` would add a sixth to the cost of a GET. If the block
    swallows a cancellation, as redis-py may do when an answer comes, it is raised at the end of the block.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[asyncio.Task[object], tuple[float, int]] = {}
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 -- only tasks await
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)
        self._ends[task] = loop.time() + self._seconds, task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- the task that entered
        _, cancelled = self._ends.pop(task)
        if task in self._overdue:
            self._overdue.discard(task)
            if task.uncancel() <= cancelled and kind is asyncio.CancelledError:
                raise TimeoutError from error
        if kind is None and task.cancelling() > cancelled:
            raise asyncio.CancelledError

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the tasks whose time is up, and come again when the next one's time is up."""
        now = loop.time()
        for task, (end, _) in self._ends.items():
            if end <= now and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        ends = [end for task, (end, _) in self._ends.items() if task not in self._overdue]
        self._timer = loop.call_at(min(ends), self._look, loop) if ends else None


class RedisLoopClient:
    """The client for one event loop, the turns of its requests, and their time limit."""

    def __init__(self, at_once: int, timeout: float) -> None:
        self.client: AnyRedis | None = None
        self.making: asyncio.Lock = asyncio.Lock()
        self.turns: tuple[asyncio.Semaphore, asyncio.Semaphore] = lanes(at_once)
        self.deadline: Deadline = Deadline(timeout)


class RedisClient:
    """A Redis, or a cluster, reached by a URL or through a client of redis-py that the user lends."""

    def __init__(self, url: str | None, client: AnyRedis | None, timeout: float, *, no_cluster: bool = False) -> None:
        if client is not None:
            _check_lent(url, client)
            if no_cluster and isinstance(client, redis.RedisCluster):
                raise ValueError(_NO_CLUSTER)
        pool: Any = _pool(_given(url)) if client is None else getattr(client, "connection_pool", None)
        settings = pool.connection_kwargs if client is None else client.get_connection_kwargs()
        if settings.get("decode_responses"):
            raise ValueError("files are bytes: the Redis client must not be set to decode_responses")
        self._url = url
        self._lent = client
        self._timeout = timeout
        self._no_cluster = no_cluster
        self._at_once = min(_AT_ONCE, getattr(pool, "max_connections", _AT_ONCE))
        self.place: Hashable = client or tuple(settings.get(name) or 0 for name in ("host", "port", "path", "db"))
        """What says which server and database this is. A lent client is known by itself."""
        self._may_remove = False
        self._locals = PerLoop(self, self._new_local, self._close)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the clients of redis-py: each process makes its own.

        :raises TypeError: if the user lent a client.
        """
        if self._url is None:
            raise TypeError("a Redis client that was lent cannot be pickled: give a URL instead of client=")
        return partial(RedisClient, no_cluster=self._no_cluster), (self._url, None, self._timeout)

    def __str__(self) -> str:
        if self._url is None:
            return "Redis through a client that was lent"
        parts = urlsplit(self._url)
        return f"Redis at {parts.netloc.rpartition('@')[2]}{parts.path}"

    def address(self, settings: Mapping[str, object]) -> str:
        """Return the URL with these settings, and with `auth=environment` in the place of a password.

        :raises Unsupported: if a client was lent, or the URL has the password of a certificate.
        """
        if self._url is None:
            raise Unsupported.of(None, f"{self} has no URL: a URL cannot have client=")
        parts = urlsplit(self._url)
        query = dict(parse_qsl(parts.query))
        if "ssl_password" in query:
            raise Unsupported.of(None, f"{self} has no URL: ssl_password= is a secret, and a URL has none")
        name, _, host = parts.netloc.rpartition("@")
        user, _, password = name.partition(":")
        if query.pop("password", "") or password:
            query["auth"] = "environment"
        timeout = without_defaults({"timeout": self._timeout}, {"timeout": 30})
        return store_url(
            parts.scheme, f"{user}@{host}" if user else host, unquote(parts.path), {**query, **timeout, **settings}
        )

    async def is_cluster(self) -> bool:
        """Whether the keys are on several nodes."""
        return isinstance(await self._try(None, _ready), redis.RedisCluster)

    async def ask(self, path: str | None, *command: Any, urgent: bool = False, **options: Any) -> Any:
        """Send a command and return its answer.

        :raises OSError: as the table of `errors` says.
        """
        return await self._try(path, lambda client: client.execute_command(*command, **options), urgent=urgent)

    async def run(self, path: str | None, script: Script, keys: Sequence[str], *args: Any, urgent: bool = False) -> Any:
        """Run a script, whole or not at all; a server that makes no digests gets them from here.

        :raises OSError: as the table of `errors` says.
        """
        try:
            return await self.evaluate(path, script, keys, *args, urgent=urgent)
        except Undigested:
            pass
        for _ in range(ATTEMPTS - 1):
            with suppress(Undigested):  # the value was changed after we read it
                return await self._inform(path, script, keys, *args)
        return await self._inform(path, script, keys, *args)

    async def evaluate(
        self, path: str | None, script: ScriptText, keys: Sequence[str], *args: Any, urgent: bool = False
    ) -> Any:
        """Run a script; its text is sent only if the server does not know it yet.

        :raises Undigested: if it needs a digest and the server makes none.
        """
        try:
            try:
                return await self.ask(path, "EVALSHA", script.digest, len(keys), *keys, *args, urgent=urgent)
            except OSError as error:
                if not isinstance(error.__cause__, exceptions.NoScriptError):
                    raise
            return await self.ask(path, "EVAL", script.source, len(keys), *keys, *args, urgent=urgent)
        except NotInScript as error:
            reason = f"{error.strerror}: allow the commands that the script needs: {', '.join(script.commands)}"
            raise AccessDenied.of(path, reason) from error.__cause__

    async def check_may_remove(self, path: str, what: str) -> None:
        """Raise `AccessDenied` if the user may not remove keys; `what` names the operation that removes them.

        The server is asked once, by removing a key that never exists.
        """
        if self._may_remove:
            return
        try:
            await self.ask(path, "UNLINK", NEVER)
        except AccessDenied as error:
            reason = f"{error.strerror}: {what} needs the command UNLINK ('+unlink' in the user's access list)"
            raise AccessDenied.of(path, reason) from error.__cause__
        self._may_remove = True

    async def ask_each(self, commands: Sequence[Sequence[Any]], path: str | None = None) -> list[Any]:
        """Send many commands at once and return their answers. A refused command has the error in its place.

        If all of them are about one `path`, the error is raised.

        :raises OSError: as the table of `errors` says.
        """

        async def send(client: AnyRedis) -> list[Any]:
            async with client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers = await pipeline.execute(raise_on_error=False)
            for refusal in answers if path is not None else ():
                if isinstance(refusal, Exception):
                    raise refusal  # redis-py would raise it with a message that has the bytes that were sent
            return answers

        return await self._try(path, send)

    async def value(self, path: str | None, key: str) -> bytes | None:
        """Return a whole value; `None` if there is none.

        :raises Unsupported: if the answer is shorter than the value: the server of fakeredis cuts long answers.
        """
        for _ in range(ATTEMPTS):
            size, data = await self.ask_each([("STRLEN", key), ("GET", key)], path)
            if data is None or len(data) == size:
                found: bytes | None = data
                return found
        raise Unsupported.of(
            path,
            f"the server has {size} bytes and sent {len(data)}: TcpFakeServer of fakeredis cuts long answers; lend a "
            "client of fakeredis instead, client=fakeredis.FakeAsyncRedis()",
        )

    async def keys(self, pattern: str) -> AsyncGenerator[str]:
        """Yield all keys of all nodes that match the glob and are text: in no order, and some perhaps twice."""
        client = await self._try(None, _ready)
        if isinstance(client, redis.RedisCluster):
            nodes: list[dict[str, Any]] = [{"target_nodes": node} for node in client.get_primaries()]
        else:
            nodes = [{}]
        for node in nodes:
            async for key in self._keys_of(pattern, node):
                try:
                    yield key.decode()
                except UnicodeDecodeError:
                    continue  # no path has this key

    async def _inform(self, path: str | None, script: Script, keys: Sequence[str], *args: Any) -> Any:
        value: bytes | None = None
        with suppress(WrongType):  # it is a file in parts now, whose version is not a digest
            value = await self.value(path, keys[script.digested])
        known = value or b""
        return await self.evaluate(path, script.informed, keys, *args, known, digest_of(known))

    async def _keys_of(self, pattern: str, node: dict[str, Any]) -> AsyncGenerator[bytes]:
        command = ("MATCH", pattern.encode(), "COUNT", SCAN_COUNT)
        cursor: Any = 0
        while True:
            cursor, keys = await self.ask(None, "SCAN", cursor, *command, **node)
            for key in keys:
                yield key
            if isinstance(cursor, dict):  # a cluster's client returns the cursors of all nodes that it asked
                cursor = next(iter(cursor.values()))
            if not int(cursor):
                return

    async def aclose(self) -> None:
        """Close the clients of every loop that has not ended, except a lent one."""
        await self._locals.aclose()

    async def _try(self, path: str | None, send: Callable[[AnyRedis], Awaitable[T]], *, urgent: bool = False) -> T:
        local = self._locals.get()
        attempt, deadline = 1, math.inf
        while True:
            try:
                async with local.turns[urgent]:
                    self._locals.check_open()
                    deadline = min(deadline, clock.monotonic() + self._timeout)
                    with local.deadline:
                        return await send(await self._connected(local))
            except Unsupported as error:
                raise Unsupported.of(path, str(error.strerror)) from error.__cause__
            except (*_FAILURES, *OF_LOOPS) as error:
                if isinstance(error, OF_LOOPS) and not raised_by_the_loop(error):
                    raise
                self._locals.check_open(error)
                failure = failed(error, path)
                if not failure.retryable or attempt == ATTEMPTS or clock.monotonic() > deadline:
                    raise failure from error
            await asyncio.sleep(clock.up_to(SHORTEST_PAUSE * 2**attempt))
            attempt += 1

    def _new_local(self) -> RedisLoopClient:
        return RedisLoopClient(self._at_once, self._timeout)

    async def _close(self, local: RedisLoopClient) -> None:
        async with local.making:
            client, local.client = local.client, None
            if client is not None and client is not self._lent:
                await client.aclose()
            local.deadline.close()

    async def _connected(self, local: RedisLoopClient) -> AnyRedis:
        if local.client is None:
            async with local.making:  # several tasks may be the first, and one may close the client
                self._locals.check_open()
                if local.client is None:
                    local.client = await (self._new_client() if self._lent is None else _ready(self._lent))
        return local.client

    async def _new_client(self) -> AnyRedis:
        url = _given(self._url)
        settings = {**_LIBRARY, "socket_timeout": None, "socket_connect_timeout": None}  # `Deadline` is cheaper
        single = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **settings)
        try:
            if not await _is_node(single):
                return single
        except BaseException:
            await single.aclose()
            raise
        await single.aclose()
        if self._no_cluster:
            raise Unsupported.of(None, _NO_CLUSTER)
        # The client's own attempts follow keys that move from node to node.
        patience = Retry(ExponentialWithJitterBackoff(cap=1, base=SHORTEST_PAUSE), _NODE_ATTEMPTS)
        return await _ready(redis.RedisCluster.from_url(url, retry=patience, **settings))


async def _ready(client: AnyRedis) -> AnyRedis:
    """Return the client after it has asked which nodes a cluster has; before, it would send commands to any node."""
    return await client.initialize()


async def _is_node(client: redis.Redis) -> bool:
    """Whether the server is part of a cluster. One that refuses to say counts as a single server."""
    try:
        return bool((await client.info("cluster")).get("cluster_enabled"))
    except exceptions.ResponseError:
        return False


def _pool(url: str) -> redis.ConnectionPool:
    """Return the connection pool for a URL, without connecting.

    :raises ValueError: for an unknown scheme or parameter, or a path that is not the number of a database.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("the URL of a Redis: unix:// names no socket: write unix:///the/whole/path")
    if parts.scheme == "unix" and parts.hostname:
        raise ValueError(f"the URL of a Redis: unix:// names a host, {parts.hostname!r}: write unix:///the/whole/path")
    if parts.scheme != "unix" and not parts.path.removeprefix("/").isdecimal() and parts.path not in {"", "/"}:
        raise ValueError(f"the URL of a Redis: {parts.path!r} is no number of a database; for a folder use at()")
    pool = redis.ConnectionPool.from_url(url, **_LIBRARY)
    try:
        pool.make_connection()  # this does not connect
    except TypeError as error:
        raise ValueError(f"the URL of a Redis: {str(error).rpartition(') ')[2]}") from None
    except exceptions.RedisError as error:
        raise ValueError(f"the URL of a Redis: {error}") from None
    return pool


def _given(url: str | None) -> str:
    if url is None:
        raise ValueError("give the URL of a Redis, or client=")
    return url


def _check_lent(url: str | None, client: AnyRedis) -> None:
    if url is not None:
        raise ValueError("give the URL of a Redis or lend a client, not both")
    if not isinstance(client, redis.Redis | redis.RedisCluster):
        raise TypeError(f"client= takes a Redis or a RedisCluster of redis.asyncio, not {type(client)!r}")
    if getattr(client, "read_from_replicas", False) or getattr(client, "load_balancing_strategy", None) is not None:
        raise ValueError("client= reads from replicas of the cluster, which may lag: lend one that asks primaries only")
