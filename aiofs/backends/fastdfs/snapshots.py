"""Snapshots for transactions: a file that was replaced stays in the storages until the transaction is over.

Two records in the index say so. One is found by path and tag. The other, the mark, is found by the id of the file and
names all its snapshots, so that nobody removes the file.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.client.ids import FileId, looks_like_id
from aiofs.backends.fastdfs.index import digest, mark_of
from aiofs.errors import NotFound, Unsupported
from aiofs.kit import check_match
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs.index import NamedFiles, Record
    from aiofs.driver import Entry, Lease

_SNAPSHOTS = ".aiofs-before/image-"


class FastDFSSnapshots:
    """The power `aiofs.powers.Snapshots`, for files with names."""

    def __init__(self, files: NamedFiles) -> None:
        self._files = files
        self._index = files.index

    async def all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the name of each snapshot in the index, and the id of the file that it keeps."""
        async for entry in self._index.driver.list(_SNAPSHOTS):
            with suppress(NotFound):
                yield entry.path, str((await self._index.find(entry.path)).file)

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file as it is now, unless there is a snapshot with this tag already.

        :raises Unsupported: for an appender, which stays the same file when it changes.
        """
        if looks_like_id(path) and FileId.parse(path).kind == "appender":
            raise Unsupported.of(path, "what an appender was cannot be kept: change it outside of the transaction")
        snapshot = _name(path, tag)
        record = await self._index.get(path)
        if record is None:
            return
        async with self._locked(snapshot) as (lease, kept):
            if kept is None:
                await self._index.put(snapshot, str(record.file), record.metadata, lease, None)
            # Under the lock of the snapshot: otherwise `drop` could come between and leave a mark for ever.
            await self._mark(str((kept or record).file), snapshot, path)

    async def find(self, path: str, tag: str) -> Record:
        """Return the record of the file that is kept.

        :raises NotFound: if nothing is kept.
        """
        try:
            return await self._index.find(_name(path, tag))
        except NotFound as error:
            raise NotFound.of(path, "what the file was before is not kept") from error

    async def restore(self, path: str, tag: str, lease: Lease, match: str) -> Entry:
        """Let the path lead to the file that was kept, and remove the file that is there."""
        kept = await self.find(path, tag)
        there = await self._index.get(path)
        check_match(path, match, None if there is None else str(there.file))
        if there is None or there.file != kept.file:
            await self._index.put(path, str(kept.file), kept.metadata, lease, there)
            if there is not None:
                await self._files.discard(str(there.file))
        return kept.entry(path)

    async def drop(self, path: str, tag: str) -> None:
        """Forget a snapshot, and remove its file unless the path leads to it."""
        await finish(self.forget(path, _name(path, tag)))

    async def forget(self, path: str, snapshot: str) -> None:
        """As `drop`, for a snapshot whose name in the index is known."""
        async with self._locked(snapshot) as (lease, kept):
            if kept is not None:
                await self._unmark(str(kept.file), snapshot)
                there = await self._index.get(path)
                if there is None or there.file != kept.file:
                    await self._files.discard(str(kept.file))
                # Last: as long as the snapshot is there, a sweep finds it and does the rest again.
                await self._index.driver.delete([snapshot], leases=[lease])

    async def _mark(self, file: str, snapshot: str, path: str) -> None:
        async with self._locked(mark_of(file)) as (lease, marked):
            snapshots = {} if marked is None else dict(marked.metadata)
            if snapshot not in snapshots:
                await self._index.put(mark_of(file), file, {**snapshots, snapshot: path}, lease, marked)

    async def _unmark(self, file: str, snapshot: str) -> None:
        mark = mark_of(file)
        async with self._locked(mark) as (lease, marked):
            if marked is None:
                return
            others = {name: path for name, path in marked.metadata.items() if name != snapshot}
            if others:
                await self._index.put(mark, file, others, lease, marked)
            else:
                await self._index.driver.delete([mark], leases=[lease])

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[tuple[Lease, Record | None]]:
        lease = await self._index.driver.lock(name)
        try:
            yield lease, await self._index.get(name)
        finally:
            await finish(lease.release())


def _name(path: str, tag: str) -> str:
    return _SNAPSHOTS + digest(f"{tag}\0{path}")
