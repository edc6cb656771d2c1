"""The clients, one for each event loop: requests, time limits and new attempts."""

from __future__ import annotations

import asyncio
import math
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis import __version__ as sdk_version
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

from aiofs.backends.redis.errors import OF_LOOPS, NotInScript, Undigested, failed, raised_by_the_loop
from aiofs.backends.redis.names import NEVER
from aiofs.backends.redis.scripts import digest_of
from aiofs.errors import AccessDenied, Unsupported, WrongType
from aiofs.kit import lanes
from aiofs.lifetimes import PerLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from types import TracebackType

    from aiofs.backends.redis.scripts import Script, Source


class Deadline:
    """`with deadline:` ends what a task of its loop awaits in it after `seconds`, or some more, by a `TimeoutError`.

    A cancellation that what it awaits swallowed is raised at its end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[asyncio.Task[object], tuple[float, int]] = {}
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 -- whoever awaits is a task
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)
        self._ends[task] = loop.time() + self._seconds, task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- the one that entered
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
        """Cancel the tasks whose time is up, and look again when that of the next one is."""
        now = loop.time()
        for task, (end, _) in self._ends.items():
            if end <= now and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        ends = [end for task, (end, _) in self._ends.items() if task not in self._overdue]
        self._timer = loop.call_at(min(ends), self._look, loop) if ends else None


# Said here, so that redis-py does not look it up in its package's files, on the loop, for every connection.
try:
    from redis.driver_info import DriverInfo
except ImportError:  # before redis-py 7.1
    WHO: dict[str, Any] = {"lib_version": sdk_version}
else:
    WHO = {"driver_info": DriverInfo(lib_version=sdk_version)}

Client = redis.Redis | redis.RedisCluster
T = TypeVar("T")

ATTEMPTS = 6
SHORTEST_PAUSE = 0.02
SCAN_COUNT = 1000
_NODE_ATTEMPTS = 3
_AT_ONCE = 80
"""How many requests are under way, the others waiting for their turn; redis-py has a hundred connections for them."""
_NO_CLUSTER = (
    "replica= works with a single server, and this is a cluster: leave replica= out, and the primaries of the cluster "
    "answer everything"
)
_FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)


class Local:
    """What there is for one event loop: the client, and in which order it is used."""

    def __init__(self, at_once: int, timeout: float) -> None:
        self.client: Client | None = None
        self.making: asyncio.Lock = asyncio.Lock()
        self.turns: tuple[asyncio.Semaphore, asyncio.Semaphore] = lanes(at_once)
        self.deadline: Deadline = Deadline(timeout)


class Connection:
    """One Redis, or a cluster of them, reached by a URL or through a client that was lent."""

    def __init__(self, url: str | None, client: Client | None, timeout: float, *, no_cluster: bool = False) -> None:
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
        self._no_cluster = no_cluster  # whether a cluster is refused
        self._at_once = min(_AT_ONCE, getattr(pool, "max_connections", _AT_ONCE))
        self._locals = PerLoop(self, self._new_local, self._close)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the client: who opens it makes their own.

        :raises TypeError: for a client that was lent.
        """
        if self._url is None:
            raise TypeError("a Redis client that was lent cannot be pickled: give the URL instead")
        return partial(Connection, no_cluster=self._no_cluster), (self._url, None, self._timeout)

    def __str__(self) -> str:
        if self._url is None:
            return "Redis through a client that was lent"
        parts = urlsplit(self._url)
        return f"Redis at {parts.netloc.rpartition('@')[2]}{parts.path}"

    async def is_cluster(self) -> bool:
        """Return whether keys are spread over nodes."""
        return isinstance(await self._try(None, _ready), redis.RedisCluster)

    async def ask(self, path: str | None, *command: Any, urgent: bool = False, **options: Any) -> Any:
        """Send a command and return its answer.

        :raises OSError: as the table of `errors` says.
        """
        return await self._try(path, lambda client: client.execute_command(*command, **options), urgent=urgent)

    async def run(self, path: str | None, script: Script, keys: Sequence[str], *args: Any, urgent: bool = False) -> Any:
        """Take a step; where the server makes no digests, tell it what it needs.

        :raises OSError: as the table of `errors` says.
        """
        try:
            return await self.evaluate(path, script, keys, *args, urgent=urgent)
        except Undigested:
            pass
        for _ in range(ATTEMPTS - 1):
            with suppress(Undigested):  # the value was changed since we got it
                return await self._inform(path, script, keys, *args)
        return await self._inform(path, script, keys, *args)

    async def evaluate(
        self, path: str | None, script: Source, keys: Sequence[str], *args: Any, urgent: bool = False
    ) -> Any:
        """Run a script, whose text the server is sent only when it does not know it yet.

        :raises Undigested: if it needs a digest, and the server makes none.
        """
        try:
            try:
                return await self.ask(path, "EVALSHA", script.digest, len(keys), *keys, *args, urgent=urgent)
            except OSError as error:
                if not isinstance(error.__cause__, exceptions.NoScriptError):
                    raise
            return await self.ask(path, "EVAL", script.source, len(keys), *keys, *args, urgent=urgent)
        except NotInScript as error:
            reason = f"{error.strerror}: allow the commands that it needs: {', '.join(script.commands)}"
            raise AccessDenied.of(path, reason) from error.__cause__

    async def ask_each(self, commands: Sequence[Sequence[Any]], path: str | None = None) -> list[Any]:
        """Send many commands at once and return their answers, a server's refusal of one in its place.

        Where they are about one `path`, a refusal is raised.

        :raises OSError: as the table of `errors` says.
        """

        async def send(client: Client) -> list[Any]:
            async with client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers = await pipeline.execute(raise_on_error=False)
            for refusal in answers if path is not None else ():
                if isinstance(refusal, Exception):
                    raise refusal  # not by redis-py, whose message would repeat the bytes that were sent
            return answers

        return await self._try(path, send)

    async def value(self, path: str | None, key: str) -> bytes | None:
        """Return a whole value; `None` if there is none.

        :raises Unsupported: if the answer is not as long as the value: fakeredis' server cuts long ones.
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
        """Yield all keys that are text and fit the glob, on every node; some perhaps twice, in no order."""
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
                    continue  # no path can name it

    async def _inform(self, path: str | None, script: Script, keys: Sequence[str], *args: Any) -> Any:
        value: bytes | None = None
        with suppress(WrongType):  # it became a file in parts, whose version is no digest
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
            if isinstance(cursor, dict):  # a cluster's client tells the cursors of all nodes that it asked
                cursor = next(iter(cursor.values()))
            if not int(cursor):
                return

    async def aclose(self) -> None:
        """Close the clients of every loop that has not ended, unless they were lent."""
        await self._locals.aclose()

    async def _try(self, path: str | None, send: Callable[[Client], Awaitable[T]], *, urgent: bool = False) -> T:
        local = self._locals.get()
        attempt, deadline = 1, math.inf
        while True:
            try:
                async with local.turns[urgent]:
                    self._locals.check_open()
                    deadline = min(deadline, time.monotonic() + self._timeout)
                    with local.deadline:  # it sees to cancellation too, which redis-py may lose as an answer comes
                        return await send(await self._connected(local))
            except Unsupported as error:
                raise Unsupported.of(path, str(error.strerror)) from error.__cause__
            except (*_FAILURES, *OF_LOOPS) as error:
                if isinstance(error, OF_LOOPS) and not raised_by_the_loop(error):
                    raise
                self._locals.check_open(error)
                failure = failed(error, path)
                if not failure.retryable or attempt == ATTEMPTS or time.monotonic() > deadline:
                    raise failure from error
            await asyncio.sleep(random.uniform(0, SHORTEST_PAUSE * 2**attempt))  # noqa: S311 -- no secret is made of it
            attempt += 1

    def _new_local(self) -> Local:
        return Local(self._at_once, self._timeout)

    async def _close(self, local: Local) -> None:
        async with local.making:
            client, local.client = local.client, None
            if client is not None and client is not self._lent:
                await client.aclose()
            local.deadline.close()

    async def _connected(self, local: Local) -> Client:
        if local.client is None:
            async with local.making:  # many tasks may come first, and one that closes
                self._locals.check_open()
                if local.client is None:
                    local.client = await (self._new_client() if self._lent is None else _ready(self._lent))
        return local.client

    async def _new_client(self) -> Client:
        url = _given(self._url)
        settings = {**WHO, "socket_timeout": None, "socket_connect_timeout": None}  # `Deadline` does that, cheaper
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
        # Here the client's own attempts are needed, to follow keys that move from node to node.
        patience = Retry(ExponentialWithJitterBackoff(cap=1, base=SHORTEST_PAUSE), _NODE_ATTEMPTS)
        return await _ready(redis.RedisCluster.from_url(url, retry=patience, **settings))


async def _ready(client: Client) -> Client:
    """Return the client once it knows the nodes, if there are several; before, it would ask any of them."""
    return await client.initialize()


async def _is_node(client: redis.Redis) -> bool:
    """Return whether the server is part of a cluster; one that refuses to say is taken for one alone."""
    try:
        return bool((await client.info("cluster")).get("cluster_enabled"))
    except exceptions.ResponseError:
        return False


def _pool(url: str) -> redis.ConnectionPool:
    """Return what a client would be made of; it connects nothing.

    :raises ValueError: for another scheme, a path that is no database, or a parameter that redis-py does not take.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("the URL of a Redis: unix:// names no socket")
    if parts.scheme == "unix" and parts.hostname:
        raise ValueError(f"the URL of a Redis: unix:// names a host, {parts.hostname!r}: write unix:///the/whole/path")
    if parts.scheme != "unix" and not parts.path.removeprefix("/").isdecimal() and parts.path not in {"", "/"}:
        raise ValueError(f"the URL of a Redis: {parts.path!r} is no number of a database; at() gives a folder")
    pool = redis.ConnectionPool.from_url(url, **WHO)
    try:
        pool.make_connection()  # which connects nothing yet
    except TypeError as error:
        raise ValueError(f"the URL of a Redis: {str(error).rpartition(') ')[2]}") from None
    except exceptions.RedisError as error:
        raise ValueError(f"the URL of a Redis: {error}") from None
    return pool


