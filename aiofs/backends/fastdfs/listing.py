"""Listing: the names in the index, and all files of a cluster, which only the logs of its storages name."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.client.ids import FileId
from aiofs.backends.fastdfs.index import IDENTITY, read_label
from aiofs.driver import Entry
from aiofs.errors import AiofsError, NotFound, Unsupported
from aiofs.names import is_reserved

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from aiofs.backends.fastdfs.client.client import FastDFSClient
    from aiofs.backends.fastdfs.client.cluster import GroupMember
    from aiofs.backends.fastdfs.index import Index, Label

_ABOUT_METADATA = "-m"
"""The end of a logged name that is about the metadata of the file."""


async def list_names(index: Index, prefix: str, after: str, delimiter: str | None) -> AsyncGenerator[Entry]:
    """Yield the names as `Driver.list` does, and the reserved names that the store of the index has."""
    async with aclosing(index.driver.list(prefix, after=after, delimiter=delimiter)) as entries:
        async for entry in entries:
            if not is_reserved(entry.path):
                yield Entry(entry.path)
            elif entry.path != IDENTITY:
                yield entry


class Survey:
    """Asks every storage of the groups for its files. A file exists if any of them has it.

    `not_asked` has the storages that could not be asked, by group and address, and why; `unreadable` has the files
    whose label a newer version of aiofs wrote, by id, and why.
    """

    def __init__(self, client: FastDFSClient, group: str | None) -> None:
        self._client = client
        self._group = group
        self.not_asked: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self._silent: set[tuple[str, str]] = set()

    async def files(self) -> AsyncGenerator[tuple[str, bool]]:
        """Yield the ids that the storages name, some several times, and whether the file has metadata.

        A log may lack the newest files: this waits so long that all files stored before the call are in it.
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

    async def candidates(
        self, named: Mapping[str, str], unseen: dict[str, str], snapshots: Mapping[str, str]
    ) -> list[str]:
        """Return the files that have metadata and no name, and those that a snapshot keeps.

        Takes all files that exist out of `unseen`. Reads all logs before any file is looked at: a storage would not
        wait with the rest of its log.
        """
        found: dict[str, None] = {}
        async with aclosing(self.files()) as files:
            async for file, has_metadata in files:
                unseen.pop(file, None)
                if has_metadata and (file not in named or file in snapshots):
                    found[file] = None
        return list(found)

    async def label(self, file: str) -> tuple[str, Label] | None:
        """Return the id and the label of a file, `None` if it has no label, is gone, or its storage does not answer."""
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
        """Whether the storage that made a file says that it does not exist."""
        if self._is_silent(file):
            return False
        try:
            return not await self._client.exists(file)
        except AiofsError as error:
            self._note(file, error)
            return False

    async def _logged(self, group: str, member: GroupMember) -> AsyncGenerator[tuple[str, bool]]:
        try:
            for path_index in range(member.store_paths):
                async for logged in self._client.names(group, path_index, storage=str(member.address)):
                    yield f"{group}/{logged.name.removesuffix(_ABOUT_METADATA)}", logged.name.endswith(_ABOUT_METADATA)
        except AiofsError as error:
            self._pass_over(group, member, str(error.strerror))

    def _is_silent(self, file: str) -> bool:
        parsed = FileId.parse(file)
        return (parsed.group, str(parsed.source)) in self._silent

    def _note(self, file: str, error: AiofsError) -> None:
        """Ask nothing more of the storage that made the file: what it made cannot be judged."""
        parsed = FileId.parse(file)
        if not self._is_silent(file):
            self._silent.add((parsed.group, str(parsed.source)))
            self.not_asked[f"{parsed.group} {parsed.source}"] = str(error.strerror)

    def _pass_over(self, group: str, member: GroupMember, reason: str) -> None:
        self._silent |= {(group, member.id), (group, member.address.host)}
        self.not_asked[f"{group} {member.address}"] = reason
