"""Stores and file systems with one fault each in their partial writes. The suite must reject every one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.memory import KeptWrite, MemoryPartial
from aiofs.errors import AlreadyExists, Conflict
from aiofs.filesystem import FileSystem
from aiofs.locks import locked
from conformance.broken_handles import Twin as TwinOfFiles
from conformance.broken_stores import Faulty

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from aiofs.driver import Entry, Lease, Part, PartialSession
    from aiofs.powers import Leftover


class Twin(Faulty):
    """Files in memory whose partial writes a twin may replace by its own."""

    partial: type[MemoryPartial] = MemoryPartial

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        return self.partial(self, path, lease, match, metadata, clock.token())

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        found = await super().continue_partial(path, lease, token, match=match)
        assert isinstance(found, MemoryPartial)
        kept = self.files.partial[token["id"]]
        session = self.partial(self, path, lease, match, kept.metadata, token["id"])
        session.continue_from(kept)
        return session


class GoesOnAtTheStart(Twin):
    class partial(MemoryPartial):  # noqa: N801
        def continue_from(self, kept: KeptWrite) -> None:
            super().continue_from(replace(kept, size=0))


class KeepsWholePartsOnly(Twin):
    class partial(MemoryPartial):  # noqa: N801
        async def keep(self, rest: Part) -> bool:
            await super().keep(b"")
            return bool(rest)


class CutsNothing(Faulty):
    """What was written behind the checkpoint is still there when the write goes on."""

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        whole = self.files.partial[token["id"]].data
        session = await super().continue_partial(path, lease, token, match=match)
        assert isinstance(session, MemoryPartial)
        session._data = whole
        return session


class RemovesWhatIsLeft(Twin):
    class partial(MemoryPartial):  # noqa: N801
        async def leave(self) -> None:
            self._driver.files.partial.pop(self._id, None)
            await super().leave()


class PublishesOverChanges(Twin):
    class partial(MemoryPartial):  # noqa: N801
        async def commit(self) -> Entry:
            self._match: Any = None
            return await super().commit()


class SaysConflictForAbsent(Twin):
    class partial(MemoryPartial):  # noqa: N801
        async def commit(self) -> Entry:
            try:
                return await super().commit()
            except AlreadyExists as error:
                raise Conflict.of(self._path) from error


class LocksWhatIsUnfinished(Faulty):
    async def lock(self, path: str) -> Lease:
        if any(kept.path == path for kept in self.files.partial.values()):
            raise locked(path, "a partial write")
        return await super().lock(path)


class LeavesWhatWasPublished(Twin):
    class partial(MemoryPartial):  # noqa: N801
        async def commit(self) -> Entry:
            entry = self._driver.publish(self._path, bytes(self._data), self._lease, None, self._metadata)
            await self.leave()
            return entry


class TakesTokensOfOtherFiles(Faulty):
    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        kept = self.files.partial.get(token["id"])
        if kept is not None:
            self.files.partial[token["id"]] = replace(kept, path=path)
        return await super().continue_partial(path, lease, {**token, "path": path}, match=match)


class SweepsWhatIsYoung(Faulty):
    async def sweep(self, leftover: Leftover) -> bool:
        self.files.partial.pop(leftover.token, None)
        return await super().sweep(leftover)


class KeepsForEver(Faulty):
    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        async for leftover in super().leftovers(prefix):
            yield replace(leftover, stays="resumable: go on")


class ForgetsMetadataOnTheWay(Faulty):
    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        session: Any = await super().continue_partial(path, lease, token, match=match)
        session._metadata = None
        return session  # type: ignore[no-any-return]


class IgnoresPartialWhereItDoesNotGo(TwinOfFiles):
    def open(self, path: Any, mode: Any = "r", *, partial: str | None = None, **options: Any) -> Any:
        return FileSystem.open(self, path, mode, partial=partial if mode == "w" else None, **options)
