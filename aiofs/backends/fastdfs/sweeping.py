"""Sweeping: what crashes left is found and removed, and a lost index is made again.

Both read the logs in which the storages name their files, and the labels of the files.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from aiofs.backends.fastdfs.client.ids import FileId
from aiofs.backends.fastdfs.listing import Survey
from aiofs.backends.fastdfs.writing import FastDFSSnapshots
from aiofs.errors import Damaged, Locked, NotFound, Unavailable, Unsupported
from aiofs.kit import each, is_locked, results
from aiofs.lifetimes import finish
from aiofs.names import is_reserved
from aiofs.powers import Leftover, Sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from aiofs.backends.fastdfs.index import Label, NamedFiles

T = TypeVar("T")

_UPLOAD = "upload without a name"
_SNAPSHOT = "before-image"
_GONE = "name without a file"
_NOT_ASKED = "storage that could not be asked"
_UNREADABLE = "name that cannot be read"
_UNKNOWN = "file with an unknown label"


@dataclass(slots=True)
class _Names:
    """What the index has: the path by the file that it leads to, and why other paths cannot be read."""

    files: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


class FastDFSSweeper:
    """Finds and removes leftovers, and rebuilds the index. Both look at all files of a cluster."""

    def __init__(self, files: NamedFiles) -> None:
        self._client = files.client
        self._group = files.group
        self._index = files.index
        self._snapshots = FastDFSSnapshots(files)

    async def leftovers(self, prefix: str) -> AsyncIterator[Leftover]:
        """Yield the files that no name leads to, what could not be judged, and the leftovers of the index's store."""
        if not is_reserved(prefix):  # the package's own files are not in the cluster
            async for leftover in self._in_the_cluster(prefix):
                yield leftover
        sweeps = self._index.driver.offers(Sweeps)
        if sweeps is not None:
            async for leftover in sweeps.leftovers(prefix):
                yield leftover

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove a leftover unless it is live; return whether it is gone."""
        if leftover.stays:
            return False
        if leftover.kind not in {_SNAPSHOT, _UPLOAD}:
            sweeps = self._index.driver.offers(Sweeps)
            return sweeps is not None and await sweeps.sweep(leftover)
        if leftover.live:
            return False
        try:
            lease = await self._index.driver.lock(leftover.path)
        except Locked:
            return False
        try:
            return await self._remove(leftover)
        finally:
            await finish(lease.release())

    async def rebuild_index(self, identity: str | None) -> int:
        """Let the names in the labels of files lead to them again, unless they lead to a file; return how many.

        :raises Unavailable: if a storage could not be asked: it may have newer files of the same names. The index is
            not changed then.
        :raises Unsupported: if a newer version of aiofs wrote labels. The index is not changed then.
        :raises ValueError: if several indexes have files in the cluster, and there is no `identity`.
        """
        newest = await self._newest(identity or await self._index.known_identity())
        if len(newest) > 1:
            counts = ", ".join(f"{name} ({len(files)} files)" for name, files in sorted(newest.items()))
            raise ValueError(f"several indexes have files in this cluster; say which one is to be rebuilt: {counts}")
        restored: list[str] = []

        async def restore(path: str) -> None:
            if await self._restore(path, *files[path]):
                restored.append(path)

        for name, files in newest.items():
            await self._index.identify_as(name)
            await each(files, restore)
        return len(restored)

    async def _in_the_cluster(self, prefix: str) -> AsyncIterator[Leftover]:
        names = await self._read_index(prefix)
        unseen = dict(names.files)
        survey = Survey(self._client, self._group)
        snapshots = {file: snapshot async for snapshot, file in self._snapshots.all()}
        candidates = await survey.candidates(names.files, unseen, snapshots)
        for found in (
            self._without_names(survey, prefix, candidates, names, snapshots),
            self._without_files(survey, unseen),
        ):
            async for leftover in found:
                yield leftover
        for leftover in _not_judged(survey, names):
            yield leftover

    async def _read_index(self, prefix: str) -> _Names:
        names = _Names()

        async def look_up(path: str) -> None:
            try:
                record = await self._index.get(path)
            except (Damaged, Unsupported) as error:
                names.unreadable[path] = str(error.strerror)
            else:
                if record is not None:
                    names.files[str(record.file)] = path

        async for _ in results(self._names(prefix), look_up):
            pass
        return names

    async def _without_names(
        self, survey: Survey, prefix: str, candidates: list[str], names: _Names, snapshots: Mapping[str, str]
    ) -> AsyncIterator[Leftover]:
        identity = await self._index.known_identity()

        async def judge(file: str) -> Leftover | None:
            found = await survey.label(file)
            if found is None or found[1].index != identity or not found[1].path.startswith(prefix):
                return None
            if found[1].path in names.unreadable:
                return None
            return await self._judge(file, found[1].path, snapshots.get(file))

        async for leftover in results(candidates, judge):
            if leftover is not None:
                yield leftover

    async def _without_files(self, survey: Survey, unseen: Mapping[str, str]) -> AsyncIterator[Leftover]:
        async def look_for(found: tuple[str, str]) -> Leftover | None:
            file, path = found
            if not await survey.is_gone(file) or not await self._is_named(path, FileId.parse(file)):
                return None
            why = f"the index leads to {file}, which is gone: restore it from a backup, or remove the name"
            return Leftover(path, _GONE, None, None, live=False, token=file, stays=why)

        async for leftover in results(unseen.items(), look_for):
            if leftover is not None:
                yield leftover

    async def _judge(self, file: str, path: str, snapshot: str | None) -> Leftover | None:
        """Return the leftover that a file with a label of this index is, `None` if its name leads to it."""
        parsed = FileId.parse(file)
        if snapshot is None and await self._is_named(path, parsed):
            return None
        modified = datetime.fromtimestamp(parsed.created, UTC)
        live = await is_locked(self._index.driver.lock(path))
        return Leftover(path, _SNAPSHOT if snapshot else _UPLOAD, modified, None, live, snapshot or file)

    async def _remove(self, leftover: Leftover) -> bool:
        if leftover.kind == _SNAPSHOT:
            await self._snapshots.forget(leftover.path, leftover.token)
            return True
        if await self._is_named(leftover.path, FileId.parse(leftover.token)):
            return False
        with suppress(NotFound):
            await self._client.delete(leftover.token)
        return True

    async def _newest(self, identity: str | None) -> dict[str, dict[str, tuple[str, Label]]]:
        """Return the newest file with each path and its label, by index; of one index only with `identity`."""
        newest: dict[str, dict[str, tuple[str, Label]]] = {}
        survey = Survey(self._client, self._group)
        async for found in results(await survey.candidates({}, {}, {}), survey.label):
            if found is not None and identity in {None, found[1].index}:
                known = newest.setdefault(found[1].index, {})
                path = found[1].path
                if path not in known or known[path][1].written < found[1].written:
                    known[path] = found
        if survey.not_asked:
            silent = "; ".join(f"{storage}: {reason}" for storage, reason in sorted(survey.not_asked.items()))
            raise Unavailable.of(
                None,
                "storages that may have newer files could not be asked, so no name was given back. Start them, or name"
                f" them in retired= if they are gone for good: {silent}",
            )
        for file, reason in survey.unreadable.items():
            raise Unsupported.of(file, reason)
        return newest

    async def _restore(self, path: str, file: str, label: Label) -> bool:
        lease = await self._index.driver.lock(path)
        try:
            if await self._index.get(path) is not None:
                return False
            await self._index.put(path, file, label.metadata, lease, None)
        finally:
            await finish(lease.release())
        return True

    async def _names(self, prefix: str) -> AsyncGenerator[str]:
        async for entry in self._index.driver.list(prefix):
            if not is_reserved(entry.path):
                yield entry.path

    async def _is_named(self, path: str, file: FileId) -> bool:
        record = await self._index.get(path)
        return record is not None and record.file == file


def _not_judged(survey: Survey, names: _Names) -> Iterator[Leftover]:
    """Yield what is only reported, and never removed."""
    advice = "start it and look again, or name it in retired= if it is gone for good"
    silent = {storage: f"{reason}; {advice}" for storage, reason in survey.not_asked.items()}
    for kind, found in ((_UNREADABLE, names.unreadable), (_UNKNOWN, survey.unreadable), (_NOT_ASKED, silent)):
        for what, reason in sorted(found.items()):
            yield Leftover(what, kind, None, None, live=False, token=what, stays=reason)
