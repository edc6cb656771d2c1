"""Writing: new bytes for a name, changes to an appender in place, and the snapshots that transactions keep.

New bytes for a name become a new file of the storages. A file that was replaced stays there as long as a snapshot keeps
it. Two records in the index say so. One is found by path and tag. The other, the mark, is found by the id of the file
and names all its snapshots, so that nobody removes the file.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiofs.backends.fastdfs.client.ids import EXTENSION, FileId, looks_like_id
from aiofs.backends.fastdfs.index import FORMAT, digest, entry_of, label, mark_of, read_label
from aiofs.backends.fastdfs.reading import about, describe
from aiofs.driver import MIB, Entry, WriteSession
from aiofs.errors import Conflict, NotFound, Unavailable, Unsupported
from aiofs.kit import Spool, check_match
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiofs.backends.fastdfs.client.client import FastDFSClient
    from aiofs.backends.fastdfs.index import NamedFiles, Record
    from aiofs.driver import Lease, Part
    from aiofs.tokens import Token

_STEP = MIB // 4
_SNAPSHOTS = ".aiofs-before/image-"


class NamedSession(WriteSession):
    """A new file for a name. It is uploaded when all bytes are known, and published by a record in the index."""

    def __init__(
        self, files: NamedFiles, path: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
    ) -> None:
        self._files = files
        self._path = path
        self._lease = lease
        self._match = match
        self._metadata = dict(metadata or {})
        self._resumed = False
        self._spool = Spool()
        self._all_sent = False
        self._file: str | None = None
        self._replaced: str | None = None
        self._settled = False

    @classmethod
    def resumed(cls, files: NamedFiles, token: Mapping[str, Any], lease: Lease) -> NamedSession:
        """Continue what `prepare` left. The session releases the lease when it ends."""
        session = cls(files, token["path"], lease, token["match"], token["metadata"])
        session._file = token["version"]
        session._resumed = True
        return session

    async def write(self, part: Part) -> None:
        """Take the next part."""
        await self._spool.append(part)

    async def prepare(self) -> dict[str, Any]:
        """Upload the file. Its id is its version."""
        with about(self._path):
            file = await self._upload()
        token = {"path": self._path, "version": file, "match": self._match, "metadata": self._metadata}
        return {"format": FORMAT, **token}

    async def commit(self) -> Entry:
        """Let the name lead to the file, then remove the file that was there before."""
        with about(self._path):
            file = await self._upload()
            old = await self._files.index.get(self._path)
            if old is None or str(old.file) != file:
                check_match(self._path, self._match, None if old is None else str(old.file))
                if self._resumed and not await self._files.client.exists(file):
                    raise Conflict.of(None, "what was prepared for this file is not there any more")
                self._replaced = None if old is None else str(old.file)
                await self._files.index.put(self._path, file, self._metadata, self._lease, old)
            self._settled = True
        await finish(self._end(self._replaced))
        return entry_of(self._path, FileId.parse(file), self._metadata)

    async def abort(self) -> None:
        """Remove what was uploaded."""
        if not self._settled and self._file is not None:
            self._settled = True
            await finish(self._settle(self._file))
        await finish(self._end(None))

    async def leave(self) -> None:
        """Release all that `resumed` does not need."""
        self._settled = True
        await finish(self._end(None))

    def abandon(self) -> None:
        """Release the bytes. An uploaded file stays until it is swept."""
        self._spool.close()
        if self._resumed:
            self._lease.abandon()

    async def _upload(self) -> str:
        if self._file is None:
            identity = await self._files.index.identity()
            self._file = await self._send(label(identity, self._path, self._metadata))
        return self._file

    async def _send(self, metadata: Mapping[str, str]) -> str:
        upload = asyncio.ensure_future(
            self._files.client.upload(
                self._pieces,
                self._spool.size,
                extension=_extension(self._path),
                group=self._files.group,
                metadata=metadata,
            )
        )
        try:
            return await asyncio.shield(upload)
        except asyncio.CancelledError:
            await finish(self._break_off(upload))
            raise

    async def _break_off(self, upload: asyncio.Future[str]) -> None:
        """Cancel an upload, but wait for one whose bytes are all sent: only its answer tells what to remove."""
        if not self._all_sent:
            upload.cancel()
        await asyncio.wait([upload])
        if not upload.cancelled() and upload.exception() is None:
            self._file = upload.result()

    async def _pieces(self) -> AsyncIterator[bytes]:
        self._all_sent = False
        async for piece in pieces(self._spool, 0, self._spool.size):
            yield piece
        self._all_sent = True

    async def _settle(self, file: str) -> None:
        """Remove the uploaded file, or the one it replaced if it was published although `commit` failed.

        If the index cannot be read both stay, and one of them is left over until it is swept.
        """
        with suppress(OSError):
            record = await self._files.index.get(self._path)
            unwanted = file if record is None or str(record.file) != file else self._replaced
            if unwanted is not None:
                await self._files.discard(unwanted)

    async def _end(self, replaced: str | None) -> None:
        self._spool.close()
        try:
            if replaced is not None:
                await self._files.discard(replaced)
        finally:
            if self._resumed:
                await self._lease.release()


async def check_prepared(files: NamedFiles, token: Token, path: str, file: str) -> None:
    """Raise unless a file was uploaded for this path, or is gone: a journal must not publish another one.

    :raises Damaged: if it was uploaded for another path.
    :raises Unavailable: if the storage that was asked does not know yet for which path it was uploaded.
    """
    try:
        found = read_label(await files.client.metadata(file))
    except NotFound:
        return
    if found is None:
        raise Unavailable.of(path, f"{file} was prepared for this path, but no storage says so yet")
    if (found.index, found.path) != (await files.index.known_identity(), path):
        raise token.wrong("version", f"{file} was uploaded for {found.path!r}")


class AppenderSession(WriteSession):
    """Changes to an appender. `commit` makes them in place, one after another: readers may see some of them."""

    def __init__(self, client: FastDFSClient, file: FileId, match: str) -> None:
        self._client = client
        self._file = file
        self._id = str(file)
        self._match = match
        self._spool = Spool()
        self._size = 0
        self._changes: list[tuple[int, int, int]] = []  # offset, where in the spool, how many bytes

    async def write(self, part: Part) -> None:
        """Take the next part."""
        kept = self._spool.size
        await self._spool.append(part)
        self._changes.append((self._size, kept, len(part)))
        self._size += len(part)

    async def copy_range(self, start: int, stop: int) -> None:
        """Leave bytes as they are."""
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Refuse: no other process could finish the changes, as only this one has them."""
        raise Unsupported.of(self._id, "a large appender cannot be written in a transaction: change it outside of it")

    async def commit(self) -> Entry:
        """Change the file."""
        entry = await describe(self._client, self._file)
        if entry.version != self._match:
            raise Conflict.of(self._id, "the appender was changed meanwhile")
        size = entry.size or 0
        for offset, kept, length in self._merged():
            data = pieces(self._spool, kept, length)
            if offset == size:
                await self._client.append(self._id, data, length)
            else:
                await self._client.modify(self._id, offset, data, length)
            size = max(size, offset + length)
        if size > self._size:
            await self._client.truncate(self._id, self._size)
        return await describe(self._client, self._file)

    async def abort(self) -> None:
        """Forget the changes."""
        self._spool.close()

    def abandon(self) -> None:
        """Forget the changes."""
        self._spool.close()

    def _merged(self) -> list[tuple[int, int, int]]:
        """Return the changes, with neighbours as one."""
        merged: list[tuple[int, int, int]] = []
        for offset, kept, length in self._changes:
            if merged and sum(merged[-1][::2]) == offset:
                first, begin, before = merged[-1]
                merged[-1] = (first, begin, before + length)
            else:
                merged.append((offset, kept, length))
        return merged


async def pieces(spool: Spool, start: int, size: int) -> AsyncIterator[bytes]:
    """Yield bytes of a spool."""
    for offset in range(start, start + size, _STEP):
        yield await spool.read(offset, min(_STEP, start + size - offset))


def _extension(path: str) -> str:
    """Return the extension of a name, if the storages can have it in an id."""
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    return extension if dot and EXTENSION.fullmatch(extension) else ""


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
        snapshot = _snapshot_name(path, tag)
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
            return await self._index.find(_snapshot_name(path, tag))
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
        await finish(self.forget(path, _snapshot_name(path, tag)))

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


def _snapshot_name(path: str, tag: str) -> str:
    return _SNAPSHOTS + digest(f"{tag}\0{path}")
