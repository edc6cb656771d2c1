"""What the handles over a driver share: whose they are, where they were opened, and letting go of what they hold."""

from __future__ import annotations

import asyncio
import sys
import warnings
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from aiofs.file import FileLike
from aiofs.loops import at_home, home

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiofs.driver import Lease, ReadStream, WriteSession


class TakesTurns(Protocol):
    """A handle that tasks may share."""

    turns: asyncio.Lock


Operation = TypeVar("Operation", bound="Callable[..., Coroutine[Any, Any, Any]]")
_PACKAGE = __name__.partition(".")[0]


def in_turn(operation: Operation, /) -> Operation:
    """Have the operations of a handle wait for one another: tasks may share it, and each leaves its state whole."""

    @wraps(operation)
    async def after_the_others(self: TakesTurns, /, *args: Any, **kwargs: Any) -> Any:
        async with self.turns:
            return await operation(self, *args, **kwargs)

    return cast("Operation", after_the_others)


class Handle(FileLike):
    """A file over a driver: it owns a stream, a session, a lease, or several of them, until it is closed."""

    _stream: ReadStream | None = None
    _session: WriteSession | None = None
    _lease: Lease | None = None
    _forsaken = False

    def __init__(self, name: str, mode: str) -> None:
        super().__init__(name, mode)
        self.turns: asyncio.Lock = asyncio.Lock()
        self._opened_at = caller()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: two would close one descriptor."""
        raise TypeError(f"open file {self._name!r} cannot be copied or pickled: send its path and its file system")

    async def forsake(self) -> None:
        """Let go, as the file system is being closed: nothing is published, which `close` then says."""
        if self._closed:
            async with self.turns:
                return  # what was being published then is
        self._forsaken = self._lease is not None
        await self.abort()

    def _closes(self) -> bool:
        """Close, and return whether there is something left to do for it.

        :raises ValueError: if the file system was closed before a file that was being written.
        """
        if self._forsaken:
            reason = "its file system was closed before it, so nothing was published"
            raise ValueError(f"file {self._name!r}, opened at {self._opened_at}: {reason}")
        was_open = not self._closed
        self._closed = True
        return was_open

    async def _release(self) -> None:
        """Let go of everything, however much of that fails; the first failure is raised at the end."""
        stream, session, lease = self._stream, self._session, self._lease
        self._stream = self._session = self._lease = None
        try:
            if stream is not None:
                await stream.aclose()
        finally:
            try:
                if session is not None:
                    await session.abort()
            finally:
                if lease is not None:
                    await lease.release()

    def __del__(self) -> None:
        held = [part for part in (self._stream, self._session, self._lease) if part is not None]
        if self._closed or not held:
            return
        for part in held:
            with suppress(Exception):  # there is nobody left to tell; the store's own expiry does the rest
                part.abandon()
        outcome = "" if self._session is None and self._lease is None else "; what was written is lost"
        message = f"file {self._name!r}, opened at {self._opened_at}, was never closed{outcome}"
        warnings.warn(message, ResourceWarning, stacklevel=2, source=self)


class Dependent(Protocol):
    """What stands on a file system that may be closed under it: an open file, a transaction."""

    async def forsake(self) -> None:
        """Let go, as the file system is being closed."""


class Dependents:
    """Those of a file system, each with the event loop that it is used in."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[Dependent, asyncio.AbstractEventLoop] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Dependents], tuple[()]]:
        """Pickle as none: what is open stays open where it is."""
        return Dependents, ()

    def add(self, dependent: Dependent) -> None:
        """Remember one for as long as somebody else holds it."""
        self._loops[dependent] = home()

    async def forsake(self) -> None:
        """Have all let go, however much of that fails; the first failure is raised at the end."""
        references = self._loops.keyrefs()  # at once, as other threads may add theirs
        dependents = [dependent for reference in references if (dependent := reference()) is not None]
        letting_go = [at_home(self._loops[dependent], dependent.forsake) for dependent in dependents]
        for outcome in await asyncio.gather(*letting_go, return_exceptions=True):
            if outcome is not None:
                raise outcome


def caller() -> str:
    """Return the file and line of the nearest caller outside this package."""
    frame = sys._getframe(1)  # noqa: SLF001 -- the traceback module would read source files, on every open
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
