"""Putting a listing in order by ourselves, in bounded memory: what is too much goes to a file in sorted runs."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from operator import attrgetter
from typing import IO, TYPE_CHECKING

from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from aiofs.driver import Entry

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
