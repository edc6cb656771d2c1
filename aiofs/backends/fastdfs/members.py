"""The storages of a group as the trackers list them: who made a file, who is up, and who is retired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs import wire
from aiofs.backends.fastdfs.answers import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiofs.backends.fastdfs.ids import FileId
    from aiofs.backends.fastdfs.trackers import Trackers

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
