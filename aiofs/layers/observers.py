"""Layers that observe: Notify calls a function before and after every operation, Log writes a line for each."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aiofs import clock
from aiofs.driver import Layer
from aiofs.layers.forward import ForwardedPartial, ForwardedSession, ForwardedStream, power_of, with_powers_of
from aiofs.names import is_reserved
from aiofs.powers import (
    Appends,
    ChecksRemoval,
    ChecksUrls,
    Copies,
    KeepsHistory,
    KeepsPartial,
    Moves,
    Notes,
    Presigns,
    Removes,
    Snapshots,
    Sweeps,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from aiofs.driver import Entry, Lease, Part, PartialSession, Power, ReadStream, WriteSession

Verb = Literal["stat", "read", "write", "remove", "list", "copy", "move"]
Phase = Literal["before", "after", "error", "aborted"]


@dataclass(frozen=True, slots=True)
class Event:
    """One operation on a file, as an observer sees it.

    `phase` is "before" it, "after" it succeeded, "error" when it failed, or "aborted" when a write was undone.
    """

    verb: Verb
    path: str
    phase: Phase
    target: str | None = None
    """The new name, for "copy" and "move"."""
    size: int = 0
    """The number of bytes that were read or written, or of files that were listed."""
    seconds: float = 0.0
    error: BaseException | None = None


class Observed(Layer, ABC):
    """Awaits `notice` for every operation. If `notice` raises before an operation, the operation does not happen.

    The caller of the operation gets whatever `notice` raises.
    """

    forwarded: ClassVar[tuple[type, ...]] = (
        ChecksRemoval,
        ChecksUrls,
        Presigns,
        Sweeps,
        Removes,
        Snapshots,
        Appends,
        Notes,
    )

    @abstractmethod
    async def notice(self, event: Event) -> None:
        """Handle an event. There are no events for the hidden files of the package itself."""

    async def stat(self, path: str) -> Entry:
        async with self._during("stat", path):
            return await super().stat(path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading. The operation ends when the stream is closed."""
        reading = await self._start("read", path)
        async with reading.failing():
            stream = await super().read(path, start, stop, match=match)
        return _ObservedStream(stream, reading)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin to write. The operation ends when the session is committed or aborted."""
        writing = await self._start("write", path)
        async with writing.failing():
            session = await super().begin(path, lease, match=match, metadata=metadata)
        return with_powers_of(session, _ObservedSession)(session, writing)

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        """Begin a partial write. The operation ends when the session is committed, left or aborted."""
        writing = await self._start("write", path)
        async with writing.failing():
            keeps = power_of(self.base, KeepsPartial)
            session = await keeps.begin_partial(path, lease, match=match, metadata=metadata)
        return _ObservedPartial(session, writing)

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        """Continue a partial write. This is another operation, whose size is that of the bytes that come now."""
        writing = await self._start("write", path)
        async with writing.failing():
            session = await power_of(self.base, KeepsPartial).continue_partial(path, lease, token, match=match)
        return _ObservedPartial(session, writing)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session. Another process sent "before"; this one sends the end of the operation."""
        session = await super().resume(token)
        return with_powers_of(session, _ObservedSession)(session, _Operation(self, "write", token["path"]))

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        async with AsyncExitStack() as all_of_them:
            for path in paths:
                await all_of_them.enter_async_context(self._during("remove", path))
            await super().delete(paths, leases=leases, match=match, missing_ok=missing_ok)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        listing = await self._start("list", prefix)
        async with listing.failing(), aclosing(super().list(prefix, after=after, delimiter=delimiter)) as entries:
            async for entry in entries:
                listing.size += 1
                yield entry
        await listing.end("after")

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        async with self._during("copy", source, target):
            return await power_of(self.base, Copies).copy(source, target, lease, match=match)

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        async with self._during("move", source, target):
            return await power_of(self.base, Moves).move(source, target, leases)

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        """Yield the versions of the file; the event is a "list"."""
        listing = await self._start("list", path)
        history = power_of(self.base, KeepsHistory).history(path)
        async with listing.failing(), aclosing(history) as entries:
            async for entry in entries:
                listing.size += 1
                yield entry
        await listing.end("after")

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        reading = await self._start("read", path)
        async with reading.failing():
            stream = await power_of(self.base, KeepsHistory).read_version(path, version_id, start, stop)
        return _ObservedStream(stream, reading)

    async def restore_version(self, path: str, version_id: str, lease: Lease) -> Entry:
        async with self._during("write", path):
            return await power_of(self.base, KeepsHistory).restore_version(path, version_id, lease)

    def offers(self, power: type[Power]) -> Power | None:
        return super().offers(power) if self.base.offers(power) is not None else None

    async def _start(self, verb: Verb, path: str, target: str | None = None) -> _Operation:
        operation = _Operation(self, verb, path, target)
        await operation.report("before")
        return operation

    @asynccontextmanager
    async def _during(self, verb: Verb, path: str, target: str | None = None) -> AsyncIterator[None]:
        operation = await self._start(verb, path, target)
        async with operation.failing():
            yield
        await operation.end("after")


