"""Chaos: a layer that fails, delays, cuts or kills at the n-th call of a verb, and counts all calls.

    chaos = Chaos()
    fs = MemoryFileSystem().over(chaos)
    chaos.fail("commit", OSError(errno.EIO, "no answer"))        # the first commit fails
    chaos.fail("write", ConnectionError(), nth=3, after=True)     # the third part arrives, its answer does not
    gate = chaos.stall("read")                                    # the first read waits until gate.open()
    chaos.cut(1000)                                               # the first stream ends after 1000 bytes
    chaos.kill("commit")                                          # the process dies by SIGKILL

The calls are counted from the moment the trouble is ordered.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aiofs.driver import Layer, Lease, ReadStream, WriteSession
from aiofs.layers.forward import power_of
from aiofs.powers import KeepsPartial, Sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from aiofs.driver import Capabilities, Entry, Part, PartialSession, Power

Verb = Literal[
    "stat",
    "read",
    "chunk",
    "seek",
    "begin",
    "write",
    "prepare",
    "commit",
    "abort",
    "resume",
    "delete",
    "list",
    "lock",
    "release",
]


class Gate:
    """Where a call waits until it is let through."""

    def __init__(self) -> None:
        self.reached: asyncio.Event = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let the call through."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Wait, as the call does."""
        self.reached.set()
        await self._opened.wait()


@dataclass(slots=True, eq=False)
class Trouble:
    """What happens at one call."""

    verb: Verb
    calls_left: int
    after: bool
    act: Callable[[], Awaitable[None]]


