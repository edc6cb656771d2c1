"""A survey of a cluster: the files that its storages have, from the log of names of every one of them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.ids import FileId
from aiofs.backends.fastdfs.labels import read_label
from aiofs.errors import AiofsError, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiofs.backends.fastdfs.client import FastDFSClient
    from aiofs.backends.fastdfs.labels import Label
    from aiofs.backends.fastdfs.members import Member

_METADATA = "-m"


class Survey:
    """Asks every storage of the groups that can be read; a file is where any of them has it.

    `not_asked` says of the storages that could not be asked, by group and address, why; `unreadable` of the files whose
    label a newer version of aiofs wrote, by id.
    """

    def __init__(self, client: FastDFSClient, group: str | None) -> None:
        self._client = client
        self._group = group
        self.not_asked: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self._silent: set[tuple[str, str]] = set()

    async def files(self) -> AsyncGenerator[tuple[str, bool]]:
        """Yield each id as often as a storage names it, and whether it is named as one that has metadata.

        Logs are late: what was stored just before this is called is there when they are read.
        """
        await asyncio.sleep(self._client.log_delay)
        for group in await self._client.groups():
            if self._group not in {None, group.name}:
                continue
            for member in await self._client.members.of(group.name):
                if self._client.members.is_retired(member):
                    continue
                if not member.is_up:
                    self._pass_over(group.name, member, f"the trackers say that it is {member.state}")
                    continue
                async with aclosing(self._logged(group.name, member)) as logged:
                    async for found in logged:
                        yield found

    async def _logged(self, group: str, member: Member) -> AsyncGenerator[tuple[str, bool]]:
        try:
            for path_index in range(member.store_paths):
                async for logged in self._client.names(group, path_index, storage=str(member.address)):
                    yield f"{group}/{logged.name.removesuffix(_METADATA)}", logged.name.endswith(_METADATA)
        except AiofsError as error:
            self._pass_over(group, member, str(error.strerror))

    async def label(self, file: str) -> tuple[str, Label] | None:
        """Look at the label of a file; `None` if it has none, is gone, or belongs to a storage that is away."""
        if self._is_silent(file):
            return None
        found = None
        try:
            found = read_label(await self._client.metadata(file))
        except NotFound:
            pass
        except Unsupported as error:
            self.unreadable[file] = str(error.strerror)
        except AiofsError as error:
            self._note(file, error)
        return None if found is None else (file, found)

    async def is_gone(self, file: str) -> bool:
        """Whether the storage that made a file says that there is none."""
        if self._is_silent(file):
            return False
        try:
            return not await self._client.exists(file)
        except AiofsError as error:
            self._note(file, error)
            return False

    def _is_silent(self, file: str) -> bool:
        parsed = FileId.parse(file)
        return (parsed.group, str(parsed.source)) in self._silent

    def _note(self, file: str, error: AiofsError) -> None:
        """Note that what a storage made cannot be judged: it is not asked again."""
        parsed = FileId.parse(file)
        if not self._is_silent(file):
            self._silent.add((parsed.group, str(parsed.source)))
            self.not_asked[f"{parsed.group} {parsed.source}"] = str(error.strerror)

    def _pass_over(self, group: str, member: Member, reason: str) -> None:
        self._silent |= {(group, member.id), (group, member.address.host)}
        self.not_asked[f"{group} {member.address}"] = reason
