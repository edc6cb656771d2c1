"""The trackers of a cluster, which all know the same: the next one is asked where one fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from aiofs.backends.fastdfs.client import errors, wire
from aiofs.backends.fastdfs.client.answers import Address
from aiofs.backends.fastdfs.client.errors import RefusedError, Status
from aiofs.errors import AiofsError, Damaged, TimedOut, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiofs.backends.fastdfs.client.connections import Network
    from aiofs.backends.fastdfs.client.ids import FileId
    from aiofs.backends.fastdfs.client.wire import Request

T = TypeVar("T")


class Trackers:
    """Asks one tracker, and stays with it until it fails."""

    def __init__(self, addresses: Sequence[Address], network: Network) -> None:
        self._addresses = addresses
        self._network = network
        self._first = 0

    async def ask(self, request: Request[T], group: str | None = None) -> T:
        """Send a request, which may be about a group, to the first tracker that answers.

        A tracker that knows no storage yet may have started a moment ago: the others are asked too.

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
                if refused.status != Status.NOT_FOUND:
                    raise refusal from refused
                failures.append(refusal)
            else:
                self._first = index
                return answer
        raise _worst(failures)

    def _order(self) -> list[int]:
        """Return the numbers of the trackers as they are to be asked: those that timed out a moment ago at last."""
        count = len(self._addresses)
        turns = [(self._first + turn) % count for turn in range(count)]
        return sorted(turns, key=lambda index: self._network.at(self._addresses[index]).resting)


def _worst(failures: list[AiofsError]) -> AiofsError:
    """Return what to report: that a tracker knew no storage says more than that another was down. All are named."""
    told = [error for error in failures if not isinstance(error, (Unreachable, TimedOut, Damaged))]
    worst = (told or failures)[-1]
    if len(failures) == 1:
        return worst
    summary = type(worst)(worst.errno, "; ".join(str(error.strerror) for error in failures))
    summary.__cause__ = worst.__cause__ or worst
    return summary


_UP = "ACTIVE"


@dataclass(frozen=True, slots=True)
class Member:
    """One storage of a group."""

    id: str
    address: Address
    state: str
    store_paths: int

    @property
    def is_up(self) -> bool:
        """Whether the trackers let others use it."""
        return self.state == _UP


class Members:
    """Who belongs to which group. `retired` names storages that are gone for good, by id or address."""

    def __init__(self, trackers: Trackers, retired: Iterable[str]) -> None:
        self._trackers = trackers
        self._retired = frozenset([retired] if isinstance(retired, str) else retired)

    async def of(self, group: str) -> list[Member]:
        """List the storages of a group."""
        return [
            Member(record.id, Address(record.ip, record.port), record.state, record.store_paths)
            for record in await self._trackers.ask(wire.list_storages(group), group)
        ]

    async def is_source(self, file: FileId, address: Address) -> bool:
        """Whether the storage at `address` made the file. Who has the number that an id names is looked up."""
        if isinstance(file.source, str):
            return address.host == file.source
        return any(self.made(file, member) for member in await self.of(file.group) if member.address == address)

    def made(self, file: FileId, member: Member) -> bool:
        """Whether a storage made the file."""
        return str(file.source) in {member.id, member.address.host}

    def is_retired(self, member: Member) -> bool:
        """Whether the operator named this storage as retired."""
        return not self._retired.isdisjoint({member.id, member.address.host, str(member.address)})

    def is_retired_source(self, file: FileId) -> bool:
        """Whether the operator named the storage that made the file as retired."""
        return str(file.source) in self._retired
