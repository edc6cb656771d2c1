"""The connections to the servers of a cluster: opened when needed, kept when in step, never more than a few to each."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from aiofs.backends.fastdfs import wire
from aiofs.backends.fastdfs.answers import ProtocolError
from aiofs.backends.fastdfs.connection import BrokenError, Connection, StalledError
from aiofs.errors import AiofsError, Damaged, TimedOut, Unreachable
from aiofs.lifetimes import PerLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiofs.backends.fastdfs.answers import Address
    from aiofs.backends.fastdfs.wire import Answer, Request

T = TypeVar("T")

EXCHANGE_ERRORS = (BrokenError, StalledError, ProtocolError)
_REST = 10.0
"""A server that timed out is left alone for so many seconds where there is another one."""


class RefusedError(Exception):
    """A server answered with a status other than 0."""

    def __init__(self, status: int, command: int, address: Address) -> None:
        super().__init__(f"{address} answered command {int(command)} with status {status}")
        self.status = status
        self.address = address


class NotConnected(Unreachable):
    """The server could not even be asked: nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how many connections a server gets."""

    connect_timeout: float = 5.0
    network_timeout: float = 30.0
    """Without any progress of a request or an answer."""
    pool_timeout: float = 60.0
    """Until one of a server's connections is free."""
    connections: int = 16
    idle_check: float = 60.0
    """A connection that was idle for longer is tested before it is used."""

    def __post_init__(self) -> None:
        """Check the values.

        :raises ValueError: for one that cannot be meant.
        """
        for name in ("connect_timeout", "network_timeout", "pool_timeout"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} {value!r}: it must be more than nothing")
        if not isinstance(self.connections, int) or self.connections < 1:
            raise ValueError(f"connections {self.connections!r}: it must be a whole number, 1 at least")


class LimitOptions(TypedDict, total=False):
    """The fields of `Limits` that a client can be given."""

    connect_timeout: float
    network_timeout: float
    pool_timeout: float
    connections: int


