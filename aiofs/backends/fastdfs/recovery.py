"""What crashes leave behind, and an index made anew: both from the storages' logs of names and the labels on files."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.ids import FileId
from aiofs.backends.fastdfs.labels import read_label
from aiofs.driver import Leftover, Sweeps
from aiofs.errors import Locked, NotFound
from aiofs.shield import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.fastdfs.driver import FastDFSDriver
    from aiofs.backends.fastdfs.labels import Label

_UPLOAD = "upload without a name"
_IMAGE = "before-image"
_METADATA = "-m"


class Recovery:
    """Walks all files of a cluster, which takes as long as it sounds."""

    def __init__(self, driver: FastDFSDriver) -> None:
        self._driver = driver

    async def leftovers(self, prefix: str) -> AsyncIterator[Leftover]:
        """Yield the files whose name does not lead to them, then what the index's store has to say."""
        identity = await self._driver.index.known_identity()
        images = {file: image async for image, file in self._driver.images.all()}
        async for file, label in self._labelled():
            image = images.get(str(file))
            if not label.path.startswith(prefix):
                continue
            if label.index == identity and (image or not await self._is_named(label.path, file)):
                modified = datetime.fromtimestamp(file.created, UTC)
                live = await self._is_locked(label.path)
                yield Leftover(label.path, _IMAGE if image else _UPLOAD, modified, None, live, image or str(file))
        sweeps = self._driver.index.driver.offers(Sweeps)
        if sweeps is not None:
            async for leftover in sweeps.leftovers(prefix):
                yield leftover

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove a leftover unless it is live; return whether it is gone."""
        if leftover.kind not in {_IMAGE, _UPLOAD}:
            sweeps = self._driver.index.driver.offers(Sweeps)
            return sweeps is not None and await sweeps.sweep(leftover)
        if leftover.live:
            return False
        try:
            lease = await self._driver.lock(leftover.path)
        except Locked:
            return False
        try:
            return await self._remove(leftover)
        finally:
            await finish(lease.release())

    async def _remove(self, leftover: Leftover) -> bool:
        """Remove what nobody writes; return whether it is gone."""
        if leftover.kind == _IMAGE:
            await self._driver.images.forget(leftover.path, leftover.token)
            return True
        if await self._is_named(leftover.path, FileId.parse(leftover.token)):
            return False
        with suppress(NotFound):
            await self._driver.client.delete(leftover.token)
        return True

    async def rebuild(self, identity: str | None) -> int:
        """Give every file whose label bears a name that the index does not know back to it; return how many.

        :raises ValueError: if several indexes left files in the cluster, and it is not said whose are meant.
        """
        index = self._driver.index
        identity = identity or await index.known_identity()
        newest: dict[str, dict[str, tuple[FileId, Label]]] = {}
        async for file, label in self._labelled():
            if identity in {None, label.index}:
                known = newest.setdefault(label.index, {})
                if label.path not in known or known[label.path][1].written < label.written:
                    known[label.path] = file, label
        if len(newest) > 1:
            counts = ", ".join(f"{name} ({len(files)} files)" for name, files in sorted(newest.items()))
            raise ValueError(f"several indexes have files in this cluster; say which one is to be rebuilt: {counts}")
        for name, files in newest.items():
            await index.identify_as(name)
            return sum([await self._restore(path, *found) for path, found in files.items()])
        return 0

    async def _restore(self, path: str, file: FileId, label: Label) -> bool:
        lease = await self._driver.lock(path)
        try:
            if await self._driver.index.get(path) is not None:
                return False
            await self._driver.index.put(path, str(file), label.metadata, lease, None)
        finally:
            await finish(lease.release())
        return True

    async def _labelled(self) -> AsyncIterator[tuple[FileId, Label]]:
        client = self._driver.client
        for group in await client.groups():
            if self._driver.group not in {None, group.name} or not group.readable:
                continue
            for path_index in range(group.store_paths):
                async for logged in client.names(group.name, path_index):
                    if logged.name.endswith(_METADATA):
                        file = FileId.parse(f"{group.name}/{logged.name.removesuffix(_METADATA)}")
                        label = await self._label(file)
                        if label is not None:
                            yield file, label

    async def _label(self, file: FileId) -> Label | None:
        try:
            return read_label(await self._driver.client.metadata(str(file)))
        except NotFound:
            return None

    async def _is_named(self, path: str, file: FileId) -> bool:
        record = await self._driver.index.get(path)
        return record is not None and record.file == file

    async def _is_locked(self, path: str) -> bool:
        try:
            lease = await self._driver.lock(path)
        except Locked:
            return True
        await finish(lease.release())
        return False
