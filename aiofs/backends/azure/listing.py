"""Listing: the service's pages, put into the order of UTF-8 bytes.

The service sorts by UTF-16 units. That is the same order, except for characters beyond U+FFFF: UTF-16 writes them as a
pair of units from U+D800 on, so the service lists them before characters from U+E000 on. An entry with such a character
waits until all entries that share the text before it were yielded. No other entry waits.
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
"""Names of other programs that are not paths: a segment is empty, `.` or `..`, or the name ends in `/`."""
_BEYOND = re.compile("[\U00010000-\U0010ffff]")


class CodePointSorter:
    """Takes entries in the order of UTF-16 units, and yields them in the order of code points, which is UTF-8's."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, list[Entry]]] = []

    def take(self, entry: Entry) -> Iterator[Entry]:
        """Take the next entry, and yield those that need not wait any longer."""
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
        """Yield all entries that still wait."""
        while self._waiting:
            yield from self._pass()

    def _pass(self) -> Iterator[Entry]:
        yield from sorted(self._waiting.pop()[1], key=lambda entry: entry.path)


async def pages(
    container: Container, prefix: str, delimiter: str | None, page_size: int, include: list[str] | None = None
) -> AsyncGenerator[list[BlobProperties]]:
    """Yield the service's pages. A folder in them has a name and nothing else."""
    token = None
    while True:

        async def one(token: str | None = token) -> tuple[list[BlobProperties], str | None]:
            client = container.client
            listed: AsyncItemPaged[Any]
            settings: dict[str, Any] = {"include": include, "results_per_page": page_size}
            if delimiter is None:
                listed = client.list_blobs(prefix or None, **settings)
            else:
                listed = client.walk_blobs(prefix or None, delimiter=delimiter, **settings)
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
    """Yield entries that begin with `prefix` and come after `after`, in the order of UTF-8 bytes.

    Blobs that only mark a folder are left out: a folder exists as long as a file in it does.
    """
    sorter = CodePointSorter()
    async for page in pages(container, prefix, delimiter, page_size, ["metadata"]):
        page.sort(key=lambda blob: blob.name.encode("utf-16-be"))  # the service lists folders before files
        for entry in filter(None, map(_entry, page)):
            for passing in sorter.take(entry):
                if passing.path > after:
                    yield passing
    for entry in sorter.rest():
        if entry.path > after:
            yield entry


def _entry(blob: BlobProperties) -> Entry | None:
    """Return the entry of a blob or folder; `None` for a mark of a folder, and for a name that is not a path."""
    path: str = blob.name
    if not isinstance(blob, BlobProperties):
        return None if _NO_NAME.search(path[:-1]) else Entry(path)
    if _NO_NAME.search(path) or marks_folder(blob.size, blob.metadata):
        return None
    return entry_of(path, blob)
