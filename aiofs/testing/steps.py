"""Stepped: a layer that numbers every call of a store, and can let any of them fail, or kill the process at it.

    steps = Steps()
    fs = MemoryFileSystem().over(Stepped(steps))
    ...                                     # do something, and read steps.taken: what was called, in order
    steps.fail(7)                           # the seventh call from the beginning fails
    steps.fail(9, after=True)               # the ninth is done, but its answer is lost

Several stores may share their steps. `Chaos` lets the n-th call of a verb fail; with this layer a test lets every call
of something fail, one after another.
"""

from __future__ import annotations

import errno
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from aiofs.driver import Capabilities, Layer, Lease, WriteSession
from aiofs.errors import Unsupported
from aiofs.powers import Appends, Copies, CopiesPermissions, Notes, Parks, Removes, Snapshots, Sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from aiofs.driver import Entry, Part, Power, ReadStream

T = TypeVar("T")
STEPPED = (Appends, Copies, CopiesPermissions, Notes, Parks, Removes, Snapshots)


class Steps:
    """The calls that were made, and the calls that fail."""

    def __init__(self, tick: Callable[[], None] | None = None) -> None:
        self.taken: list[str] = []
        """The calls, each with its path."""
        self.failed: list[BaseException] = []
        """The errors that were raised in place of answers."""
        self._tick = tick
        self._troubles: dict[int, bool] = {}
        self._named: dict[tuple[str, int], bool] = {}
        self._held: list[Lease] = []

    def fail(self, number: int, *, after: bool = False) -> None:
        """Let the call of this number fail, before anything of it is done or, with `after`, when all of it is done."""
        self._troubles[number] = after

    def fail_at(self, step: str, *, nth: int = 1, after: bool = False) -> None:
        """Let the `nth` call of this name fail, counted from now: `commit folder/file`, for example."""
        self._named[step, self.taken.count(step) + nth] = after

    async def heal(self) -> None:
        """Let nothing fail any more, and release the locks that are still held, as the end of a process does."""
        self._troubles.clear()
        self._named.clear()
        for lease in self._held:
            await lease.release()
        self._held.clear()

    async def take(
        self, verb: str, path: str, work: Awaitable[T], undo: Callable[[T], Awaitable[None]] | None = None
    ) -> T:
        """Do the next call. If its answer is lost, `undo` what it made."""
        step = f"{verb} {path}"
        self.taken.append(step)
        after = self._troubles.pop(len(self.taken), self._named.get((step, self.taken.count(step))))
        if self._tick is not None:
            self._tick()
        if after is False:
            if isinstance(work, Coroutine):
                work.close()
            raise self._trouble(verb, path)
        made = await work
        if self._tick is not None:
            self._tick()
        if after:
            if undo is not None:
                await undo(made)
            raise self._trouble(verb, path)
        return made

    def hold(self, lease: Lease) -> None:
        """Remember a lock that is held."""
        self._held.append(lease)

    def forget(self, lease: Lease) -> None:
        """Forget a lock that was released."""
        if lease in self._held:
            self._held.remove(lease)

    def _trouble(self, verb: str, path: str) -> OSError:
        error = OSError(errno.EIO, f"trouble at step {len(self.taken)}: {verb}", path)
        self.failed.append(error)
        return error