class _Operation:
    """One operation under way, for which `notice` is awaited at its beginning and once at its end."""

    def __init__(self, layer: Observed, verb: Verb, path: str, target: str | None = None) -> None:
        self.size = 0
        self._layer = layer
        self._verb: Verb = verb
        self._path = path
        self._target = target
        self._started = clock.monotonic()
        self._ended = is_reserved(path)

    async def report(self, phase: Phase, error: BaseException | None = None) -> None:
        """Await `notice`, unless the operation has ended."""
        if not self._ended:
            seconds = clock.monotonic() - self._started
            event = Event(self._verb, self._path, phase, self._target, self.size, seconds, error)
            await self._layer.notice(event)

    async def end(self, phase: Phase, error: BaseException | None = None) -> None:
        """Await `notice` for the end of the operation. Later calls do nothing."""
        await self.report(phase, error)
        self._ended = True

    @asynccontextmanager
    async def failing(self) -> AsyncIterator[None]:
        """End the operation with an error if the block raises one."""
        try:
            yield
        except GeneratorExit:  # a listing that was left early has not failed
            await self.end("after")
            raise
        except BaseException as error:
            await self.end("error", error)
            raise


class _ObservedStream(ForwardedStream):
    def __init__(self, base: ReadStream, reading: _Operation) -> None:
        super().__init__(base)
        self._reading = reading

    async def chunk(self, want: int) -> bytes:
        async with self._reading.failing():
            data = await super().chunk(want)
        self._reading.size += len(data)
        return data

    async def aclose(self) -> None:
        async with self._reading.failing():
            await super().aclose()
        await self._reading.end("after")


class _ObservedSession(ForwardedSession):
    def __init__(self, base: WriteSession, writing: _Operation) -> None:
        super().__init__(base)
        self._writing = writing

    async def write(self, part: Part) -> None:
        async with self._writing.failing():
            await super().write(part)
        self._writing.size += len(part)

    async def commit(self) -> Entry:
        async with self._writing.failing():
            entry = await super().commit()
        self._writing.size = entry.size or self._writing.size
        await self._writing.end("after")
        return entry

    async def abort(self) -> None:
        await super().abort()
        await self._writing.end("aborted")


class _ObservedPartial(_ObservedSession, ForwardedPartial):
    def __init__(self, base: PartialSession, writing: _Operation) -> None:
        super().__init__(base, writing)
        self.follow(base)

    async def keep(self, rest: Part) -> bool:
        async with self._writing.failing():
            return await super().keep(rest)

    async def leave(self) -> None:
        await super().leave()
        await self._writing.end("aborted")


class Notify(Observed):
    """Awaits `handler(event)` before and after every operation, with an `Event`.

    The handler must not close the file system: closing waits for the handler, so both would wait for ever.
    """

    def __init__(self, handler: Callable[[Event], Awaitable[None]]) -> None:
        if not callable(handler):
            raise TypeError(f"handler must be an async function, not {handler!r}")
        self._handler = handler

    async def notice(self, event: Event) -> None:
        await self._handler(event)


class Log(Observed):
    """Logs a line at `level` for each operation that succeeded, and a warning for each that failed.

    The `aiofs` attribute of the log record is the `Event`.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._logger = logger or logging.getLogger("aiofs")
        self._level = level

    async def notice(self, event: Event) -> None:
        if event.phase == "before":
            return
        level = logging.WARNING if event.phase == "error" else self._level
        where = event.path if event.target is None else f"{event.path} to {event.target}"
        outcome = {"error": f": {event.error!r}", "aborted": ": aborted"}.get(event.phase, "")
        milliseconds = 1000 * event.seconds
        message = "%s %s, %d, %.1f ms%s"
        self._logger.log(level, message, event.verb, where, event.size, milliseconds, outcome, extra={"aiofs": event})
