"""Thread hops: blocking calls run in worker threads, and nothing is lost when the caller is cancelled.

The workers cost less than those of an executor: one wake-up of the loop delivers all calls that have ended. They are
daemons, so that a call that never ends does not keep the interpreter alive.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections import deque
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from aiofs.lifetimes import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LIMIT = 16
"""How many calls run at the same time; more would only take the processor from each other."""


async def hop(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call `function` in a worker thread and return what it returns.

    If it is cancelled, it waits until the call has ended before it raises: no call outlives the await.
    """
    call = launch(function, *args)
    try:
        return await call.future
    except asyncio.CancelledError as cancelled:
        await call.wait_ended()
        raise cancelled from call.error


async def hop_or_discard(discard: Callable[[T], object], function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call `function` in a worker thread and return what it makes.

    If it is cancelled, it raises at once, and a worker gives what the call makes later to `discard`.
    """
    call = launch(function, *args)
    made = call.future
    try:
        return await made
    except asyncio.CancelledError:
        if made.cancelled():
            call.abandon(discard)
        elif made.exception() is None:  # it had ended, and the cancellation was faster
            launch(discard, made.result())
        raise


def launch(function: Callable[[*Ts], T], *args: *Ts, ended: Callable[[], object] | None = None) -> ThreadCall[T]:
    """Start `function` in a worker thread. When it has ended, `ended` is called on the loop, awaited or not."""
    loop = running_loop()
    call = ThreadCall(loop, _finished_of(loop), function, args, ended)
    if sys.is_finalizing():
        call.run()  # in a `__del__` at the interpreter's end: no other thread runs any more
    else:
        _workers.put(call)
    return call


@contextmanager
def aside() -> Iterator[None]:
    """In a worker: the block may take very long, so another worker takes the place of this one meanwhile."""
    _workers.grow()
    try:
        yield
    finally:
        _workers.shrink()


class ThreadCall(Generic[T]):
    """One call of a function: in a worker, and then back on the loop."""

    __slots__ = (
        *("_after", "_args", "_discard", "_function", "_finished", "_loop", "_made", "_waiting"),
        *("error", "future", "ended"),
    )

    _made: T

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        finished: FinishedCalls,
        function: Callable[..., T],
        args: tuple[Any, ...],
        after: Callable[[], object] | None,
    ) -> None:
        self.future: asyncio.Future[T] = loop.create_future()
        self.ended: bool = False
        self.error: BaseException | None = None
        self._loop = loop
        self._finished = finished
        self._function = function
        self._args = args
        self._after = after
        self._waiting: asyncio.Future[None] | None = None
        self._discard: Callable[[T], object] | None = None

    def run(self) -> None:
        """Call the function, in a worker."""
        try:
            self._made = self._function(*self._args)
        except StopIteration as error:
            self.error = RuntimeError("a call in a worker raised StopIteration")
            self.error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            self.error = error
        self._discard_made()
        try:
            self._finished.send(self, self._loop)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._discard_made()

    def _discard_made(self) -> None:
        """Discard what the function made, if nobody awaits it any more."""
        if self._discard is not None and self.error is None:
            self.error = asyncio.CancelledError()
            self._discard(self._made)

    def deliver(self) -> None:
        """On the loop: give the result to those who await it, and keep no reference to it."""
        self.ended = True
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
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def abandon(self, discard: Callable[[T], object]) -> None:
        """Give what the call makes, or has made, to `discard`, as nobody awaits it any more."""
        self._discard = discard
        if self.ended and self.error is None:
            launch(discard, self._made)

    async def wait_ended(self) -> None:
        """Wait until the call has ended, also through cancellations. Raise nothing."""
        while not self.ended:
            self._waiting = self._loop.create_future()
            with suppress(asyncio.CancelledError):
                await self._waiting


class FinishedCalls:
    """The calls that have ended and are to be delivered on one loop."""

    __slots__ = ("_calls", "_woken")

    def __init__(self) -> None:
        self._calls: deque[ThreadCall[Any]] = deque()
        self._woken = False

    def send(self, call: ThreadCall[Any], loop: asyncio.AbstractEventLoop) -> None:
        """From a worker: have `call` delivered on `loop`, which is woken once for all that wait."""
        self._calls.append(call)
        if not self._woken:
            self._woken = True
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # before the queue is read: a call that is sent from here on wakes the loop again
        calls = self._calls
        while calls:
            calls.popleft().deliver()


class Workers:
    """Daemon threads that take calls from one queue, and are started when they are needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: SimpleQueue[ThreadCall[Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._spare = 0  # idle threads, less queued calls
        self._aside = 0  # threads that may take very long
        self._all_home = threading.Condition(self._lock)
        self._ending = False

    def put(self, call: ThreadCall[Any]) -> None:
        """Queue `call`, and start a thread if none is free.

        :raises RuntimeError: if no thread can be started.
        """
        with self._lock:
            if self._spare <= 0 and self._threads < self._limit:
                self._start()
            self._spare -= 1
        self._queue.put(call)

    def grow(self) -> None:
        """Allow one more thread, and start it if a call waits for one."""
        with self._lock:
            self._limit += 1
            self._aside += 1
            if self._spare < 0:
                self._start()

    def shrink(self) -> None:
        """Allow one thread less: the next one that is free ends if there are too many."""
        with self._lock:
            self._limit -= 1
            self._aside -= 1

    def finish(self) -> None:
        """Wait, when the interpreter ends, until all calls have ended, except those that may take very long."""
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
_finished: WeakKeyDictionary[asyncio.AbstractEventLoop, FinishedCalls] = WeakKeyDictionary()


def _finished_of(loop: asyncio.AbstractEventLoop) -> FinishedCalls:
    finished = _finished.get(loop)
    return finished if finished is not None else _finished.setdefault(loop, FinishedCalls())


def _forget_threads() -> None:
    """In a forked child: it has none of the parent's threads."""
    global _workers, _finished  # noqa: PLW0603 - the module's only state
    _workers = Workers(LIMIT)
    _finished = WeakKeyDictionary()


@atexit.register
def finish_calls() -> None:
    """Wait, when the interpreter ends, until no worker has anything to do."""
    _workers.finish()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
