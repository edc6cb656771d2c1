"""The thread hop: blocking calls off the loop, and nothing lost when the caller is cancelled.

The workers are this package's own and leaner than an executor: finished calls go back to their loop in bundles, one
wake-up for all that are ready. They are daemons, so that a call that never ends cannot keep the interpreter alive.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import deque
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LIMIT = 16
"""Calls at work at once; more only take the processor from each other."""


async def hop(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call `function` in a worker thread and return what it returns.

    Cancelled meanwhile, it waits for the call to end before it raises: nothing in flight outlives the await.
    """
    call = launch(function, *args)
    try:
        return await call.future
    except asyncio.CancelledError as cancelled:
        await call.landing()
        raise cancelled from call.error


async def hop_or_discard(discard: Callable[[T], object], function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call `function` in a worker thread and return what it makes.

    Cancelled meanwhile, it raises at once, and what the call makes later is given to `discard` in the worker.
    """
    call = launch(function, *args)
    made = call.future
    try:
        return await made
    except asyncio.CancelledError:
        if made.cancelled():
            call.abandon(discard)
        elif made.exception() is None:  # it had ended, and the cancellation came before the news
            launch(discard, made.result())
        raise


def launch(function: Callable[[*Ts], T], *args: *Ts, landed: Callable[[], object] | None = None) -> Call[T]:
    """Start `function` in a worker thread; `landed` is called on the loop when it has ended, awaited or not."""
    loop = asyncio.get_running_loop()
    call = Call(loop, _homeward(loop), function, args, landed)
    _workers.put(call)
    return call


@contextmanager
def aside() -> Iterator[None]:
    """In a worker: what follows may block for as long as it likes, so another worker may take this one's place."""
    _workers.grow()
    try:
        yield
    finally:
        _workers.shrink()


class Call(Generic[T]):
    """One function on its way through a worker and back to the loop that asked."""

    __slots__ = (
        *("_after", "_args", "_discard", "_function", "_home", "_loop", "_made", "_over"),
        *("error", "future", "landed"),
    )

    _made: T

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        home: Homeward,
        function: Callable[..., T],
        args: tuple[Any, ...],
        after: Callable[[], object] | None,
    ) -> None:
        self.future: asyncio.Future[T] = loop.create_future()
        self.landed: bool = False
        self.error: BaseException | None = None
        self._loop = loop
        self._home = home
        self._function = function
        self._args = args
        self._after = after
        self._over: asyncio.Future[None] | None = None
        self._discard: Callable[[T], object] | None = None

    def run(self) -> None:
        """Do the work, in a worker."""
        try:
            self._made = self._function(*self._args)
        except StopIteration as error:
            self.error = RuntimeError("a call in a worker raised StopIteration")
            self.error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            self.error = error
        self._throw_away()
        try:
            self._home.send(self, self._loop)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._throw_away()

    def _throw_away(self) -> None:
        """Discard what was made, if nobody wants it."""
        if self._discard is not None and self.error is None:
            self.error = asyncio.CancelledError()
            self._discard(self._made)

    def land(self) -> None:
        """Tell whoever waits, on the loop, and keep nothing of it."""
        self.landed = True
        if self._after is not None:
            self._after()
        if self.error is None:
            if not self.future.done():
                self.future.set_result(self._made)
                del self._made
            elif self._discard is not None:
                launch(self._discard, self._made)
        elif not self.future.done():
            self.future.set_exception(self.error)
        del self.future
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def abandon(self, discard: Callable[[T], object]) -> None:
        """Have what the call makes, or has made and nobody took, given to `discard`."""
        self._discard = discard
        if self.landed and self.error is None:
            launch(discard, self._made)

    async def landing(self) -> None:
        """Wait until the call has ended, without a word about how, and whatever cancels that."""
        while not self.landed:
            self._over = self._loop.create_future()
            with suppress(asyncio.CancelledError):
                await self._over


class Homeward:
    """Finished calls on their way back to one loop."""

    __slots__ = ("_calls", "_woken")

    def __init__(self) -> None:
        self._calls: deque[Call[Any]] = deque()
        self._woken = False

    def send(self, call: Call[Any], loop: asyncio.AbstractEventLoop) -> None:
        """From a worker: have `call` landed on `loop`, which is woken once for all that wait."""
        self._calls.append(call)
        if not self._woken:
            self._woken = True
            loop.call_soon_threadsafe(self._land)

    def _land(self) -> None:
        self._woken = False  # before looking: what is sent from here on wakes the loop again
        calls = self._calls
        while calls:
            calls.popleft().land()


class Workers:
    """Daemon threads that take calls from one queue, started as they are needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: SimpleQueue[Call[Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._spare = 0  # idle threads, less queued calls
        self._aside = 0  # threads that may block for as long as they like
        self._all_home = threading.Condition(self._lock)
        self._ending = False

    def put(self, call: Call[Any]) -> None:
        """Queue `call`, with a new thread where none is free. Raises RuntimeError where no thread can start."""
        with self._lock:
            if self._spare <= 0 and self._threads < self._limit:
                self._start()
            self._spare -= 1
        self._queue.put(call)

    def grow(self) -> None:
        """Let one more thread work, and start it where a call waits for it."""
        with self._lock:
            self._limit += 1
            self._aside += 1
            if self._spare < 0:
                self._start()

    def shrink(self) -> None:
        """Take back one `grow`: the next thread to finish ends if it is one too many."""
        with self._lock:
            self._limit -= 1
            self._aside -= 1

    def finish(self) -> None:
        """Wait, at the interpreter's end, until every call has ended but those that may take for ever."""
        with self._all_home:
            self._ending = True
            self._all_home.wait_for(lambda: self._threads - self._spare <= self._aside)

    def _start(self) -> None:
        threading.Thread(target=self._work, name="aiofs-worker", daemon=True).start()
        self._threads += 1
        self._spare += 1

    def _work(self) -> None:
        queue, lock = self._queue, self._lock
        while True:
            queue.get().run()
            with lock:
                ends = self._threads > self._limit
                if ends:
                    self._threads -= 1
                else:
                    self._spare += 1
                if self._ending:
                    self._all_home.notify_all()
            if ends:
                return


_workers = Workers(LIMIT)
_ways: WeakKeyDictionary[asyncio.AbstractEventLoop, Homeward] = WeakKeyDictionary()


def _homeward(loop: asyncio.AbstractEventLoop) -> Homeward:
    way = _ways.get(loop)
    return way if way is not None else _ways.setdefault(loop, Homeward())


def _forget_threads() -> None:
    """In a forked child: no thread of the parent's has come along."""
    global _workers, _ways  # noqa: PLW0603 - the module's only state
    _workers = Workers(LIMIT)
    _ways = WeakKeyDictionary()


@atexit.register
def _finish() -> None:
    """Cut nothing off when the interpreter ends."""
    _workers.finish()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