class Server:
    """One tracker or storage, and the connections to it."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self.address = address
        self.limits = limits
        self._free = asyncio.Semaphore(limits.connections)
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._closed = False
        self._rests_until = 0.0

    @property
    def resting(self) -> bool:
        """Whether it timed out a moment ago, so that another one is asked first."""
        return asyncio.get_running_loop().time() < self._rests_until

    async def call(
        self, request: Request[T], payload: AsyncGenerator[memoryview] | None = None, *, patience: float | None = None
    ) -> T:
        """Send a request and return what its answer says.

        :raises RefusedError: if the answer has a status.
        :raises NotConnected: if there is no connection to be had; nothing was sent.
        :raises Unreachable: if the connection breaks.
        :raises TimedOut: if nothing moves for `patience` (by default: `network_timeout`) seconds.
        :raises Damaged: if what comes is no answer.
        """
        if patience is None:
            patience = self.limits.network_timeout
        connection, answer = await self.begin(request, payload, patience)
        try:
            if answer.length > wire.LONGEST_BODY:
                raise ProtocolError(f"an answer of {answer.length} bytes to command {int(request.command)}")
            body = await connection.read(answer.length, patience)
            decoded = request.decode(body)
            connection.finish()
        except EXCHANGE_ERRORS as error:
            raise self.blame(error) from error
        finally:
            self.give_back(connection)
        return decoded

    async def begin(
        self, request: Request[Any], payload: AsyncGenerator[memoryview] | None, patience: float
    ) -> tuple[Connection, Answer]:
        """Send a request and return the connection on which the body of its answer follows. Raises as `call`.

        The caller owes a `give_back`. A connection that turns out to be dead is replaced where asking twice does no
        harm.
        """
        while True:
            connection = await self._take()
            answer = None
            try:
                answer = await self._ask(connection, request, payload, patience)
            except BrokenError as error:
                if not connection.used or not request.repeatable:
                    raise self.blame(error) from error
                self._forget_idle()  # whatever broke this one broke the others
            except EXCHANGE_ERRORS as error:
                raise self.blame(error) from error
            else:
                return connection, answer
            finally:
                if answer is None:
                    self.give_back(connection)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it where it is out of step."""
        if connection.usable:
            self._idle.append(connection)
        else:
            self._drop(connection)
        self._free.release()

    def blame(self, error: Exception) -> AiofsError:
        """Return the error that says that an exchange with this server ended in `error`."""
        if isinstance(error, StalledError):
            self._rest()
            return TimedOut.of(None, f"{self.address}: {error}")
        if isinstance(error, BrokenError):
            return Unreachable(_errno_of(error.__cause__, errno.ECONNRESET), f"{self.address}: {error}")
        return Damaged.of(None, f"{self.address} does not keep to the protocol: {error}")

    async def aclose(self) -> None:
        """Close all connections, for good; exchanges that go on break."""
        self._closed = True
        self._idle.clear()
        while self._all:
            await self._all.pop().aclose()

    async def _ask(
        self,
        connection: Connection,
        request: Request[Any],
        payload: AsyncGenerator[memoryview] | None,
        patience: float,
    ) -> Answer:
        answer = await connection.ask(request, payload, patience)
        if answer.status:
            if answer.status == wire.Status.NOT_FOUND and payload is None and not answer.length:
                connection.finish()  # after any other refusal a server may be waiting, deaf or about to hang up
            raise RefusedError(answer.status, request.command, self.address)
        return answer

    async def _take(self) -> Connection:
        if self._free.locked():
            await self._wait_for_a_free_one()
        else:
            await self._free.acquire()
        try:
            return await self._kept() or await self._connect()
        except BaseException:
            self._free.release()
            raise

    async def _wait_for_a_free_one(self) -> None:
        try:
            async with asyncio.timeout(self.limits.pool_timeout):
                await self._free.acquire()
        except TimeoutError as error:
            raise TimedOut.of(None, f"all {self.limits.connections} connections to {self.address} are busy") from error

    async def _kept(self) -> Connection | None:
        """Return a connection that was kept and is still good."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and (connection.idle < self.limits.idle_check or await self._test(connection)):
                return connection
            self._drop(connection)
        return None

    async def _test(self, connection: Connection) -> bool:
        """Find out whether a connection that was idle for long still has somebody at its other end."""
        try:
            await self._ask(connection, wire.active_test(), None, self.limits.connect_timeout)
            connection.finish()
        except (*EXCHANGE_ERRORS, RefusedError):
            return False
        except BaseException:
            self._drop(connection)
            raise
        return True

    async def _connect(self) -> Connection:
        self._check_open()
        host, port = self.address
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
        except TimeoutError as error:
            self._rest()
            words = f"{self.address} cannot be reached: no answer in {self.limits.connect_timeout:g} seconds"
            raise NotConnected(errno.ETIMEDOUT, words) from error
        except OSError as error:
            words = f"{self.address} cannot be reached: {error}"
            raise NotConnected(_errno_of(error, NotConnected.code), words) from error
        if self._closed:  # meanwhile
            await connection.aclose()
            self._check_open()
        self._all.add(connection)
        return connection

    def _rest(self) -> None:
        self._rests_until = asyncio.get_running_loop().time() + _REST

    def _check_open(self) -> None:
        if self._closed:
            raise NotConnected.of(None, f"{self.address}: the connections were closed meanwhile")

    def _drop(self, connection: Connection) -> None:
        connection.abort()
        self._all.discard(connection)

    def _forget_idle(self) -> None:
        while self._idle:
            self._drop(self._idle.pop())


class Network:
    """All servers that a client speaks to, in each event loop by connections of its own."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._servers: PerLoop[dict[Address, Server]] = PerLoop("FastDFS", dict, _close)

    def __reduce__(self) -> tuple[type[Network], tuple[Limits]]:
        """Pickle without the connections: who opens it makes their own."""
        return Network, (self._limits,)

    def at(self, address: Address) -> Server:
        """Return the server at an address.

        :raises ValueError: if the client is closed.
        """
        servers = self._servers.get()
        server = servers.get(address)
        if server is None:
            server = servers[address] = Server(address, self._limits)
        return server

    async def aclose(self) -> None:
        """Close for good, with the connections of every loop that has not ended."""
        await self._servers.aclose()


def _errno_of(error: BaseException | None, otherwise: int) -> int:
    return (error.errno if isinstance(error, OSError) else None) or otherwise


async def _close(servers: dict[Address, Server]) -> None:
    for server in servers.values():
        await server.aclose()
