"""Streams and sessions that forward every call to a stream or session of the base: layers subclass them."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

from aiofs.driver import PartialSession, ReadStream, WriteSession
from aiofs.errors import Unsupported
from aiofs.powers import CopiesRanges, KeepsBase, RewritesParts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from aiofs.driver import Driver, Entry, Part, Power

Session = TypeVar("Session", bound="ForwardedSession")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ForwardedStream(ReadStream):
    """A stream that forwards to `base`. A layer may give it another entry."""

    def __init__(self, base: ReadStream, entry: Entry | None = None) -> None:
        self.base = base
        self.entry: Entry = base.entry if entry is None else entry

    async def chunk(self, want: int) -> bytes:
        return await self.base.chunk(want)

    async def seek(self, start: int, stop: int | None = None) -> None:
        await self.base.seek(start, stop)

    def check_replaceable(self) -> None:
        self.base.check_replaceable()

    async def aclose(self) -> None:
        await self.base.aclose()

    def abandon(self) -> None:
        self.base.abandon()


class ForwardedSession(WriteSession):
    """A session that forwards to `base` what every session has. `with_powers_of` adds the powers that `base` has."""

    def __init__(self, base: WriteSession) -> None:
        self.base = base

    def around(self) -> AbstractContextManager[None]:
        """Return the context in which `forwarded` makes a call."""
        return nullcontext()

    async def forwarded(self, verb: str, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Make a call of the base. All are made here; `verb` is the name of the method that `work` is."""
        del verb
        with self.around():
            return await work(*args)

    async def write(self, part: Part) -> None:
        await self.forwarded("write", self.base.write, part)

    async def prepare(self) -> dict[str, Any]:
        return await self.forwarded("prepare", self.base.prepare)

    async def commit(self) -> Entry:
        return await self.forwarded("commit", self.base.commit)

    async def abort(self) -> None:
        await self.forwarded("abort", self.base.abort)

    async def leave(self) -> None:
        await self.forwarded("leave", self.base.leave)

    def abandon(self) -> None:
        self.base.abandon()


class ForwardedPartial(ForwardedSession, PartialSession):
    """A partial write that forwards to `base`. `follow` comes before anything else."""

    def follow(self, base: PartialSession) -> None:
        """Be in the state in which the base is."""
        self.base = self._partial = base
        self.token: Mapping[str, Any] = base.token
        self.kept: bool = base.kept
        self.sent: int = base.sent
        self.rest: bytes = base.rest

    async def keep(self, rest: Part) -> bool:
        counted = await self.forwarded("keep", self._partial.keep, rest)
        self.kept = True
        return counted


class _Rewrites(ForwardedSession):
    async def rewrite(self, offset: int, data: Part) -> None:
        assert isinstance(self.base, RewritesParts)  # noqa: S101 -- `with_powers_of` looked
        await self.forwarded("rewrite", self.base.rewrite, offset, data)

    async def resize(self, size: int) -> None:
        assert isinstance(self.base, RewritesParts)  # noqa: S101 -- `with_powers_of` looked
        await self.forwarded("resize", self.base.resize, size)


class _CopiesRanges(ForwardedSession):
    async def copy_range(self, start: int, stop: int) -> None:
        assert isinstance(self.base, CopiesRanges)  # noqa: S101 -- `with_powers_of` looked
        await self.forwarded("copy_range", self.base.copy_range, start, stop)


class _KeepsBase(ForwardedSession):
    async def keep_base(self) -> None:
        assert isinstance(self.base, KeepsBase)  # noqa: S101 -- `with_powers_of` looked
        await self.forwarded("keep_base", self.base.keep_base)


def power_of(base: Driver, power: type[Power]) -> Power:
    """Return the driver below that has the power.

    :raises Unsupported: if the base does not offer it.
    """
    offered = base.offers(power)
    if offered is None:
        raise Unsupported.of(None, f"{base} does not offer {power.__name__}")
    return offered


def with_powers_of(base: WriteSession, kind: type[Session]) -> type[Session]:
    """Return `kind`, or a subclass of it that forwards the powers that `base` has, too."""
    powers: tuple[type, ...] = ()
    if isinstance(base, RewritesParts):
        powers += (_Rewrites,)
    if isinstance(base, CopiesRanges):
        powers += (_CopiesRanges,)
    if isinstance(base, KeepsBase):
        powers += (_KeepsBase,)
    return _combined(kind, powers)


@cache
def _combined(kind: type[Session], powers: tuple[type, ...]) -> type[Session]:
    if not powers:
        return kind
    return cast("type[Session]", type(kind.__name__, (kind, *powers), {"__doc__": kind.__doc__}))
