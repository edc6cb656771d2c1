"""Listing: the service's pages, put into the order of UTF-8 bytes.

The service sorts by UTF-16 units. That is the same order except that characters beyond U+FFFF, written there as a pair
of units from U+D800 on, come before those from U+E000 on. So entries with such a character wait until all that share
what is before it have passed; nothing else does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from azure.storage.blob import BlobProperties

from aiofs.backends.azure.properties import entry_of, marks_folder
from aiofs.driver import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from azure.core.async_paging import AsyncItemPaged

    from aiofs.backends.azure.client import Container

_NO_NAME = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")
"""Other programs' names that are no paths: with a segment that is empty, `.` or `..`, or ending in `/`."""
_BEYOND = re.compile("[\U00010000-\U0010ffff]")


class Sorter:
    """Takes entries in the order of UTF-16 units and gives them back in that of code points, which is UTF-8's."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, list[Entry]]] = []

    def take(self, entry: Entry) -> Iterator[Entry]:
        """Give back what need not wait any more now that `entry` is here."""
        while self._waiting and not entry.path.startswith(self._waiting[-1][0]):
            yield from self._pass()
        beyond = _BEYOND.search(entry.path)
        if beyond is None:
            yield entry
            return
        shared = entry.path[: beyond.start()]
        if not self._waiting or self._waiting[-1][0] != shared:
            self._waiting.append((shared, []))
        self._waiting[-1][1].append(entry)

    def rest(self) -> Iterator[Entry]:
        """Give back all that still waits."""
        while self._waiting:
            yield from self._pass()

    def _pass(self) -> Iterator[Entry]:
        yield from sorted(self._waiting.pop()[1], key=lambda entry: entry.path)


async def pages(
    container: Container, prefix: str, delimiter: str | None, page_size: int, include: list[str] | None = None
) -> AsyncGenerator[list[BlobProperties]]:
    """Yield the service's pages; of a folder only the name is known."""
    token = None
    while True:

        async def one(token: str | None = token) -> tuple[list[BlobProperties], str | None]:
            client = container.client
            listed: AsyncItemPaged[Any]
            asked: dict[str, Any] = {"include": include, "results_per_page": page_size}
            if delimiter is None:
                listed = client.list_blobs(prefix or None, **asked)
            else:
                listed = client.walk_blobs(prefix or None, delimiter=delimiter, **asked)
            paged = listed.by_page(token)
            page: list[Any] = [blob async for blob in await anext(paged)]
            following: str | None = paged.continuation_token  # type: ignore[attr-defined]
            return page, following

        page, token = await container.ask(None, one)
        yield page
        if not token:
            return


async def entries(
    container: Container, prefix: str, after: str, delimiter: str | None, page_size: int
) -> AsyncGenerator[Entry]:
    """Yield what begins with `prefix` and comes behind `after`, in the order of UTF-8 bytes.

    Blobs that only mark a folder are left out: a folder is there as long as a file is.
    """
    sorter = Sorter()
    async for page in pages(container, prefix, delimiter, page_size, ["metadata"]):
        page.sort(key=lambda blob: blob.name.encode("utf-16-be"))  # the service gives folders before files
        for entry in filter(None, map(_entry, page)):
            for passing in sorter.take(entry):
                if passing.path > after:
                    yield passing
    for entry in sorter.rest():
        if entry.path > after:
            yield entry


def _entry(blob: BlobProperties) -> Entry | None:
    """Return what to list; `None` for the mark of a folder, and for a name that is none."""
    path: str = blob.name
    if not isinstance(blob, BlobProperties):
        return None if _NO_NAME.search(path[:-1]) else Entry(path)
    if _NO_NAME.search(path) or marks_folder(blob.size, blob.metadata):
        return None
    return entry_of(path, blob)
