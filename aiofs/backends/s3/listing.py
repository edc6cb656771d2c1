"""Listing: page after page, in the order of UTF-8 bytes, without lock objects and without keys that are no paths.

Entries that were yielded cannot be taken back. So the store gets `StartAfter` only if its order is known. Otherwise the
whole folder is listed and its order is checked. A store that lists in another order is remembered, and from then on its
listings are sorted here.
"""

from __future__ import annotations

import heapq
import pickle
import re
import tempfile
from operator import attrgetter
from typing import IO, TYPE_CHECKING, Any

from aiofs.backends.s3.store import LOCKS, keeps_folders
from aiofs.errors import Unavailable
from aiofs.lifetimes import finish
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

    from aiofs.backends.s3.facts import Page
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Entry

_AFTER_LOCKS = f"{LOCKS}~"
_NO_NAME = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")


async def entries(store: Store, prefix: str, after: str, delimiter: str | None) -> AsyncGenerator[Entry, None]:
    """Yield what `Driver.list` promises.

    Keys of other programs that are no paths (`a//b`, or `a/` for an empty folder) are left out.

    :raises Unavailable: if a name out of order comes after part of the listing was yielded. The next listing is right.
    """
    where: dict[str, Any] = {"Prefix": store.key(prefix), "MaxKeys": store.settings.page_size}
    if delimiter:
        where["Delimiter"] = delimiter
    ordered = await store.ordered()
    last = ""
    yielded = False
    start = {"StartAfter": store.key(after)} if after and ordered else {}
    while ordered is not False:
        page = await store.requests.page(cut=len(store.settings.prefix), **where, **start)
        if not _in_order(page, last):
            ordered = await store.mark_unordered()
            break
        for entry in page.entries:
            if entry.path > max(last, after) and _is_name(entry.path, delimiter):
                yielded = True
                yield entry
        if page.more is None:
            return
        last = page.entries[-1].path if page.entries else last
        # One request skips all lock objects, however many there are.
        skip = ordered and last.startswith(LOCKS)
        start = {"StartAfter": store.key(_AFTER_LOCKS)} if skip else {"ContinuationToken": page.more}
    if yielded:
        raise Unavailable.of(prefix, "the store lists its names out of order. This is known from now on: list again")
    sorter = ListingSorter()
    try:
        async for entry in _sorted_entries(store, sorter, where):
            if entry.path > after and _is_name(entry.path, delimiter):
                yield entry
    finally:
        await finish(sorter.aclose())


async def _sorted_entries(store: Store, sorter: ListingSorter, where: dict[str, Any]) -> AsyncIterator[Entry]:
    """Yield everything that the store lists, sorted here."""
    start: dict[str, str] = {}
    while True:
        page = await store.requests.page(cut=len(store.settings.prefix), **where, **start)
        await sorter.add(page.entries)
        if page.more is None:
            break
        start = {"ContinuationToken": page.more}
    async for entry in sorter.sorted():
        yield entry


def _in_order(page: Page, last: str) -> bool:
    """Return whether the names of a page are in order and follow `last`; false for servers known for another order."""
    if keeps_folders(page.server):
        return False
    return page.ordered and (not page.entries or page.entries[0].path >= last)


def _is_name(path: str, delimiter: str | None) -> bool:
    """Return whether a listed name is a path; that of a folder ends with a slash."""
    if path.startswith(LOCKS):
        return False
    return not _NO_NAME.search(path) or bool(delimiter and not _NO_NAME.search(path.removesuffix("/")))


IN_MEMORY = 50_000
"""How many entries are kept in memory at most. Merging takes a thousand more for each run in the file."""
PIECE = 1000
"""How many entries are read back from the file at a time."""
_by_path = attrgetter("path")


class ListingSorter:
    """Takes entries in any order and yields each once, in the order of characters, which is that of UTF-8 bytes.

    Entries that do not fit into memory go to a temporary file, in runs that are sorted and then merged.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._file: IO[bytes] | None = None
        self._runs: list[list[tuple[int, int]]] = []  # for each run, the places of its pieces in the file

    async def add(self, entries: Sequence[Entry]) -> None:
        """Add entries."""
        self._entries += entries
        if len(self._entries) >= IN_MEMORY:
            await hop(self._spill)

    async def sorted(self) -> AsyncIterator[Entry]:
        """Yield all entries."""
        self._entries.sort(key=_by_path)
        rows = heapq.merge(self._entries, *map(self._run, self._runs), key=_by_path)
        last = ""
        while piece := await hop(_some, rows) if self._runs else _some(rows):
            for entry in piece:
                if entry.path != last:
                    yield entry
                last = entry.path

    async def aclose(self) -> None:
        """Close the file, which removes it."""
        if self._file is not None:
            await hop(self._file.close)

    def _spill(self) -> None:
        """Write the entries in memory to the file, as one more run."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="aiofs-listing-")  # noqa: SIM115 -- aclose closes it
        self._entries.sort(key=_by_path)
        run = []
        for start in range(0, len(self._entries), PIECE):
            data = pickle.dumps(self._entries[start : start + PIECE])
            run.append((self._file.seek(0, 2), len(data)))
            self._file.write(data)
        self._runs.append(run)
        self._entries = []

    def _run(self, pieces: list[tuple[int, int]]) -> Iterator[Entry]:
        assert self._file is not None  # noqa: S101 -- runs are in it
        for start, size in pieces:
            self._file.seek(start)
            yield from pickle.loads(self._file.read(size))  # noqa: S301 -- the file has no name, so nobody else writes to it


def _some(rows: Iterator[Entry]) -> list[Entry]:
    return [entry for _, entry in zip(range(PIECE), rows, strict=False)]