class Stepped(Layer):
    """A layer that counts a step for each call."""

    forwarded: ClassVar[tuple[type, ...]] = (Sweeps,)

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that answers can be lost."""
        return replace(capabilities, certain=False)

    def offers(self, power: type[Power]) -> Power | None:
        """Return the powers of the base, with steps where they change something."""
        offered = self.base.offers(power)
        return self if offered is not None and power in STEPPED else offered  # type: ignore[return-value]

    async def stat(self, path: str) -> Entry:
        return await self.steps.take("stat", path, self.base.stat(path))

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        reading = self.base.read(path, start, stop, match=match)
        return await self.steps.take("read", path, reading, lambda stream: stream.aclose())

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        beginning = self.base.begin(path, inner(lease), match=match, metadata=metadata)
        session = await self.steps.take("begin", path, beginning, lambda made: made.abort())
        return SteppedSession(self.steps, path, session)

    async def begin_removal(self, path: str, lease: Lease, *, match: str) -> WriteSession:
        beginning = self._power(Removes).begin_removal(path, inner(lease), match=match)
        session = await self.steps.take("begin_removal", path, beginning, lambda made: made.abort())
        return SteppedSession(self.steps, path, session)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        path = str(token["path"])
        session = await self.steps.take("resume", path, self.base.resume(token), lambda made: made.leave())
        return SteppedSession(self.steps, path, session)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        held = [inner(lease) for lease in leases]
        deleting = self.base.delete(paths, leases=held, match=match, missing_ok=missing_ok)
        await self.steps.take("delete", " ".join(paths), deleting)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        await self.steps.take("list", prefix, _nothing())
        async for entry in self.base.list(prefix, after=after, delimiter=delimiter):
            yield entry

    async def lock(self, path: str) -> Lease:
        lease = await self.steps.take("lock", path, self.base.lock(path), lambda made: made.release())
        self.steps.hold(lease)
        return SteppedLease(self.steps, lease)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        return await self.steps.take(
            "copy", target, self._power(Copies).copy(source, target, inner(lease), match=match)
        )

    async def keep(self, path: str, tag: str) -> None:
        await self.steps.take("keep", path, self._power(Snapshots).keep(path, tag))

    async def read_image(self, path: str, tag: str) -> ReadStream:
        reading = self._power(Snapshots).read_image(path, tag)
        return await self.steps.take("read_image", path, reading, lambda stream: stream.aclose())

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        restoring = self._power(Snapshots).restore(path, tag, inner(lease), match=match)
        return await self.steps.take("restore", path, restoring)

    async def drop(self, path: str, tag: str) -> None:
        await self.steps.take("drop", path, self._power(Snapshots).drop(path, tag))

    async def append(self, path: str, data: bytes, *, durable: bool) -> None:
        await self.steps.take("append", path, self._power(Appends).append(path, data, durable=durable))

    async def copy_permissions(self, path: str, lease: Lease, source: str) -> None:
        await self.steps.take(
            "copy_permissions", path, self._power(CopiesPermissions).copy_permissions(path, inner(lease), source)
        )
        lease.fence = inner(lease).fence

    @property
    def most_locks(self) -> int:
        return self._power(Parks).most_locks

    async def park(self, path: str, lease: Lease) -> None:
        await self.steps.take("park", path, self._power(Parks).park(path, inner(lease)))
        self.steps.forget(inner(lease))

    async def unpark(self, path: str, fence: str) -> Lease | None:

        async def park_again(lease: Lease | None) -> None:
            if lease is not None:
                await self._power(Parks).park(path, lease)

        lease = await self.steps.take("unpark", path, self._power(Parks).unpark(path, fence), park_again)
        if lease is None:
            return None
        self.steps.hold(lease)
        return SteppedLease(self.steps, lease)

    async def note(self, path: str, data: bytes) -> None:
        await self.steps.take("note", path, self._power(Notes).note(path, data))

    async def erase(self, paths: Sequence[str]) -> None:
        await self.steps.take("erase", " ".join(paths), self._power(Notes).erase(paths))

    def _power(self, power: type[Power]) -> Power:
        offered = self.base.offers(power)
        if offered is None:
            raise Unsupported.of(None, f"{self.base} does not offer {power.__name__}")
        return offered


class SteppedSession(WriteSession):
    """A session that counts a step for each call."""

    def __init__(self, steps: Steps, path: str, session: WriteSession) -> None:
        self._steps = steps
        self._path = path
        self._inner = session

    async def write(self, part: Part) -> None:
        await self._steps.take("write", self._path, self._inner.write(part))

    async def prepare(self) -> dict[str, Any]:
        return await self._steps.take("prepare", self._path, self._inner.prepare())

    async def commit(self) -> Entry:
        return await self._steps.take("commit", self._path, self._inner.commit())

    async def abort(self) -> None:
        await self._steps.take("abort", self._path, self._inner.abort())

    async def leave(self) -> None:
        await self._steps.take("leave", self._path, self._inner.leave())

    def abandon(self) -> None:
        self._inner.abandon()


class SteppedLease(Lease):
    """A lease that counts a step when it is released."""

    def __init__(self, steps: Steps, lease: Lease) -> None:
        self.path: str = lease.path
        self.fence: str = lease.fence
        self.number: int | None = lease.number
        self.inner = lease
        self._steps = steps

    @property
    def lost(self) -> bool:
        return self.inner.lost

    async def confirm(self) -> bool:
        return await self.inner.confirm()

    async def release(self) -> None:
        await self._steps.take("release", self.path, self.inner.release())
        self._steps.forget(self.inner)

    def abandon(self) -> None:
        self._steps.forget(self.inner)
        self.inner.abandon()


def inner(lease: Lease) -> Lease:
    """Return the store's own lease."""
    return lease.inner if isinstance(lease, SteppedLease) else lease


async def _nothing() -> None:
    """Do nothing: only the beginning of a listing is a step."""
