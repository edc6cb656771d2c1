"""Mapped: the superclass of layers that give the same files other names, or describe them by other entries."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aiofs.driver import Layer
from aiofs.errors import AccessDenied
from aiofs.layers.forward import ForwardedPartial, ForwardedSession, ForwardedStream, power_of, with_powers_of
from aiofs.names import begins_a_name, check_inside, lock_of_path, path_of_lock
from aiofs.powers import (
    Appends,
    ChecksRemoval,
    ChecksUrls,
    Copies,
    CopiesFrom,
    CopiesPermissions,
    HasOrigin,
    HasOwners,
    Joins,
    KeepsHistory,
    KeepsPartial,
    Moves,
    Notes,
    Parks,
    Presigns,
    ReadsReplicas,
    Removes,
    Snapshots,
    Sweeps,
)
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from aiofs.driver import Driver, Entry, Lease, PartialSession, Power, ReadStream, WriteSession
    from aiofs.powers import Leftover


class Mapped(Layer):
    """Translates names: `inward` on the way to the base, `outward` on the way back, also in errors and powers.

    A subclass overrides these two. If its names have another order than those of the base, it overrides `list` too.
    """

    powers: ClassVar[tuple[type, ...]] = (
        *(ChecksRemoval, Copies, CopiesFrom, HasOrigin, Moves, Presigns, KeepsHistory, KeepsPartial, ReadsReplicas),
        *(ChecksUrls, Sweeps, Joins),
        *(Removes, Snapshots, Appends, Parks, Notes, CopiesPermissions, HasOwners),
    )
    """The powers of the base that this layer passes on, with names translated."""

    def inward(self, path: str) -> str:
        """Return the name of the file in the base."""
        return path

    def outward(self, path: str) -> str | None:
        """Return the name here of a file of the base, or `None` if this layer does not show that file."""
        return path

    def entry(self, entry: Entry) -> Entry | None:
        """Return the entry here of a file of the base, or `None` if this layer does not show that file."""
        path = self.outward(entry.path)
        return None if path is None else replace(entry, path=path)

    def check_name(self, path: str) -> None:
        self.base.check_name(self.within(path))

    async def stat(self, path: str) -> Entry:
        with self.named():
            return self.own(await self.base.stat(self.within(path)))

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        with self.named():
            return MappedStream(self, await self.base.read(self.within(path), start, stop, match=match))

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        with self.named():
            session = await self.base.begin(self.within(path), lease, match=match, metadata=metadata)
            return self._session(session, path)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        with self.named():
            path = Token(token).path
            session = await self.base.resume({**token, "path": self.within(path)})
            return self._session(session, path)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        with self.named():
            names = [self.within(path) for path in paths]
            await self.base.delete(names, leases=leases, match=match, missing_ok=missing_ok)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """List. This is right only if names here have the same order, and the same beginnings, as those of the base."""
        if not begins_a_name(prefix):
            return
        begin, behind = self.beginning(prefix), self.beginning(after) if after else ""
        with self.named():
            async with aclosing(self.base.list(begin, after=behind, delimiter=delimiter)) as entries:
                async for theirs in entries:
                    ours = self.entry(theirs)
                    if ours is not None:
                        yield ours

    async def lock(self, path: str) -> Lease:
        with self.named():
            return await self.base.lock(self._locked_path(path))

    def keeper_of(self, path: str) -> tuple[object, str]:
        return self.base.keeper_of(self._locked_path(path))

    def identity(self, path: str) -> Hashable:
        return self.base.identity(self.within(path))

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        with self.named():
            copies = power_of(self.base, Copies)
            return self.own(await copies.copy(self.within(source), self.within(target), lease, match=match))

    def origin(self, path: str) -> tuple[Driver, str]:
        return power_of(self.base, HasOrigin).origin(self.within(path))

    def can_copy_from(self, origin: Driver) -> bool:
        return power_of(self.base, CopiesFrom).can_copy_from(origin)

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        with self.named():
            copies = power_of(self.base, CopiesFrom)
            return self.own(await copies.copy_from(origin, source, self.within(target), lease, match=match))

    @property
    def unit(self) -> object:
        return power_of(self.base, Joins).unit

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        with self.named():
            return self.own(await power_of(self.base, Moves).move(self.within(source), self.within(target), leases))

    async def check_may_remove(self, path: str) -> None:
        with self.named():
            await power_of(self.base, ChecksRemoval).check_may_remove(self.within(path))

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        with self.named():
            return await power_of(self.base, Presigns).url(self.within(path), method, expires)

    def check_url(self, url: str, method: str) -> str:
        name = self.outward(power_of(self.base, ChecksUrls).check_url(url, method))
        if name is None:
            raise AccessDenied.of(None, "this URL is refused: it is for a file that is not in this file system")
        return name

    async def begin_removal(self, path: str, lease: Lease, *, match: str) -> WriteSession:
        with self.named():
            session = await power_of(self.base, Removes).begin_removal(self.within(path), lease, match=match)
            return self._session(session, path)

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        with self.named():
            keeps = power_of(self.base, KeepsPartial)
            session = await keeps.begin_partial(self.within(path), lease, match=match, metadata=metadata)
            return MappedPartial(self, session, path)

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        with self.named():
            keeps = power_of(self.base, KeepsPartial)
            return MappedPartial(self, await keeps.continue_partial(self.within(path), lease, token, match=match), path)

    async def keep(self, path: str, tag: str) -> None:
        with self.named():
            await power_of(self.base, Snapshots).keep(self.within(path), tag)

    async def read_image(self, path: str, tag: str) -> ReadStream:
        with self.named():
            return MappedStream(self, await power_of(self.base, Snapshots).read_image(self.within(path), tag))

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        with self.named():
            return self.own(await power_of(self.base, Snapshots).restore(self.within(path), tag, lease, match=match))

    async def drop(self, path: str, tag: str) -> None:
        with self.named():
            await power_of(self.base, Snapshots).drop(self.within(path), tag)

    async def append(self, path: str, data: bytes, *, durable: bool) -> None:
        with self.named():
            await power_of(self.base, Appends).append(self.within(path), data, durable=durable)

    async def copy_permissions(self, path: str, lease: Lease, source: str) -> None:
        with self.named():
            await power_of(self.base, CopiesPermissions).copy_permissions(self.within(path), lease, self.within(source))

    async def ownership(self, path: str, like: str | None = None) -> str | None:
        with self.named():
            source = None if like is None else self.within(like)
            return await power_of(self.base, HasOwners).ownership(self.within(path), source)

    async def note(self, path: str, data: bytes) -> None:
        with self.named():
            await power_of(self.base, Notes).note(self.within(path), data)

    async def erase(self, paths: Sequence[str]) -> None:
        with self.named():
            await power_of(self.base, Notes).erase([self.within(path) for path in paths])

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        with self.named():
            async with aclosing(power_of(self.base, KeepsHistory).history(self.within(path))) as entries:
                async for entry in entries:
                    yield self.own(entry)

    async def read_replica(self, path: str, start: int = 0, stop: int | None = None) -> ReadStream:
        with self.named():
            replicas = power_of(self.base, ReadsReplicas)
            return MappedStream(self, await replicas.read_replica(self.within(path), start, stop))

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        with self.named():
            keeps = power_of(self.base, KeepsHistory)
            return MappedStream(self, await keeps.read_version(self.within(path), version_id, start, stop))

    async def restore_version(self, path: str, version_id: str, lease: Lease) -> Entry:
        with self.named():
            return self.own(
                await power_of(self.base, KeepsHistory).restore_version(self.within(path), version_id, lease)
            )

    @property
    def most_locks(self) -> int:
        return power_of(self.base, Parks).most_locks

    async def park(self, path: str, lease: Lease) -> None:
        with self.named():
            await power_of(self.base, Parks).park(self.within(path), lease)

    async def unpark(self, path: str, fence: str) -> Lease | None:
        with self.named():
            return await power_of(self.base, Parks).unpark(self.within(path), fence)

    async def leftovers(self, prefix: str = "") -> AsyncIterator[Leftover]:
        if not begins_a_name(prefix):
            return
        async for leftover in power_of(self.base, Sweeps).leftovers(self.beginning(prefix)):
            path = self.outward(leftover.path)
            if path is not None and path.startswith(prefix):
                yield replace(leftover, path=path)

    async def sweep(self, leftover: Leftover) -> bool:
        with self.named():
            return await power_of(self.base, Sweeps).sweep(replace(leftover, path=self.within(leftover.path)))

    def offers(self, power: type[Power]) -> Power | None:
        if power not in self.powers or self.base.offers(power) is None:
            return None
        return super().offers(power)

    def narrowed(self, depth: int) -> Driver:
        return super().narrowed(self.inward("x/" * depth + "x").count("/"))

    def _locked_path(self, path: str) -> str:
        """Return the path that is locked in the base: of a lock with a name, that name is translated."""
        name = lock_of_path(path)
        return self.within(path) if name is None else path_of_lock(self.within(name))

    def _session(self, base: WriteSession, path: str) -> WriteSession:
        return with_powers_of(base, MappedSession)(self, base, path)

    def within(self, path: str) -> str:
        """Check that `path` names a file and does not lead out of this layer; return the name of the file in the base.

        :raises ValueError: if `path` names no file, or could lead out.
        """
        return self.inward(check_inside(path))

    def beginning(self, prefix: str) -> str:
        """Return how the names in the base begin, of files whose names here begin with `prefix`."""
        return self.inward(prefix)

    def own(self, entry: Entry) -> Entry:
        """Return the entry here of a file that the caller named."""
        ours = self.entry(entry)
        return entry if ours is None else ours

    def rename(self, error: OSError) -> None:
        """Put the name that the file has here into an error of the base."""
        if isinstance(error.filename, str):
            error.filename = self.outward(error.filename) or error.filename

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the names that files have here into an error that the block raises."""
        try:
            yield
        except OSError as error:
            self.rename(error)
            raise


