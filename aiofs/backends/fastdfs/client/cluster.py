"""The trackers and storages of a cluster: which one is asked, which one next, and which may say that there is no file.

All trackers know the same. If one fails, the next one is asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from aiofs.backends.fastdfs.client import errors, wire
from aiofs.backends.fastdfs.client.answers import Address
from aiofs.backends.fastdfs.client.errors import FastDFSStatus, NotConnected, RefusedError
from aiofs.errors import (
    AiofsError,
    Damaged,
    IsAFolder,
    NotAccepted,
    NotFound,
    TimedOut,
    Unavailable,
    Unreachable,
    place,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from aiofs.backends.fastdfs.client.answers import StoragePlace
    from aiofs.backends.fastdfs.client.connections import Network, Server
    from aiofs.backends.fastdfs.client.ids import FileId
    from aiofs.backends.fastdfs.client.transfers import Payload
    from aiofs.backends.fastdfs.client.wire import FastDFSRequest

T = TypeVar("T")
Failures = tuple[type[AiofsError], ...]

_UP = "ACTIVE"
_REMEMBER = 30.0
"""For so many seconds the address of the storage that made a file is known without asking a tracker."""
_NOTHING_SENT: Failures = (NotConnected,)
_NOTHING_DONE: Failures = (NotConnected, NotFound)
_NO_ANSWER: Failures = (Unreachable, TimedOut)
_NOT_HERE: Failures = (Unreachable, TimedOut, NotFound)
_EVERYWHERE: Failures = (NotAccepted, IsAFolder)
"""Errors that every storage would give."""


class Trackers:
    """Asks the trackers, beginning with the one that answered last."""

    def __init__(self, addresses: Sequence[Address], network: Network) -> None:
        self._addresses = addresses
        self._network = network
        self._first = 0

    async def ask(self, request: FastDFSRequest[T], group: str | None = None) -> T:
        """Send a request, perhaps about a group, to the trackers until one answers.

        A tracker that knows no storage may have started a moment ago, so the others are asked too.

        :raises Unavailable: if there is no such group, or none of its storages is up.
        :raises NoSpace: if none of them has space.
        :raises Unreachable: if no tracker can be reached.
        :raises TimedOut: if the last of them does not answer in time.
        :raises Damaged: if the last of them does not keep to the protocol.
        """
        failures: list[AiofsError] = []
        for index in self._order():
            try:
                answer = await self._network.at(self._addresses[index]).call(request)
            except (Unreachable, TimedOut, Damaged) as error:
                failures.append(error)
            except RefusedError as refused:
                refusal = errors.by_tracker(refused, group)
                refusal.__cause__ = refused
                if refused.status != FastDFSStatus.NOT_FOUND:
                    raise refusal from refused
                failures.append(refusal)
            else:
                self._first = index
                return answer
        raise _summary(failures)

    def _order(self) -> list[int]:
        """Return the positions of the trackers in the order of asking: those that timed out a moment ago come last."""
        count = len(self._addresses)
        turns = [(self._first + turn) % count for turn in range(count)]
        return sorted(turns, key=lambda index: self._network.at(self._addresses[index]).is_suspect)


def _summary(failures: list[AiofsError]) -> AiofsError:
    """Return an error that names all failures; that a tracker knows no storage says more than that one is down."""
    told = [error for error in failures if not isinstance(error, (Unreachable, TimedOut, Damaged))]
    worst = (told or failures)[-1]
    if len(failures) == 1:
        return worst
    summary = type(worst)(worst.errno, "; ".join(str(error.strerror) for error in failures))
    summary.__cause__ = worst.__cause__ or worst
    return summary


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One storage of a group."""

    id: str
    address: Address
    state: str
    store_paths: int

    @property
    def is_up(self) -> bool:
        """Whether the trackers tell clients to use it."""
        return self.state == _UP


class GroupMembers:
    """The storages of each group. `retired` names storages that are gone for good, by id or address."""

    def __init__(self, trackers: Trackers, retired: Iterable[str]) -> None:
        self._trackers = trackers
        self._retired = frozenset([retired] if isinstance(retired, str) else retired)

    async def of(self, group: str) -> list[GroupMember]:
        """List the storages of a group."""
        return [
            GroupMember(record.id, Address(record.ip, record.port), record.state, record.store_paths)
            for record in await self._trackers.ask(wire.list_storages(group), group)
        ]

    async def is_source(self, file: FileId, address: Address) -> bool:
        """Whether the storage at `address` made the file. Asks the trackers if the id names it by its number."""
        if isinstance(file.source, str):
            return address.host == file.source
        return any(self.made(file, member) for member in await self.of(file.group) if member.address == address)

    def made(self, file: FileId, member: GroupMember) -> bool:
        """Whether a storage made the file."""
        return str(file.source) in {member.id, member.address.host}

    def is_retired(self, member: GroupMember) -> bool:
        """Whether the operator named this storage as retired."""
        return not self._retired.isdisjoint({member.id, member.address.host, str(member.address)})

    def is_retired_source(self, file: FileId) -> bool:
        """Whether the operator named the storage that made the file as retired."""
        return str(file.source) in self._retired


