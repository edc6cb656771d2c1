"""Old versions of a blob: those that the container keeps by itself, and snapshots that somebody took."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from aiofs.backends.azure.listing import pages
from aiofs.backends.azure.properties import entry_of, marks_folder
from aiofs.backends.azure.reading import open_stream
from aiofs.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Container
    from aiofs.driver import Entry, ReadStream

SNAPSHOT = "snapshot:"
"""What the id of a snapshot begins with; behind it, as in the id of a version, is the time that it is of."""
CURRENT = "current"
"""The id of the blob as it is now, where the container gives it none."""
_PAGE = 1000
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


class History:
    """The power to list and read old versions."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        """Yield the versions of the blob, the newest first, and before them the blob as it is now.

        :raises NotFound: if there is neither the blob nor a version of it.
        """
        found = [blob async for blob in self._all(path)]
        if not found:
            raise NotFound.of(path)
        for blob in sorted(found, key=_time, reverse=True):
            if not marks_folder(blob.size, blob.metadata):
                number = SNAPSHOT + blob.snapshot if blob.snapshot else blob.version_id
                yield replace(entry_of(path, blob), version_id=number or CURRENT)

    async def read_kept(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open an old version for reading."""
        kept = kept_as(path, version_id)
        try:
            stream = await open_stream(self._container, path, start, stop, None, **kept)
        except NotFound as error:
            raise _missing(path, version_id) from error
        stream.entry = replace(stream.entry, version_id=version_id)
        return stream

    async def _all(self, path: str) -> AsyncGenerator[BlobProperties]:
        """Yield the blob and its versions: they are listed before all longer names."""
        listed = pages(self._container, path, None, _PAGE, ["snapshots", "versions", "metadata"])
        async with aclosing(listed):
            async for page in listed:
                for blob in page:
                    if blob.name != path:
                        return
                    yield blob


def kept_as(path: str, version_id: str) -> dict[str, str]:
    """Return the `snapshot` or `version_id` that an id of `history` means; nothing for the blob as it is now.

    :raises NotFound: if it cannot be one.
    """
    if version_id == CURRENT:
        return {}
    time = version_id.removeprefix(SNAPSHOT)
    if not _TIME.fullmatch(time):
        raise _missing(path, version_id)
    return {"version_id": time} if time == version_id else {"snapshot": time}


def _missing(path: str, version_id: str) -> NotFound:
    return NotFound.of(path, f"there is no version {version_id!r} of this file")


def _time(blob: BlobProperties) -> str:
    """Return what versions sort by: the blob without one is the newest."""
    return str(blob.snapshot or blob.version_id or "~")