class Chaos(Layer):
    """A layer that makes the trouble that was ordered, and forwards everything else."""

    forwarded: ClassVar[tuple[type, ...]] = (Sweeps,)

    def __init__(self) -> None:
        # `bind` makes a shallow copy: these are shared between what the test holds and what the system uses.
        self.calls: Counter[str] = Counter()
        """How often each verb was called."""
        self.open: Counter[Literal["lists", "streams"]] = Counter()
        """How many listings and streams are under way, neither finished nor closed."""
        self.leases: deque[Lease] = deque()
        """The store's own leases, as they were given."""
        self.cuts: deque[int] = deque()
        """Where the next streams will end."""
        self._troubles: deque[Trouble] = deque()

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Return the base's, but that answers can be lost."""
        return replace(capabilities, certain=False)

    def fail(self, verb: Verb, error: BaseException, *, nth: int = 1, after: bool = False) -> None:
        """Raise `error` instead of the n-th call from now, or after it was done all the same."""

        async def act() -> None:
            raise error

        self._order(verb, act, nth=nth, after=after)

    def stall(self, verb: Verb, *, nth: int = 1, after: bool = False) -> Gate:
        """Hold the n-th call from now until the gate that is returned is opened."""
        gate = Gate()
        self._order(verb, gate.pass_through, nth=nth, after=after)
        return gate

    def before(self, verb: Verb, act: Callable[[], Awaitable[None]], *, nth: int = 1) -> None:
        """Do something of the test's own before the n-th call from now."""
        self._order(verb, act, nth=nth, after=False)

    def kill(self, verb: Verb, *, nth: int = 1, after: bool = False) -> None:
        """End the process, as `kill -9` does, at the n-th call from now."""

        async def act() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        self._order(verb, act, nth=nth, after=after)

    def cut(self, size: int) -> None:
        """Let the next stream end after `size` bytes, as a broken connection does that nobody noticed."""
        self.cuts.append(size)

    @asynccontextmanager
    async def around(self, verb: Verb) -> AsyncIterator[deque[Callable[[], Awaitable[None]]]]:
        """Count a call, with the trouble ordered for it before and after.

        What the call made is undone, by what it adds to the list, where trouble keeps it from its caller.
        """
        self.calls[verb] += 1
        due = self._due(verb)
        for trouble in due:
            if not trouble.after:
                await trouble.act()
        undo: deque[Callable[[], Awaitable[None]]] = deque()
        yield undo
        try:
            for trouble in due:
                if trouble.after:
                    await trouble.act()
        except BaseException:
            for step in undo:
                await step()
            raise

    async def stat(self, path: str) -> Entry:
        async with self.around("stat"):
            return await self.base.stat(path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        async with self.around("read") as undo:
            stream = await self.base.read(path, start, stop, match=match)
            undo.append(stream.aclose)
        return TroubledStream(self, stream, self.cuts.popleft() if self.cuts else None)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        async with self.around("begin") as undo:
            session = await self.base.begin(path, _inner(lease), match=match, metadata=metadata)
            undo.append(session.abort)
        return TroubledSession(self, session)

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        """Begin, with a session that makes no trouble."""
        keeps = power_of(self.base, KeepsPartial)
        async with self.around("begin"):
            return await keeps.begin_partial(path, _inner(lease), match=match, metadata=metadata)

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        """Continue, with a session that makes no trouble."""
        keeps = power_of(self.base, KeepsPartial)
        async with self.around("resume"):
            return await keeps.continue_partial(path, _inner(lease), token, match=match)

    def offers(self, power: type[Power]) -> Power | None:
        """Offer to keep partial writes if the base does."""
        return None if power is KeepsPartial and self.base.offers(power) is None else super().offers(power)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        async with self.around("resume"):
            return TroubledSession(self, await self.base.resume(token))

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        async with self.around("delete"):
            inner = [_inner(lease) for lease in leases]
            await self.base.delete(paths, leases=inner, match=match, missing_ok=missing_ok)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """List, and count the listings that are under way."""
        async with self.around("list"):
            entries = self.base.list(prefix, after=after, delimiter=delimiter)
        self.open["lists"] += 1
        try:
            async for entry in entries:
                yield entry
        finally:
            self.open["lists"] -= 1
            await entries.aclose()

    async def lock(self, path: str) -> Lease:
        async with self.around("lock") as undo:
            lease = await self.base.lock(path)
            undo.append(lease.release)
        self.leases.append(lease)
        return TroubledLease(self, lease)

    def _order(self, verb: Verb, act: Callable[[], Awaitable[None]], *, nth: int, after: bool) -> None:
        self._troubles.append(Trouble(verb, nth, after, act))

    def _due(self, verb: Verb) -> tuple[Trouble, ...]:
        concerned = [trouble for trouble in self._troubles if trouble.verb == verb]
        for trouble in concerned:
            trouble.calls_left -= 1
        due = tuple(trouble for trouble in concerned if trouble.calls_left == 0)
        for trouble in due:
            self._troubles.remove(trouble)
        return due


class TroubledStream(ReadStream):
    """A stream whose chunks may fail, wait, or end too early."""

    def __init__(self, chaos: Chaos, inner: ReadStream, cut: int | None) -> None:
        self.entry: Entry = inner.entry
        self._chaos = chaos
        self._inner = inner
        self._left = cut
        self._closed = False
        chaos.open["streams"] += 1

    async def chunk(self, want: int) -> bytes:
        """Return what the base has, as far as the stream is not cut."""
        async with self._chaos.around("chunk"):
            data = await self._inner.chunk(want)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        async with self._chaos.around("seek"):
            await self._inner.seek(start, stop)

    async def aclose(self) -> None:
        self._count()
        await self._inner.aclose()

    def abandon(self) -> None:
        self._count()
        self._inner.abandon()

    def _count(self) -> None:
        if not self._closed:
            self._closed = True
            self._chaos.open["streams"] -= 1


class TroubledSession(WriteSession):
    """A session whose every step may fail or wait."""

    def __init__(self, chaos: Chaos, inner: WriteSession) -> None:
        self._chaos = chaos
        self._inner = inner

    async def write(self, part: Part) -> None:
        async with self._chaos.around("write"):
            await self._inner.write(part)

    async def prepare(self) -> dict[str, Any]:
        async with self._chaos.around("prepare"):
            return await self._inner.prepare()

    async def commit(self) -> Entry:
        async with self._chaos.around("commit"):
            return await self._inner.commit()

    async def abort(self) -> None:
        async with self._chaos.around("abort"):
            await self._inner.abort()

    async def leave(self) -> None:
        await self._inner.leave()

    def abandon(self) -> None:
        self._inner.abandon()


class TroubledLease(Lease):
    """A lease whose release may fail or wait."""

    def __init__(self, chaos: Chaos, inner: Lease) -> None:
        self.path: str = inner.path
        self.fence: str = inner.fence
        self.number: int | None = inner.number
        self.inner = inner
        self._chaos = chaos

    @property
    def lost(self) -> bool:
        return self.inner.lost

    async def confirm(self) -> bool:
        return await self.inner.confirm()

    async def release(self) -> None:
        async with self._chaos.around("release"):
            await self.inner.release()

    def abandon(self) -> None:
        self.inner.abandon()


def _inner(lease: Lease) -> Lease:
    return lease.inner if isinstance(lease, TroubledLease) else lease