class Storages:
    """Asks the storages that the trackers name.

    The bytes of a file that cannot change come from any storage that has them. All else goes to the source of the
    file, which is the storage that made it, as the others get changes later. So only the source can say that a file
    does not exist; if another one says so, the file is unavailable. If the source is retired, a file that no other
    storage of the group has does not exist.
    """

    def __init__(
        self, trackers: Trackers, network: Network, address_map: Mapping[str, str], retired: Iterable[str]
    ) -> None:
        self._trackers = trackers
        self._network = network
        self._address_map = dict(address_map)
        self._sources: dict[tuple[str, str], tuple[Address, float]] = {}
        self.members: GroupMembers = GroupMembers(trackers, retired)

    def server_at(self, address: Address) -> Server:
        """Return the server that the trackers know by this address. `address_map` may name another address."""
        mapped = self._address_map.get(str(address)) or self._address_map.get(address.host)
        return self._network.at(address if mapped is None else Address.parse(mapped, address.port))

    async def ask(
        self, file: FileId, request: FastDFSRequest[T], payload: Payload | None = None, *, patience: float | None = None
    ) -> T:
        """Send a request to the source of a file."""
        again = _NOTHING_DONE if payload is None else _NOTHING_SENT
        if request.repeatable:
            again += _NO_ANSWER
        return await self.at_source(file, lambda server: _call(server, request, payload, patience), again)

    async def at_source(self, file: FileId, use: Callable[[Server], Awaitable[T]], again: Failures = _NOT_HERE) -> T:
        """Use the source of a file. After a failure in `again` the trackers are asked which storage it is now."""
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
        try:
            return await self.use(named, use, file)
        except NotFound as error:
            return await self._among_others(file, {named: error}, use, again)

    async def anywhere(
        self, file: FileId, use: Callable[[Server], Awaitable[T]], without: Collection[Address] = ()
    ) -> T:
        """Use any storage that has a file which cannot change. Those that timed out a moment ago are asked last.

        :raises NotFound: if the source has no such file.
        """
        first = (await self._trackers.ask(wire.query_fetch(file), file.group)).address
        missing: dict[Address, NotFound] = {}
        failures: list[AiofsError] = []
        if self._is_good(first, without):
            try:
                return await self.use(first, use, file)
            except NotFound as error:
                missing[first] = error
            except AiofsError as error:
                if isinstance(error, _EVERYWHERE):
                    raise
                failures.append(error)
            without = {*without, self.server_at(first).address}
        for other in await self._others(file, first, without, missing):
            try:
                return await self.use(other, use, file)
            except NotFound as error:
                missing[other] = error
            except AiofsError as error:
                failures.append(error)
        if failures:
            raise failures[0] from failures[0].__cause__
        if not missing:
            raise Unreachable.of(str(file), "no other storage can give this file")
        return await self._among_others(file, missing, use, without=without)

    async def use(self, address: Address, use: Callable[[Server], Awaitable[T]], file: FileId | None = None) -> T:
        """Use the server at an address, and let its errors name the file."""
        name = None if file is None else str(file)
        try:
            return await use(self.server_at(address))
        except RefusedError as refused:
            raise errors.by_storage(refused, name) from refused
        except AiofsError as error:
            if name is not None:
                place(error, name)
            raise

    async def _others(
        self, file: FileId, first: Address, without: Collection[Address], missing: Mapping[Address, NotFound]
    ) -> list[Address]:
        """Return the other storages that may have a file: none if the source said that there is no such file."""
        if missing and await self.members.is_source(file, first):
            return []
        named = await self._trackers.ask(wire.query_fetch_all(file), file.group)
        addresses = dict.fromkeys([first, *(place.address for place in named)])
        known = [address for address in addresses if self.server_at(address).address not in without]
        return sorted(known, key=lambda address: self.server_at(address).is_suspect)

    def _is_good(self, address: Address, without: Collection[Address]) -> bool:
        server = self.server_at(address)
        return not server.is_suspect and server.address not in without

    async def _among_others(
        self,
        file: FileId,
        missing: Mapping[Address, NotFound],
        use: Callable[[Server], Awaitable[T]],
        again: Failures = _NOT_HERE,
        without: Collection[Address] = (),
    ) -> T:
        """Use another storage of the group after those in `missing` answered that they do not have the file.

        :raises NotFound: if the source is one of them, or is retired and no other storage has the file.
        :raises Unavailable: if a storage that may have the file could not be asked.
        """
        last = [*missing.values()][-1]
        if any(address.host == file.source for address in missing):
            raise last
        silent: list[str] = []
        members = await self.members.of(file.group)
        for member in members:
            if self.members.made(file, member) and member.address in missing:
                raise last
        for member in members:
            if member.address in missing or self.members.is_retired(member):
                continue
            was_asked = self.server_at(member.address).address in without
            if was_asked or not member.is_up or NotFound not in again:  # a payload that was sent is gone
                silent.append(f"{member.address} ({member.state}) cannot be asked")
                continue
            try:
                return await self.use(member.address, use, file)
            except NotFound as error:
                if self.members.made(file, member):
                    raise
                missing = {**missing, member.address: error}
            except again as error:
                silent.append(str(error.strerror))
        raise self._not_found_here(file, missing, silent) from last

    def _not_found_here(self, file: FileId, missing: Mapping[Address, NotFound], silent: list[str]) -> AiofsError:
        """Return the error for a file that some storages, but not its source, do not have."""
        if self.members.is_retired_source(file) and not silent:
            return NotFound.of(str(file))
        asked = ", ".join(map(str, missing))
        rest = "".join(f"; {reason}" for reason in silent)
        return Unavailable.of(
            str(file),
            f"{asked} has no such file, but only {file.source}, the storage that made it, can say that there is none:"
            f" start it, or name it in retired= if it is gone for good{rest}",
        )

    def _remembered(self, file: FileId) -> Address | None:
        if not isinstance(file.source, str):
            return None
        found = self._sources.get((file.group, file.source))
        if found is None or found[1] < asyncio.get_running_loop().time():
            return None
        return found[0]


