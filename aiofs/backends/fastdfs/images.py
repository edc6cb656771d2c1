"""Before-images: a file that was replaced stays, and the index remembers it, until a transaction is over.

Two small files in the index say so: one is found by path and tag, the other by the id, for whoever is about to remove
a file that no name leads to any more.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.client.ids import FileId, looks_like_id
from aiofs.backends.fastdfs.index import check_match
from aiofs.errors import NotFound, Unsupported
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs.driver import FastDFSDriver
    from aiofs.backends.fastdfs.index import Record
    from aiofs.driver import Entry, Lease

_IMAGES = ".aiofs-before/image-"
_MARKS = ".aiofs-before/file-"


class Images:
    """The files that stay although no name leads to them."""

    def __init__(self, driver: FastDFSDriver) -> None:
        self._driver = driver

    async def keeps(self, file: str) -> bool:
        """Whether a file is to stay."""
        return await self._driver.index.get(_mark(file)) is not None

    async def all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the name of each image in the index, and the file that it keeps."""
        index = self._driver.index
        async for entry in index.driver.list(_IMAGES):
            with suppress(NotFound):
                yield entry.path, str((await index.find(entry.path)).file)

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file as it is now, unless something is kept under this tag already.

        :raises Unsupported: for an appender, which stays the same file when it changes.
        """
        if looks_like_id(path) and FileId.parse(path).kind == "appender":
            raise Unsupported.of(path, "what an appender was cannot be kept: change it outside of the transaction")
        index, image = self._driver.index, _image(path, tag)
        record = await index.get(path)
        if record is None:
            return
        async with self._locked(image) as (lease, kept):
            if kept is None:
                await index.put(image, str(record.file), record.metadata, lease, None)
            # Under the lock of the image: whoever drops it now would leave a mark that nobody removes.
            await self._mark(str((kept or record).file), image, path)

    async def find(self, path: str, tag: str) -> Record:
        """Return the record of the file that is kept.

        :raises NotFound: if nothing is kept.
        """
        try:
            return await self._driver.index.find(_image(path, tag))
        except NotFound as error:
            raise NotFound.of(path, "what the file was before is not kept") from error

    async def restore(self, path: str, tag: str, lease: Lease, match: str) -> Entry:
        """Put the file that was kept behind the path again, and remove the one that is there."""
        index, kept = self._driver.index, await self.find(path, tag)
        there = await index.get(path)
        check_match(path, there, match)
        if there is None or there.file != kept.file:
            await index.put(path, str(kept.file), kept.metadata, lease, there)
            if there is not None:
                await self._driver.discard(str(there.file))
        return kept.entry(path)

    async def drop(self, path: str, tag: str) -> None:
        """Forget an image, and remove its file unless the path leads to it."""
        await finish(self.forget(path, _image(path, tag)))

    async def forget(self, path: str, image: str) -> None:
        """As `drop`, for an image whose name in the index is known."""
        index = self._driver.index
        async with self._locked(image) as (lease, kept):
            if kept is not None:
                await self._unmark(str(kept.file), image)
                there = await index.get(path)
                if there is None or there.file != kept.file:
                    await self._driver.discard(str(kept.file))
                await index.driver.delete([image], leases=[lease])  # last, so that whoever dies here is followed up

    async def _mark(self, file: str, image: str, path: str) -> None:
        async with self._locked(_mark(file)) as (lease, marked):
            images = {} if marked is None else dict(marked.metadata)
            if image not in images:
                await self._driver.index.put(_mark(file), file, {**images, image: path}, lease, marked)

    async def _unmark(self, file: str, image: str) -> None:
        index, mark = self._driver.index, _mark(file)
        async with self._locked(mark) as (lease, marked):
            if marked is None:
                return
            others = {name: path for name, path in marked.metadata.items() if name != image}
            if others:
                await index.put(mark, file, others, lease, marked)
            else:
                await index.driver.delete([mark], leases=[lease])

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[tuple[Lease, Record | None]]:
        index = self._driver.index
        lease = await index.driver.lock(name)
        try:
            yield lease, await index.get(name)
        finally:
            await finish(lease.release())


def _image(path: str, tag: str) -> str:
    return _IMAGES + _digest(f"{tag}\0{path}")


def _mark(file: str) -> str:
    return _MARKS + _digest(file)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
