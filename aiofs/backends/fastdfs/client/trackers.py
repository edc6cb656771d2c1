"""The trackers of a cluster, and what they know about the storages of a group.

All trackers know the same. If one fails, the next one is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from aiofs.backends.fastdfs.client import errors, wire
from aiofs.backends.fastdfs.client.answers import Address
from aiofs.backends.fastdfs.client.errors import FastDFSStatus, RefusedError
from aiofs.errors import AiofsError, Damaged, TimedOut, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiofs.backends.fastdfs.client.connections import Network
    from aiofs.backends.fastdfs.client.ids import FileId
    from aiofs.backends.fastdfs.client.wire import FastDFSRequest

T = TypeVar("T")

_UP = "ACTIVE"


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
