"""Writing: new bytes for a name, which become a new file of the storages; and changes to an appender in place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiofs.backends.fastdfs.client.ids import EXTENSION
from aiofs.backends.fastdfs.index import FORMAT, check_match, label
from aiofs.backends.fastdfs.reading import about
from aiofs.driver import MIB, Entry, WriteSession
from aiofs.errors import Conflict, Unsupported
from aiofs.kit import Spool
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiofs.backends.fastdfs.driver import FastDFSDriver
    from aiofs.driver import Lease, Part

_STEP = MIB // 4


class NamedSession(WriteSession):
    """A new file for a name. It is uploaded when all of it is there, and published by putting it into the index."""

    def __init__(
        self, driver: FastDFSDriver, path: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
    ) -> None:
        self._driver = driver
        self._path = path
        self._lease = lease
        self._match = match
        self._metadata = dict(metadata or {})
        self._adopted = False
        self._spool = Spool()
        self._all_sent = False
        self._file: str | None = None
        self._replaced: str | None = None
        self._settled = False

    @classmethod
    def resumed(cls, driver: FastDFSDriver, token: Mapping[str, Any], lease: Lease) -> NamedSession:
        """Go on behind `prepare`, under a lease that goes with the session."""
        session = cls(driver, token["path"], lease, token["match"], token["metadata"])
        session._file = token["version"]
        session._adopted = True
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
        """Put the file into the index, then remove the one that was there before."""
        with about(self._path):
            file = await self._upload()
            old = await self._driver.index.get(self._path)
            if old is None or str(old.file) != file:
                check_match(self._path, old, self._match)
                if self._adopted and not await self._driver.client.exists(file):
                    raise Conflict.of(None, "what was prepared for this file is not there any more")
                self._replaced = None if old is None else str(old.file)
                await self._driver.index.put(self._path, file, self._metadata, self._lease, old)
            self._settled = True
        await finish(self._clean_up(self._replaced))
        return self._driver.entry(self._path, file, self._metadata)

    async def abort(self) -> None:
        """Remove what was uploaded."""
        if not self._settled and self._file is not None:
            self._settled = True
            await finish(self._driver.settle(self._path, self._file, self._replaced))
        await finish(self._clean_up(None))

    async def leave(self) -> None:
        """Let go of all that whoever resumes does not need."""
        self._settled = True
        await finish(self._clean_up(None))

    def abandon(self) -> None:
        """Let go of the bytes; what was uploaded stays until it is swept."""
        self._spool.close()
        if self._adopted:
            self._lease.abandon()

    async def _upload(self) -> str:
        if self._file is None:
            identity = await self._driver.index.identity()
            self._file = await self._send(label(identity, self._path, self._metadata))
        return self._file

    async def _send(self, metadata: Mapping[str, str]) -> str:
        upload = asyncio.ensure_future(
            self._driver.client.upload(
                self._pieces,
                self._spool.size,
                extension=_extension(self._path),
                group=self._driver.group,
                metadata=metadata,
            )
        )
        try:
            return await asyncio.shield(upload)
        except asyncio.CancelledError:
            await finish(self._break_off(upload))
            raise

    async def _break_off(self, upload: asyncio.Future[str]) -> None:
        """End an upload: one whose bytes are all sent is waited for, as only its answer tells what to remove."""
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

    async def _clean_up(self, replaced: str | None) -> None:
        self._spool.close()
        try:
            if replaced is not None:
                await self._driver.discard(replaced)
        finally:
            if self._adopted:
                await self._lease.release()


class AppenderSession(WriteSession):
    """Changes to an appender, made in place when they are published: not in one step, as no store of files can."""

    def __init__(self, driver: FastDFSDriver, file: str, match: str) -> None:
        self._driver = driver
        self._file = file
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
        """Refuse: until they are published, the changes are here alone."""
        raise Unsupported.of(self._file, "a large appender cannot be written in a transaction: change it outside of it")

    async def commit(self) -> Entry:
        """Change the file."""
        client = self._driver.client
        entry = await self._driver.stat(self._file)
        if entry.version != self._match:
            raise Conflict.of(self._file, "the appender was changed meanwhile")
        size = entry.size or 0
        for offset, kept, length in self._merged():
            data = pieces(self._spool, kept, length)
            if offset == size:
                await client.append(self._file, data, length)
            else:
                await client.modify(self._file, offset, data, length)
            size = max(size, offset + length)
        if size > self._size:
            await client.truncate(self._file, self._size)
        return await self._driver.stat(self._file)

    async def abort(self) -> None:
        """Forget the changes."""
        self._spool.close()

    def abandon(self) -> None:
        """Forget the changes."""
        self._spool.close()

    def _merged(self) -> list[tuple[int, int, int]]:
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
    """Return what of a name's end the storages can keep in theirs."""
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    return extension if dot and EXTENSION.fullmatch(extension) else ""
