"""Which storage to ask for a file, and which other one where the first does not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from aiofs.backends.fastdfs import refusals, wire
from aiofs.backends.fastdfs.answers import Address
from aiofs.backends.fastdfs.pool import NotConnected, RefusedError
from aiofs.errors import AiofsError, NotFound, TimedOut, Unreachable, place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiofs.backends.fastdfs.ids import FileId
    from aiofs.backends.fastdfs.payload import Payload
    from aiofs.backends.fastdfs.pool import Network, Server
    from aiofs.backends.fastdfs.trackers import Trackers
    from aiofs.backends.fastdfs.wire import Request

T = TypeVar("T")
Failures = tuple[type[AiofsError], ...]

_REMEMBER = 30.0
"""For so many seconds a file's source storage is asked without asking a tracker for it."""
_NOTHING_SENT: Failures = (NotConnected,)
_NOTHING_DONE: Failures = (NotConnected, NotFound)
_NO_ANSWER: Failures = (Unreachable, TimedOut)
_NOT_HERE: Failures = (Unreachable, TimedOut, NotFound)


class Storages:
    """Asks the storages that the trackers name.

    A file's own bytes come from any storage that has them. Whatever can change, and every change, goes to the source
    of the file, the storage that made it: the others follow it with a delay.
    """

    def __init__(self, trackers: Trackers, network: Network, address_map: Mapping[str, str]) -> None:
        self._trackers = trackers
        self._network = network
        self._address_map = dict(address_map)
        self._sources: dict[tuple[str, str], tuple[Address, float]] = {}

    def reach(self, address: Address) -> Server:
        """Return the server that a tracker calls `address`, which may have another one for us."""
        mapped = self._address_map.get(str(address)) or self._address_map.get(address.host)
        return self._network.at(address if mapped is None else Address.parse(mapped, address.port))

    async def ask(
        self, file: FileId, request: Request[T], payload: Payload | None = None, *, patience: float | None = None
    ) -> T:
        """Send a request to the source of a file."""
        again = _NOTHING_DONE if payload is None else _NOTHING_SENT
        if request.repeatable:
            again += _NO_ANSWER
        return await self.at_source(file, lambda server: _call(server, request, payload, patience), again)

    async def at_source(self, file: FileId, use: Callable[[Server], Awaitable[T]], again: Failures = _NOT_HERE) -> T:
        """Use the source of a file. After a failure of a kind in `again` the trackers are asked who is it now."""
        remembered = self._remembered(file)
        failure: AiofsError | None = None
        if remembered is not None:
            try:
                return await self.use(remembered, use, file)
            except again as error:
                failure = error
                self._sources.pop((file.group, remembered.host), None)
        named = (await self._trackers.ask(wire.query_update(file), file.group)).address
        if named.host == file.source:
            self._sources[file.group, named.host] = (named, asyncio.get_running_loop().time() + _REMEMBER)
        if failure is not None and named == remembered and isinstance(failure, NotFound):
            raise failure
        return await self.use(named, use, file)

    async def anywhere(self, file: FileId, use: Callable[[Server], Awaitable[T]]) -> T:
        """Use any storage that has a file which nobody changes."""
        first = (await self._trackers.ask(wire.query_fetch(file), file.group)).address
        try:
            return await self.use(first, use, file)
        except _NO_ANSWER as error:
            for other in await self._trackers.ask(wire.query_fetch_all(file), file.group):
                if other.address != first:
                    try:
                        return await self.use(other.address, use, file)
                    except _NOT_HERE:
                        continue  # one that has not got the file yet does not prove that there is none
            raise error from error.__cause__

    async def store(self, group: str | None, make: Callable[[int], Request[str]], payload: Payload) -> str:
        """Send a new file to a storage that takes it. `make` makes the request for the path that it wants."""
        first = await self._trackers.ask(wire.query_store(group), group)

        def send(server: Server) -> Awaitable[str]:
            return _call(server, make(first.path_index), payload)

        try:
            return await self.use(first.address, send)
        except NotConnected as error:
            for other in await self._trackers.ask(wire.query_store_all(first.group), first.group):
                if other.address != first.address:
                    try:
                        return await self.use(other.address, send)
                    except NotConnected:
                        continue
            raise error from error.__cause__

    async def use(self, address: Address, use: Callable[[Server], Awaitable[T]], file: FileId | None = None) -> T:
        """Use the server at an address; what fails becomes an error about the file."""
        name = None if file is None else str(file)
        try:
            return await use(self.reach(address))
        except RefusedError as refused:
            raise refusals.by_storage(refused, name) from refused
        except AiofsError as error:
            if name is not None:
                place(error, name)
            raise

    def _remembered(self, file: FileId) -> Address | None:
        if not isinstance(file.source, str):
            return None
        found = self._sources.get((file.group, file.source))
        if found is None or found[1] < asyncio.get_running_loop().time():
            return None
        return found[0]


async def _call(
    server: Server, request: Request[T], payload: Payload | None = None, patience: float | None = None
) -> T:
    return await server.call(request, None if payload is None else payload.pieces(), patience=patience)