def _given(url: str | None) -> str:
    if url is None:
        raise ValueError("give the URL of a Redis, or client=")
    return url


def _check_lent(url: str | None, client: Client) -> None:
    if url is not None:
        raise ValueError("give the URL of a Redis or lend a client, not both")
    if not isinstance(client, redis.Redis | redis.RedisCluster):
        raise TypeError(f"client= takes a Redis or a RedisCluster of redis.asyncio, not {type(client)!r}")
    if getattr(client, "read_from_replicas", False) or getattr(client, "load_balancing_strategy", None) is not None:
        raise ValueError("client= reads from replicas of the cluster, which may lag: lend one that asks primaries only")


class Rights:
    """Checks the rights of the user of a connection, and remembers those that it found."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._may_remove = False

    async def check_may_remove(self, path: str, what: str) -> None:
        """Raise `AccessDenied`, which says `what` needs the right, if the user may not remove keys.

        The server is asked once, by removing a key that never exists.
        """
        if self._may_remove:
            return
        try:
            await self._connection.ask(path, "UNLINK", NEVER)
        except AccessDenied as error:
            reason = f"{error.strerror}: {what} needs the command UNLINK ('+unlink' in the user's access list)"
            raise AccessDenied.of(path, reason) from error.__cause__
        self._may_remove = True
