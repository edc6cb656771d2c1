"""Old versions of a blob: those that an account with versioning keeps, and snapshots that somebody took."""

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
"""The ids of snapshots begin with it. Its time follows; the id of a version is only a time."""
CURRENT = "current"
"""The id of the blob as it is now, if the account keeps no versions."""
_PAGE = 1000
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


class AzureHistory:
    """The power to list and read old versions."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        """Yield the blob as it is now, and then its old versions, the newest first.

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
        """Yield the blob and its versions. The service lists them before all longer names."""
        listed = pages(self._container, path, None, _PAGE, ["snapshots", "versions", "metadata"])
        async with aclosing(listed):
            async for page in listed:
                for blob in page:
                    if blob.name != path:
                        return
                    yield blob


def kept_as(path: str, version_id: str) -> dict[str, str]:
    """Return the `snapshot` or `version_id` for an id from `history`; an empty dict for the blob as it is now.

    :raises NotFound: if this cannot be such an id.
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
    """Return the key to sort versions by. A blob without a version is the newest."""
    return str(blob.snapshot or blob.version_id or "~")
