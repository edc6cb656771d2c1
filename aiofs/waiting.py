"""Waiting for locks: for `wait=` seconds, in a line within this process, and by asking the store again and again.

Calls that wait for the same lock in one process stand in a line. Only the first asks the store. It asks again when a
lock of this name is released in this process, and after pauses, as another process may have released it. The pauses
grow up to `LONGEST_PAUSE`, and are random, so that no process is always too late. A process that asks for a lock that
it has just released waits first, at most as long as it had held the lock. Otherwise other processes would hardly ever
find the lock free.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from aiofs import clock
from aiofs.errors import Conflict, Locked
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from aiofs.driver import Driver, Lease
    from aiofs.lifetimes import Call

T = TypeVar("T")
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
SHORT_HOLD = 0.02
"""A process that held a lock for less than this, in seconds, may ask for it again without a pause."""
_MOST_RECENT = 1000


def check_wait(wait: float) -> None:
    """Raise `TypeError` or `ValueError` unless `wait` is a number of seconds, or 0."""
    if isinstance(wait, bool) or not isinstance(wait, int | float):
        raise TypeError(f"wait={wait!r}: give a number of seconds, or 0")
    if not wait >= 0:
        raise ValueError(f"wait={wait!r}: give a number of seconds, or 0")


class Turn:
    """The place of one call in a line."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._called = asyncio.Event()

    @property
    def dead(self) -> bool:
        """Whether the loop of the call was closed, so that it will never leave the line."""
        return self._loop.is_closed()

    def forget_call(self) -> None:
        """Forget earlier calls: the next `sleep` ends only by a later one."""
        self._called.clear()

    def call(self) -> None:
        """Wake the call, also from another thread."""
        with suppress(RuntimeError):  # its loop was closed
            self._loop.call_soon_threadsafe(self._called.set)

    async def sleep(self, seconds: float) -> None:
        """Sleep until `call`, for at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._called.wait()


class Line:
    """The calls that wait in this process for one lock, in the order in which they came."""

    def __init__(self, keeper: object) -> None:
        self.keeper = keeper
        self._turns: deque[Turn] = deque()

    def enter(self) -> Turn:
        """Stand at the end of the line."""
        turn = Turn()
        self._turns.append(turn)
        return turn

    def is_first(self, turn: Turn) -> bool:
        """Whether `turn` is at the head of the line."""
        while (first := self._turns[0]).dead:
            self._turns.remove(first)
        return first is turn

    def leave(self, turn: Turn) -> bool:
        """Leave the line, and wake the next call; return whether the line is empty."""
        self._turns.remove(turn)
        self.call()
        return not self._turns

    def call(self) -> None:
        """Wake the first call."""
        with suppress(IndexError):
            self._turns[0].call()


_lines: dict[str, list[Line]] = {}
"""The lines, by the name of the lock. Stores that have a lock of the same name have a line each."""
_taken: WeakKeyDictionary[Lease, tuple[int, str, float]] = WeakKeyDictionary()
"""Locks that a `Waiter` was granted: the store that keeps the lock, its name, and when it was granted."""
_recent: dict[tuple[int, str], tuple[float, float]] = {}
"""When such a lock was released, and for how long it had been held."""

if hasattr(os, "register_at_fork"):
    for _kept in (_lines, _taken, _recent):
        os.register_at_fork(after_in_child=_kept.clear)  # calls that wait in the parent never leave a line here


def released(lease: Lease) -> None:
    """Wake the calls that wait for this lock in this process. Call this after each release."""
    if _lines:
        for line in _lines.get(lease.path, ()):
            line.call()
    if _taken and (taken := _taken.pop(lease, None)) is not None:
        keeper, name, since = taken
        now = clock.monotonic()
        if len(_recent) >= _MOST_RECENT:
            _recent.clear()
        _recent[keeper, name] = (now, now - since)


async def give_back(lease: Lease) -> None:
    """Release a lease, even if the caller is cancelled, and wake the calls that wait for it."""
    try:
        await finish(lease.release())
    finally:
        released(lease)


class Waiter:
    """One call that waits for locks, for at most `wait` seconds in all."""

    def __init__(self, wait: float, call: Call, check_open: Callable[[], None]) -> None:
        self._wait = wait
        self._deadline = clock.monotonic() + wait
        self._pause = SHORTEST_PAUSE / 4
        self._call = call
        self._check_open = check_open
        self.waited: bool = False
        """Whether the call has slept. A caller may set it back."""

    @property
    def left(self) -> float:
        """How many seconds are left; not more than 0 if the time is up."""
        return self._deadline - clock.monotonic()

    async def lock(self, driver: Driver, path: str) -> Lease:
        """Lock the path as soon as it is free.

        :raises Locked: if it was not free before the time was up; the error says who has it.
        """
        keeper, name = driver.keeper_of(path)
        line = _line(keeper, name)
        turn = line.enter()
        try:
            while not line.is_first(turn) and self.left > 0:
                turn.forget_call()
                await self._sleep(turn, LONGEST_PAUSE)
            await self._let_others_first(turn, (id(keeper), name))
            lease = await self._ask(driver, path, turn)
        finally:
            if line.leave(turn):
                _forget(line, name)
        _taken[lease] = (id(keeper), name, clock.monotonic())
        return lease

    @asynccontextmanager
    async def locks(self, driver: Driver, paths: Iterable[str]) -> AsyncIterator[list[Lease]]:
        """Hold the locks of all paths. They are taken in sorted order, so that two calls never wait for each other."""
        async with AsyncExitStack() as held:
            leases = []
            for path in sorted(paths):
                leases.append(await self.lock(driver, path))
                held.push_async_callback(give_back, leases[-1])
            yield leases

    async def delete(self, driver: Driver, paths: Sequence[str], *, missing_ok: bool) -> None:
        """Remove the files as soon as none of them is locked. Lock only those whose removal was refused."""
        refused: set[str] = set()
        while True:
            async with self.locks(driver, refused) as leases:
                try:
                    await finish(driver.delete(paths, leases=leases, missing_ok=missing_ok))
                except Locked as error:
                    path = error.filename
                    if path not in paths or path in refused:
                        raise
                    if self.left <= 0:
                        raise self._time_is_up(error, path) from error
                    refused.add(path)
                else:
                    return

    async def pause(self) -> None:
        """Sleep for a short random time, longer each time, as others may be about to write too."""
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        await self._sleep(Turn(), clock.up_to(self._pause))

    def too_late(self, path: str) -> Locked:
        """Return the error for a file that others changed at each attempt until the time was up."""
        return Locked.of(path, f"others changed this file at each attempt, and wait={self._wait:g} seconds were over")

    async def _ask(self, driver: Driver, path: str, turn: Turn) -> Lease:
        pause = SHORTEST_PAUSE
        while True:
            turn.forget_call()
            try:
                return await driver.lock(path)
            except Locked as error:
                if self.left <= 0:
                    raise self._time_is_up(error, path) from error.__cause__
            await self._sleep(turn, pause / 2 + clock.up_to(pause / 2))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _let_others_first(self, turn: Turn, key: tuple[int, str]) -> None:
        """Pause if this process has just released the lock."""
        when, held = _recent.pop(key, (0.0, 0.0))
        if held >= SHORT_HOLD and clock.monotonic() - when < LONGEST_PAUSE:
            turn.forget_call()
            await self._sleep(turn, clock.up_to(min(held, LONGEST_PAUSE)))

    async def _sleep(self, turn: Turn, seconds: float) -> None:
        """Sleep. If the file system is closed meanwhile, closing does not wait for this call."""
        self.waited = True
        self._call.pause()
        try:
            await turn.sleep(max(0.0, min(seconds, self.left)))
        finally:
            self._call.go_on()
        self._check_open()

    def _time_is_up(self, error: Locked, path: str) -> Locked:
        if not self._wait:
            return error
        late = Locked.of(path, f"{error.strerror}, and {self._wait:g} seconds of waiting were not enough")
        late.holder, late.since = error.holder, error.since
        return late


async def until_free(attempt: Callable[[], Awaitable[T]], wait: float) -> T:
    """Return what `attempt` returns. Call it again as long as a system of three methods raises `BlockingIOError`.

    :raises BlockingIOError: the last one, when `wait` seconds have passed.
    """
    check_wait(wait)
    deadline, pause = clock.monotonic() + wait, SHORTEST_PAUSE
    while True:
        try:
            return await attempt()
        except BlockingIOError as error:
            left = deadline - clock.monotonic()
            if isinstance(error, Conflict) or left <= 0:
                raise
        await asyncio.sleep(min(left, pause / 2 + clock.up_to(pause / 2)))
        pause = min(2 * pause, LONGEST_PAUSE)


def _line(keeper: object, name: str) -> Line:
    lines = _lines.setdefault(name, [])
    for line in lines:
        if line.keeper is keeper:
            return line
    line = Line(keeper)
    lines.append(line)
    return line


def _forget(line: Line, name: str) -> None:
    lines = _lines.get(name, [])
    with suppress(ValueError):
        lines.remove(line)
    if not lines:
        _lines.pop(name, None)
