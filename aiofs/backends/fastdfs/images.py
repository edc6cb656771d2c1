"""Before-images: a file that was replaced stays, and the index remembers it, until a transaction is over."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.index import check_match
from aiofs.errors import AlreadyExists, NotFound
from aiofs.shield import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs.driver import FastDFSDriver
    from aiofs.driver import Entry, Lease

FOLDER = ".aiofs-before/"
"""Where in the index before-images are remembered."""


class Images:
    """The files that stay although no name leads to them, each under a path and a tag."""

    def __init__(self, driver: FastDFSDriver) -> None:
        self._driver = driver
        self._kept: set[str] = set()

    def keeps(self, file: str) -> bool:
        """Whether the file is to stay, as far as is known here."""
        return file in self._kept

    async def learn(self) -> None:
        """Find out what others kept: whoever takes over from a process that died has to know."""
        self._kept.update([file async for _image, file in self.all()])

    async def all(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the name of each image in the index, and the file that it keeps."""
        index = self._driver.index
        async for entry in index.driver.list(FOLDER):
            with suppress(NotFound):
                yield entry.path, str((await index.find(entry.path)).file)

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file as it is now."""
        index, image = self._driver.index, _image(path, tag)
        record = await index.get(path)
        if record is None:
            return
        self._kept.add(str(record.file))
        lease = await index.driver.lock(image)
        try:
            with suppress(AlreadyExists):
                await index.put(image, str(record.file), record.metadata, lease, None)
        finally:
            await finish(lease.release())

    async def restore(self, path: str, tag: str, lease: Lease, match: str) -> Entry:
        """Put the file that was kept behind the path again, and remove the one that is there."""
        index, image = self._driver.index, _image(path, tag)
        try:
            kept = await index.find(image)
        except NotFound as error:
            raise NotFound.of(path, "what the file was before is not kept") from error
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
        kept, there = await index.get(image), await index.get(path)
        if kept is not None:
            self._kept.discard(str(kept.file))
            if there is None or there.file != kept.file:
                await self._driver.discard(str(kept.file))
            await index.driver.delete([image], missing_ok=True)  # last, so that whoever dies here is followed up


def _image(path: str, tag: str) -> str:
    return FOLDER + hashlib.blake2b(f"{tag}\0{path}".encode(), digest_size=16).hexdigest()
