"""Stores and file systems whose copies, moves or folders have one fault each, as those of other libraries have it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiofs.driver import ANY
from aiofs.filesystem import FileSystem
from aiofs.kit import pour
from aiofs.layers.gzip import Gzip
from conformance.broken_paths import PathTwin
from conformance.broken_stores import Faulty

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from aiofs.driver import Driver, Entry, Lease


class ReturnsTheSource(PathTwin):
    async def _copy_from(self, other: Any, source: str, *rest: Any, **more: Any) -> Entry:
        entry: Entry = await other.stat(source)
        await super()._copy_from(other, source, *rest, **more)
        return entry


class CopiesBytesAlone(PathTwin):
    async def _copy_from(self, other: Any, source: str, target: str, *rest: Any, **more: Any) -> Entry:
        await super()._copy_from(other, source, target, *rest, **more)
        return await self.write_bytes(target, await self.read_bytes(target))


class TellsOfTheEndAlone(PathTwin):
    async def _copy_from(self, other: Any, source: str, target: str, terms: Any, **more: Any) -> Entry:
        entry = await super()._copy_from(other, source, target, replace(terms, on_progress=None), **more)
        await terms.report(entry.size, entry.size)
        return entry


class RemovesTheTargetFirst(PathTwin):
    async def _copy_from(self, other: Any, source: str, target: str, *rest: Any, **more: Any) -> Entry:
        await self.rm(target, missing_ok=True)
        return await super()._copy_from(other, source, target, *rest, **more)


class CopiesOverAnyVersion(PathTwin):
    async def _copy_from(self, other: Any, source: str, target: str, terms: Any, **more: Any) -> Entry:
        return await super()._copy_from(other, source, target, replace(terms, match=ANY), **more)


class HasNoTwoNamesOfAFile(Faulty):
    def identity(self, path: str) -> Hashable:
        return object()


class ForgetsToRemove(PathTwin):
    async def _copy_from(self, *given: Any, removes: bool = False, **more: Any) -> Entry:
        return await super()._copy_from(*given, removes=False, **more)


class RemovesAnyVersion(Faulty):
    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        await super().delete(paths, leases=leases, missing_ok=missing_ok)


class RemovesBeforeItCopied(PathTwin):
    async def _copy_from(self, other: Any, source: str, target: str, *rest: Any, **more: Any) -> Entry:
        data = await other.read_bytes(source)
        await other.rm(source)
        await asyncio.sleep(0)
        return await self.write_bytes(target, data)


class CopiesBelowTheLayers(PathTwin):
    async def _copy_from(self, other: Any, source: str, target: str, *rest: Any, **more: Any) -> Entry:
        below = FileSystem(other.driver.base) if isinstance(other.driver, Gzip) else other
        return await super()._copy_from(below, source, target, *rest, **more)


class CopiesThroughTheProcess(Faulty):
    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        stream = await origin.read(source.path)
        return await pour(stream, await self.begin(target, lease, match=match), self.part_size, lease)


class TakesBeginningsForFolders(PathTwin):
    async def is_folder(self, path: Any) -> bool:
        return bool(await self.ls(prefix=path))


class MakesMarkedFolders(PathTwin):
    async def mkdir(self, path: Any, **words: Any) -> None:
        await super().mkdir(path, **words)
        await self.write_bytes(f"{path}/.keep", b"")


class TouchesByWriting(PathTwin):
    async def touch(self, path: Any, *, exist_ok: bool = True) -> None:
        if not await self.exists(path):
            await self.write_bytes(path, b"")
        elif not exist_ok:
            raise FileExistsError


class RemovesFoldersToo(PathTwin):
    async def rm(self, *paths: Any, **words: Any) -> None:
        for path in paths:
            await super().rm(glob=f"{path}/**")
        if not any([await self.is_folder(path) for path in paths]):
            await super().rm(*paths, missing_ok=True)
