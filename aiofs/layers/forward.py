"""Streams and sessions that forward to those of the base: what a layer wraps around what it got from there."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aiofs.driver import CopiesRanges, KeepsBase, ReadStream, RewritesParts, WriteSession
from aiofs.errors import Unsupported

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from aiofs.driver import Driver, Entry, Part, Power

Session = TypeVar("Session", bound="ForwardedSession")


class ForwardedStream(ReadStream):
    """A stream of the base, whose entry the layer may say otherwise."""

    def __init__(self, base: ReadStream, entry: Entry | None = None) -> None:
        self.base = base
        self.entry: Entry = base.entry if entry is None else entry

    async def chunk(self, want: int) -> bytes:
        """As the base."""
        return await self.base.chunk(want)

    async def seek(self, start: int, stop: int | None = None) -> None:
        """As the base."""
        await self.base.seek(start, stop)

    def check_replaceable(self) -> None:
        """As the base."""
        self.base.check_replaceable()

    async def aclose(self) -> None:
        """As the base."""
        await self.base.aclose()

    def abandon(self) -> None:
        """As the base."""
        self.base.abandon()


class HeldStream(ReadStream):
    """A file that came whole with the first request."""

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry = entry
        self._data = data
        self._start = 0
        self._stop = len(data)

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        data = self._data[self._start : min(self._stop, self._start + max(want, 1))]
        self._start += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on with that range."""
        self._start = start
        self._stop = len(self._data) if stop is None else stop

    async def aclose(self) -> None:
        """Do nothing."""


class ForwardedSession(WriteSession):
    """A session of the base, without its powers: `with_powers_of` gives it those."""

    def __init__(self, base: WriteSession) -> None:
        self.base = base

    def around(self) -> AbstractContextManager[None]:
        """Return what every call of the base is made in."""
        return nullcontext()

    async def write(self, part: Part) -> None:
        """As the base."""
        with self.around():
            await self.base.write(part)

    async def prepare(self) -> dict[str, Any]:
        """As the base."""
        with self.around():
            return await self.base.prepare()

    async def commit(self) -> Entry:
        """As the base."""
        with self.around():
            return await self.base.commit()

    async def abort(self) -> None:
        """As the base."""
        with self.around():
            await self.base.abort()

    async def leave(self) -> None:
        """As the base."""
        with self.around():
            await self.base.leave()

    def abandon(self) -> None:
        """As the base."""
        self.base.abandon()


class _Rewrites(ForwardedSession):
    async def rewrite(self, offset: int, data: Part) -> None:
        """As the base."""
        assert isinstance(self.base, RewritesParts)  # noqa: S101 -- why this class was chosen
        with self.around():
            await self.base.rewrite(offset, data)

    async def resize(self, size: int) -> None:
        """As the base."""
        assert isinstance(self.base, RewritesParts)  # noqa: S101 -- why this class was chosen
        with self.around():
            await self.base.resize(size)


class _CopiesRanges(ForwardedSession):
    async def copy_range(self, start: int, stop: int) -> None:
        """As the base."""
        assert isinstance(self.base, CopiesRanges)  # noqa: S101 -- why this class was chosen
        with self.around():
            await self.base.copy_range(start, stop)


class _KeepsBase(ForwardedSession):
    async def keep_base(self) -> None:
        """As the base."""
        assert isinstance(self.base, KeepsBase)  # noqa: S101 -- why this class was chosen
        with self.around():
            await self.base.keep_base()


def power_of(base: Driver, power: type[Power]) -> Power:
    """Return what exercises a power of the base.

    :raises Unsupported: if the base does not offer it.
    """
    offered = base.offers(power)
    if offered is None:
        raise Unsupported.of(None, f"{base} does not offer {power.__name__}")
    return offered


def with_powers_of(base: WriteSession, kind: type[Session]) -> type[Session]:
    """Return `kind`, with the powers that `base` has forwarded too."""
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


class Packer:
    """Hands bytes of any length to a session in the parts that it wants."""

    def __init__(self, session: WriteSession, part_size: int) -> None:
        self._session = session
        self._part_size = part_size
        self._held = bytearray()

    async def put(self, data: Part) -> None:
        """Take the next bytes."""
        self._held += data
        while len(self._held) >= self._part_size:
            part = bytes(memoryview(self._held)[: self._part_size])
            del self._held[: self._part_size]
            await self._session.write(part)

    async def end(self) -> None:
        """Hand over what is left."""
        if self._held:
            part, self._held = self._held, bytearray()
            await self._session.write(part)


class Taker:
    """Takes bytes from a stream in any length."""

    def __init__(self, stream: ReadStream) -> None:
        self._stream = stream
        self._held = b""

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on with that range of the stream."""
        self._held = b""
        await self._stream.seek(start, stop)

    async def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        pieces = [self._held]
        missing = size - len(self._held)
        while missing > 0 and (piece := await self._stream.chunk(missing)):
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        self._held = data[size:]
        return data[:size]


async def with_end(stream: ReadStream, window: int | None, size: int) -> tuple[ReadStream, bytes]:
    """Return the last `size` bytes of a file of known size, and the stream to go on with.

    `window` is how many bytes of it were asked for: a file that is no larger costs no other request.
    """
    whole = stream.entry.size or 0
    if window is not None and whole <= window:
        held = HeldStream(stream.entry, await Taker(stream).take(whole))
        await stream.aclose()
        stream = held
    taker = Taker(stream)
    await taker.seek(max(0, whole - size), whole)
    return stream, await taker.take(size)
