"""Mapped: the base of layers that only say things otherwise: other names, or other entries, for the same files."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aiofs.driver import ChecksRemoval, Copies, KeepsHistory, Layer, Moves, Presigns, ReadsReplicas, Sweeps
from aiofs.layers.forward import ForwardedSession, ForwardedStream, power_of, with_powers_of
from aiofs.names import begins_a_name, check_inside
from aiofs.powers import Appends, Likens, Notes, Parks, Permits, Removes, Snapshots
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from aiofs.driver import Driver, Entry, Lease, Leftover, Power, ReadStream, WriteSession


class Mapped(Layer):
    """Says names to the base by `inward`, and what comes from there by `outward`, errors and powers included.

    A subclass overrides these two, and `list` where its names sort otherwise than the base's.
    """

    powers: ClassVar[tuple[type, ...]] = (
        *(ChecksRemoval, Copies, Moves, Presigns, KeepsHistory, ReadsReplicas, Sweeps),
        *(Removes, Snapshots, Appends, Parks, Notes, Likens, Permits),
    )
    """Which powers of the base are offered."""

    def inward(self, path: str) -> str:
        """Return the name that the base has for `path`."""
        return path

    def outward(self, path: str) -> str | None:
        """Return what the base's `path` is called here; `None` if it is no file of this layer's."""
        return path

    def entry(self, entry: Entry) -> Entry | None:
        """Return what the base's `entry` is here; `None` if it is no file of this layer's."""
        path = self.outward(entry.path)
        return None if path is None else replace(entry, path=path)

    def check_name(self, path: str) -> None:
        """As the base, for the name that it has for it."""
        self.base.check_name(self.within(path))

    async def stat(self, path: str) -> Entry:
        """Describe the file."""
        with self.named():
            return self.own(await self.base.stat(self.within(path)))

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading."""
        with self.named():
            return MappedStream(self, await self.base.read(self.within(path), start, stop, match=match))

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        with self.named():
            session = await self.base.begin(self.within(path), lease, match=match, metadata=metadata)
            return self._session(session, path)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session."""
        with self.named():
            path = Token(token).path
            session = await self.base.resume({**token, "path": self.within(path)})
            return self._session(session, path)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files."""
        with self.named():
            names = [self.within(path) for path in paths]
            await self.base.delete(names, leases=leases, match=match, missing_ok=missing_ok)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """List, where names sort as the base's do and begin as they do."""
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
        """Get the right to write the path."""
        with self.named():
            return await self.base.lock(self.within(path))

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Have the store copy."""
        with self.named():
            copies = power_of(self.base, Copies)
            return self.own(await copies.copy(self.within(source), self.within(target), lease, match=match))

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Have the store rename."""
        with self.named():
            return self.own(await power_of(self.base, Moves).move(self.within(source), self.within(target), leases))

    async def check_may_remove(self, path: str) -> None:
        """Have the store say whether the file may be removed."""
        with self.named():
            await power_of(self.base, ChecksRemoval).check_may_remove(self.inward(path))

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        """Have the store give a URL."""
        with self.named():
            return await power_of(self.base, Presigns).url(self.within(path), method, expires)

    async def begin_removal(self, path: str, lease: Lease, *, match: str) -> WriteSession:
        """Begin to remove the file."""
        with self.named():
            session = await power_of(self.base, Removes).begin_removal(self.within(path), lease, match=match)
            return self._session(session, path)

    async def keep(self, path: str, tag: str) -> None:
        """Have the store keep the file as it is now."""
        with self.named():
            await power_of(self.base, Snapshots).keep(self.within(path), tag)

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Have the store put back what was kept."""
        with self.named():
            return self.own(await power_of(self.base, Snapshots).restore(self.within(path), tag, lease, match=match))

    async def drop(self, path: str, tag: str) -> None:
        """Have the store forget what was kept."""
        with self.named():
            await power_of(self.base, Snapshots).drop(self.within(path), tag)

    async def append(self, path: str, data: bytes, *, durable: bool) -> None:
        """Have the store add to the file in place."""
        with self.named():
            await power_of(self.base, Appends).append(self.within(path), data, durable=durable)

    async def liken(self, path: str, lease: Lease, source: str) -> None:
        """Have the store give the file the permissions of its source."""
        with self.named():
            await power_of(self.base, Likens).liken(self.within(path), lease, self.within(source))

    async def permissions(self, path: str, like: str | None = None) -> str | None:
        """Have the store say which owner and permissions the file would have."""
        with self.named():
            source = None if like is None else self.within(like)
            return await power_of(self.base, Permits).permissions(self.within(path), source)

    async def note(self, path: str, data: bytes) -> None:
        """Have the store create a small file."""
        with self.named():
            await power_of(self.base, Notes).note(self.within(path), data)

    async def erase(self, paths: Sequence[str]) -> None:
        """Have the store remove such files."""
        with self.named():
            await power_of(self.base, Notes).erase([self.within(path) for path in paths])

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        """Yield the versions of the file."""
        with self.named():
            async with aclosing(power_of(self.base, KeepsHistory).history(self.within(path))) as entries:
                async for entry in entries:
                    yield self.own(entry)

    async def read_replica(self, path: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open the file for reading, as a replica has it."""
        with self.named():
            replicas = power_of(self.base, ReadsReplicas)
            return MappedStream(self, await replicas.read_replica(self.inward(path), start, stop))

    async def read_kept(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open an old version for reading."""
        with self.named():
            keeps = power_of(self.base, KeepsHistory)
            return MappedStream(self, await keeps.read_kept(self.within(path), version_id, start, stop))

    async def restore_kept(self, path: str, version_id: str, lease: Lease) -> Entry:
        """Have the store put back an old version."""
        with self.named():
            return self.own(await power_of(self.base, KeepsHistory).restore_kept(self.within(path), version_id, lease))

    @property
    def most_locks(self) -> int:
        """As the base."""
        return power_of(self.base, Parks).most_locks

    async def park(self, path: str, lease: Lease) -> None:
        """Have the store keep a lock that is left."""
        with self.named():
            await power_of(self.base, Parks).park(self.within(path), lease)

    async def unpark(self, path: str, fence: str) -> Lease | None:
        """Have the store give it back."""
        with self.named():
            return await power_of(self.base, Parks).unpark(self.within(path), fence)

    async def leftovers(self, prefix: str = "") -> AsyncIterator[Leftover]:
        """Yield what is staged for files of this layer's."""
        if not begins_a_name(prefix):
            return
        async for leftover in power_of(self.base, Sweeps).leftovers(self.beginning(prefix)):
            path = self.outward(leftover.path)
            if path is not None and path.startswith(prefix):
                yield replace(leftover, path=path)

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove it unless it is live."""
        with self.named():
            return await power_of(self.base, Sweeps).sweep(replace(leftover, path=self.within(leftover.path)))

    def offers(self, power: type[Power]) -> Power | None:
        """Return what exercises a power of the base's, in this layer's names."""
        if power not in self.powers or self.base.offers(power) is None:
            return None
        return super().offers(power)

    def narrowed(self, depth: int) -> Driver:
        """Return this layer over the base, narrowed to as many segments as the base has for these."""
        return super().narrowed(self.inward("x/" * depth + "x").count("/"))

    def _session(self, base: WriteSession, path: str) -> WriteSession:
        return with_powers_of(base, MappedSession)(self, base, path)

    def within(self, path: str) -> str:
        """Return the name that the base has for `path`, if `path` is a name and so leads nowhere else.

        :raises ValueError: if it is none.
        """
        return self.inward(check_inside(path))

    def beginning(self, prefix: str) -> str:
        """Return how the base's names begin of files whose names begin with `prefix`."""
        return self.inward(prefix)

    def own(self, entry: Entry) -> Entry:
        """Return what an entry of a file that was asked for is here."""
        ours = self.entry(entry)
        return entry if ours is None else ours

    def rename(self, error: OSError) -> None:
        """Have an error name its file as this layer does."""
        if isinstance(error.filename, str):
            error.filename = self.outward(error.filename) or error.filename

    @contextmanager
    def named(self) -> Iterator[None]:
        """Have errors of the block name files as this layer does."""
        try:
            yield
        except OSError as error:
            self.rename(error)
            raise


class MappedStream(ForwardedStream):
    """A stream whose entry and errors are said as the layer says them."""

    def __init__(self, layer: Mapped, base: ReadStream) -> None:
        super().__init__(base, layer.own(base.entry))
        self._layer = layer

    async def chunk(self, want: int) -> bytes:
        """As the base."""
        try:
            return await self.base.chunk(want)
        except OSError as error:
            self._layer.rename(error)
            raise

    async def seek(self, start: int, stop: int | None = None) -> None:
        """As the base."""
        with self._layer.named():
            await self.base.seek(start, stop)

    def check_replaceable(self) -> None:
        """As the base."""
        with self._layer.named():
            self.base.check_replaceable()


class MappedSession(ForwardedSession):
    """A session whose entry and errors are said as the layer says them."""

    def __init__(self, layer: Mapped, base: WriteSession, path: str) -> None:
        super().__init__(base)
        self._layer = layer
        self._path = path

    def around(self) -> AbstractContextManager[None]:
        """Have errors name the file as the layer does."""
        return self._layer.named()

    async def prepare(self) -> dict[str, Any]:
        """As the base; `Mapped.resume` takes the token."""
        return {**await super().prepare(), "path": self._path}

    async def commit(self) -> Entry:
        """As the base."""
        return self._layer.own(await super().commit())
