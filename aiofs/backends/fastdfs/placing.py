"""Where new files go: to the storage that a tracker names, and to the next one where that does not take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.fastdfs import wire
from aiofs.errors import AiofsError, NotAccepted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiofs.backends.fastdfs.answers import Place
    from aiofs.backends.fastdfs.payload import Payload
    from aiofs.backends.fastdfs.pool import Server
    from aiofs.backends.fastdfs.storages import Storages
    from aiofs.backends.fastdfs.trackers import Trackers
    from aiofs.backends.fastdfs.wire import Request


async def store(
    trackers: Trackers,
    storages: Storages,
    group: str | None,
    make: Callable[[int], Request[str]],
    payload: Payload,
) -> str:
    """Send a new file to a storage that takes it, and return its id. `make` makes the request for a store path.

    It goes to another storage as long as its bytes can be sent again. A storage that took all of them, and could not
    say so, keeps a file that nobody knows.
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
            raise  # which every storage would say
        except AiofsError as error:
            failure = failure or error
            if not payload.can_be_sent:
                break
    assert failure is not None  # noqa: S101 -- a tracker names a storage, or raises
    raise failure from failure.__cause__


async def _takers(trackers: Trackers, storages: Storages, group: str | None) -> AsyncIterator[Place]:
    """Yield storages that take new files: as the trackers choose, then all others; some twice.

    One that timed out a moment ago comes after the others of its group.
    """
    first = await trackers.ask(wire.query_store(group), group)
    if not storages.reach(first.address).resting:
        yield first
    try:
        others = await trackers.ask(wire.query_store_all(first.group), first.group)
    except AiofsError:
        others = [first]
    for placed in sorted(others, key=lambda other: storages.reach(other.address).resting):
        yield placed
    yield first
    if group is None:
        for other in await _other_groups(trackers, first.group):
            for placed in other:
                yield placed


async def _other_groups(trackers: Trackers, group: str) -> list[list[Place]]:
    try:
        others = [other.name for other in await trackers.ask(wire.list_groups()) if other.writable]
        return [await trackers.ask(wire.query_store_all(other), other) for other in others if other != group]
    except AiofsError:
        return []  # what the first storage said is what matters