class MappedStream(ForwardedStream):
    """A stream whose entry and errors have the names of the layer."""

    def __init__(self, layer: Mapped, base: ReadStream) -> None:
        super().__init__(base, layer.own(base.entry))
        self._layer = layer

    async def chunk(self, want: int) -> bytes:
        try:
            return await self.base.chunk(want)
        except OSError as error:
            self._layer.rename(error)
            raise

    async def seek(self, start: int, stop: int | None = None) -> None:
        with self._layer.named():
            await self.base.seek(start, stop)

    def check_replaceable(self) -> None:
        with self._layer.named():
            self.base.check_replaceable()


class MappedSession(ForwardedSession):
    """A session whose entry and errors have the names of the layer."""

    def __init__(self, layer: Mapped, base: WriteSession, path: str) -> None:
        super().__init__(base)
        self._layer = layer
        self._path = path

    def around(self) -> AbstractContextManager[None]:
        return self._layer.named()

    async def prepare(self) -> dict[str, Any]:
        """Return the token of the base with the name of the file here, which `Mapped.resume` needs."""
        return {**await super().prepare(), "path": self._path}

    async def commit(self) -> Entry:
        return self._layer.own(await super().commit())


class MappedPartial(MappedSession, ForwardedPartial):
    """A partial write whose entry and errors have the names of the layer. Its token has those of the base."""

    def __init__(self, layer: Mapped, base: PartialSession, path: str) -> None:
        super().__init__(layer, base, path)
        self.follow(base)
