"""Listing: page after page, in the order of bytes whatever the store's is, without lock objects and odd keys.

What was yielded cannot be taken back. So a store is asked to go on behind a name only where its order is known; of
others everything is looked at from the beginning, and one that is found out of order is remembered: from then on its
listings are put in order here.
"""

from __future__ import annotations

import heapq
import pickle
import re
import tempfile
from operator import attrgetter
from typing import IO, TYPE_CHECKING, Any

from aiofs.backends.s3.names import is_by_folder
from aiofs.backends.s3.store import LOCKS
from aiofs.errors import Unavailable
from aiofs.lifetimes import finish
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

    from aiofs.backends.s3.facts import Page
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Entry

_BEHIND_LOCKS = f"{LOCKS}~"
_NO_NAME = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")


async def entries(store: Store, prefix: str, after: str, delimiter: str | None) -> AsyncGenerator[Entry, None]:
    """Yield what `Driver.list` promises.

    Foreign keys that no path can name (`a//b`, or the `a/` that some programs write for an empty folder) are left out.

    :raises Unavailable: if the store turns out to have another order when part of the listing was yielded. The next
        listing is in order.
    """
    where: dict[str, Any] = {"Prefix": store.key(prefix), "MaxKeys": store.settings.page_size}
    if delimiter:
        where["Delimiter"] = delimiter
    ordered = await store.ordered()
    last = ""
    yielded = False
    start = {"StartAfter": store.key(after)} if after and ordered else {}
    while ordered is not False:
        page = await store.calls.page(cut=len(store.settings.prefix), **where, **start)
        if not _in_order(page, last):
            ordered = await store.unordered()
            break
        for entry in page.entries:
            if entry.path > max(last, after) and _is_name(entry.path, delimiter):
                yielded = True
                yield entry
        if page.more is None:
            return
        last = page.entries[-1].path if page.entries else last
        start = _go_on(page.more, behind_locks=bool(ordered) and last.startswith(LOCKS), store=store)
    if yielded:
        raise Unavailable.of(prefix, "the store lists its names out of order, which is known from now on: list again")
    sorter = Sorter()
    try:
        async for entry in _in_bytes(store, sorter, where):
            if entry.path > after and _is_name(entry.path, delimiter):
                yield entry
    finally:
        await finish(sorter.aclose())


def _go_on(more: str, *, behind_locks: bool, store: Store) -> dict[str, str]:
    """Return how to ask for the next page; all locks are skipped by one request, however many there are."""
    return {"StartAfter": store.key(_BEHIND_LOCKS)} if behind_locks else {"ContinuationToken": more}


async def _in_bytes(store: Store, sorter: Sorter, where: dict[str, Any]) -> AsyncIterator[Entry]:
    """Yield all that a store lists in its own order, in the order of bytes."""
    start: dict[str, str] = {}
    while True:
        page = await store.calls.page(cut=len(store.settings.prefix), **where, **start)
        await sorter.add(page.entries)
        if page.more is None:
            break
        start = {"ContinuationToken": page.more}
    async for entry in sorter.sorted():
        yield entry


def _in_order(page: Page, last: str) -> bool:
    """Whether the names of a page are in order, come behind `last`, and are not from a server that is known."""
    if is_by_folder(page.server):
        return False
    return page.ordered and (not page.entries or page.entries[0].path >= last)


def _is_name(path: str, delimiter: str | None) -> bool:
    """Whether users have a name for what is listed; a folder ends with its slash."""
    if path.startswith(LOCKS):
        return False
    return not _NO_NAME.search(path) or bool(delimiter and not _NO_NAME.search(path.removesuffix("/")))


IN_MEMORY = 50_000
"""How many entries are kept at most; with a thousand of each run while runs are put together."""
PIECE = 1000
"""How many entries are read back at a time."""
_by_path = attrgetter("path")


class Sorter:
    """Takes entries in any order and yields each once, in the order of characters, which is that of UTF-8's bytes."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._file: IO[bytes] | None = None
        self._runs: list[list[tuple[int, int]]] = []  # of each, where its pieces are in the file

    async def add(self, entries: Sequence[Entry]) -> None:
        """Take some more."""
        self._entries += entries
        if len(self._entries) >= IN_MEMORY:
            await hop(self._spill)

    async def sorted(self) -> AsyncIterator[Entry]:
        """Yield all of them."""
        self._entries.sort(key=_by_path)
        rows = heapq.merge(self._entries, *map(self._run, self._runs), key=_by_path)
        last = ""
        while piece := await hop(_some, rows) if self._runs else _some(rows):
            for entry in piece:
                if entry.path != last:
                    yield entry
                last = entry.path

    async def aclose(self) -> None:
        """Remove the file."""
        if self._file is not None:
            await hop(self._file.close)

    def _spill(self) -> None:
        """Write what there is to the file, as one more run."""
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
            yield from pickle.loads(self._file.read(size))  # noqa: S301 -- it has no name, so only we wrote to it


def _some(rows: Iterator[Entry]) -> list[Entry]:
    return [entry for _, entry in zip(range(PIECE), rows, strict=False)]
