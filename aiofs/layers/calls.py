"""EachCall: the superclass of layers that change how calls of the base are made, and nothing of what they do."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, cast

from aiofs.driver import Layer, PartialSession, ReadStream, WriteSession, verbs_of
from aiofs.layers.forward import ForwardedPartial, ForwardedSession, ForwardedStream, with_powers_of
from aiofs.lifetimes import finish
from aiofs.powers import HasAddress, HasLocalPaths, Probes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence

    from aiofs.driver import Driver, Entry, Lease, Power

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PAST_THE_LAYER = frozenset({HasAddress, HasLocalPaths, Probes})
_END: Any = object()


class EachCall(Layer, ABC):
    """Makes every call of the base, of its streams, sessions and powers through `call`, which a subclass defines.

    Leases are those of the base: it renews, confirms and releases them as if the layer were not there.
    """

    def bind(self, base: Driver) -> Self:
        """Return this layer over `base`. Partial writes pass, as all powers do."""
        bound = super().bind(base)
        bound.capabilities = replace(bound.capabilities, partial=base.capabilities.partial)
        return bound

    @abstractmethod
    async def call(self, verb: str, path: str | None, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Return what `work(*args)` returns.

        `verb` is the name of the method that it calls: of the driver, of a stream ("chunk", "seek", "aclose"), of a
        session or of a power. A listing calls "list" for each entry.
        """

    async def stat(self, path: str) -> Entry:
        return await self.call("stat", path, self.base.stat, path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        return self.made(path, await self.call("read", path, partial(self.base.read, path, start, stop, match=match)))

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        begin = partial(self.base.begin, path, lease, match=match, metadata=metadata)
        return self.made(path, await self.call("begin", path, begin))

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        path = token.get("path")
        return self.made(path, await self.call("resume", path, self.base.resume, token))

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        delete = partial(self.base.delete, paths, leases=leases, match=match, missing_ok=missing_ok)
        await self.call("delete", _path_in((paths,)), delete)

    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        return self.each("list", prefix, self.base.list(prefix, after=after, delimiter=delimiter))

    async def lock(self, path: str) -> Lease:
        return await self.call("lock", path, self.base.lock, path)

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the base's answer: the files are the same."""
        return self.base.locate(path)

    def offers(self, power: type[Power]) -> Power | None:
        """Return the base's power, with its calls made through `call`; none that leads past the layer."""
        offered = None if power in _PAST_THE_LAYER else self.base.offers(power)
        if offered is None or not verbs_of(power):
            return offered
        return cast("Power", _CalledPower(self, offered, power))

    async def each(self, verb: str, path: str | None, items: AsyncIterator[T]) -> AsyncGenerator[T]:
        """Yield the items. Getting each of them is a call of its own."""
        try:
            while (item := await self.call(verb, path, _next_of, items)) is not _END:
                yield item
        finally:
            if inspect.isasyncgen(items):
                await finish(items.aclose())

    def made(self, path: str | None, thing: T) -> T:
        """Return what a call returned; if it is a stream or a session, one that makes its calls through `call`."""
        made: object = thing
        if isinstance(thing, ReadStream):
            made = CalledStream(self, path, thing)
        elif isinstance(thing, PartialSession):
            made = CalledPartial(self, path, thing)
        elif isinstance(thing, WriteSession):
            made = with_powers_of(thing, CalledSession)(self, path, thing)
        return cast("T", made)


class CalledStream(ForwardedStream):
    """A stream of which each call is made through the layer."""

    def __init__(self, layer: EachCall, path: str | None, base: ReadStream) -> None:
        super().__init__(base)
        self._layer = layer
        self._path = path

    async def chunk(self, want: int) -> bytes:
        return await self._layer.call("chunk", self._path, self.base.chunk, want)

    async def seek(self, start: int, stop: int | None = None) -> None:
        await self._layer.call("seek", self._path, self.base.seek, start, stop)

    async def aclose(self) -> None:
        await self._layer.call("aclose", self._path, self.base.aclose)


class CalledSession(ForwardedSession):
    """A session of which each call is made through the layer."""

    def __init__(self, layer: EachCall, path: str | None, base: WriteSession) -> None:
        super().__init__(base)
        self._layer = layer
        self._path = path

    async def forwarded(self, verb: str, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        return await self._layer.call(verb, self._path, work, *args)


class CalledPartial(CalledSession, ForwardedPartial):
    """A partial write of which each call is made through the layer."""

    def __init__(self, layer: EachCall, path: str | None, base: PartialSession) -> None:
        super().__init__(layer, path, base)
        self.follow(base)


class _CalledPower:
    """A power of the base, of which each call is made through the layer."""

    def __init__(self, layer: EachCall, offered: object, power: type) -> None:
        self._layer = layer
        self._offered = offered
        self._power = power

    def __getattr__(self, name: str) -> Any:
        layer = self._layer
        method: Any = getattr(self._offered, name)
        declared = getattr(self._power, name)
        if not inspect.isfunction(declared):
            return method  # a property, such as the number of locks

        async def called(*args: Any, **more: Any) -> Any:
            path = _path_in(args)
            return layer.made(path, await layer.call(name, path, partial(method, **more), *args))

        def listed(*args: Any, **more: Any) -> Any:
            made: Any = method(*args, **more)
            return layer.each(name, _path_in(args), made) if hasattr(made, "__aiter__") else made

        return called if inspect.iscoroutinefunction(declared) else listed


def _path_in(args: Sequence[Any]) -> str | None:
    """Return the first path in the arguments of a call, if there is one."""
    first: Any = next(iter(args), None)
    if isinstance(first, list | tuple):
        first = next(iter(first), None)
    return first if isinstance(first, str) else None


async def _next_of(items: AsyncIterator[T]) -> T:
    return await anext(items, _END)


def positive(name: str, number: float) -> float:
    """Return a number that the user gave as `name`.

    :raises TypeError: if it is no number.
    :raises ValueError: if it is not finite and greater than 0.
    """
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{name}={number!r}: give a number greater than 0")
    if not 0 < number < math.inf:
        raise ValueError(f"{name}={number!r}: give a number greater than 0")
    return number