async def _call(
    server: Server, request: FastDFSRequest[T], payload: Payload | None = None, patience: float | None = None
) -> T:
    return await server.call(request, None if payload is None else payload.pieces(), patience=patience)


async def store_file(
    trackers: Trackers,
    storages: Storages,
    group: str | None,
    make: Callable[[int], FastDFSRequest[str]],
    payload: Payload,
) -> str:
    """Send a new file to a storage that takes it, and return its id. `make` makes the request for a store path.

    After a failure another storage is tried, as long as the bytes can be sent again. If a storage received all bytes
    and its answer was lost, it keeps a file that nobody knows.
    """

    async def send(server: Server) -> str:
        return await server.call(make(placed.path_index), payload.pieces())

    failure: AiofsError | None = None
    tried = set()
    async for placed in _takers(trackers, storages, group):
        if placed.address in tried:
            continue
        tried.add(placed.address)
        try:
            return await storages.use(placed.address, send)
        except NotAccepted:
            raise  # every storage would say the same
        except AiofsError as error:
            failure = failure or error
            if not payload.can_be_sent:
                break
    assert failure is not None  # noqa: S101 -- a tracker names a storage, or the call raises
    raise failure from failure.__cause__


async def _takers(trackers: Trackers, storages: Storages, group: str | None) -> AsyncIterator[StoragePlace]:
    """Yield storages that take new files: first the one that the trackers choose, then all others. Some come twice.

    One that timed out a moment ago comes after the others of its group.
    """
    first = await trackers.ask(wire.query_store(group), group)
    if not storages.server_at(first.address).is_suspect:
        yield first
    try:
        others = await trackers.ask(wire.query_store_all(first.group), first.group)
    except AiofsError:
        others = [first]
    for placed in sorted(others, key=lambda other: storages.server_at(other.address).is_suspect):
        yield placed
    yield first
    if group is None:
        for other in await _other_groups(trackers, first.group):
            for placed in other:
                yield placed


async def _other_groups(trackers: Trackers, group: str) -> list[list[StoragePlace]]:
    try:
        others = [other.name for other in await trackers.ask(wire.list_groups()) if other.writable]
        return [await trackers.ask(wire.query_store_all(other), other) for other in others if other != group]
    except AiofsError:
        return []  # then the failure of the first storage is raised
