"""LoopThread: the one event loop of blocking code, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from aiofs.lifetimes import held_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from aiofs.files.handle import Handle

T = TypeVar("T")
LONGEST_END = 10.0
"""How many seconds the end of the loop waits for calls, files and clients to end."""
_STARTS_AT_ONCE: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
_TICK = 0.2 if sys.platform == "win32" else -1
"""How many seconds one wait may take: only on Windows does a longer one keep Ctrl-C waiting."""


class BlockingCall(Generic[T]):
    """One coroutine that runs in the loop while a thread waits for it."""

    __slots__ = ("_coroutine", "_done", "_ended", "_error", "_loop_thread", "_result", "_task")

    _result: T

    def __init__(self, thread: LoopThread, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop_thread = thread
        self._coroutine = coroutine
        self._ended = threading.Lock()
        self._ended.acquire()
        self._done = False
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    def wait(self) -> T:
        """Run the coroutine, wait until it has ended, and return what it returns.

        An exception of a signal handler, such as `KeyboardInterrupt`, cancels the coroutine, and is raised when the
        coroutine has ended. A second one is raised at once.
        """
        try:
            self._loop_thread.post(self._start)
            self._sleep()
        except BaseException:
            self._give_up()
            raise
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # whose traceback has this frame

    def _sleep(self) -> None:
        while not self._done and not self._ended.acquire(timeout=_TICK):
            pass

    def _start(self) -> None:
        """On the loop: begin."""
        if self._loop_thread.ending:
            self._error = self._loop_thread.over()
            self._coroutine.close()
            self._finish()
        else:
            self._task = asyncio.Task(self._run(), loop=self._loop_thread.loop, **_STARTS_AT_ONCE)

    async def _run(self) -> None:
        try:
            self._result = await self._coroutine
        except asyncio.CancelledError:
            self._error = self._loop_thread.over()
        except BaseException as error:  # noqa: BLE001 -- it is raised in the thread that waits, and must not end the loop
            self._error = error
        finally:
            self._finish()

    def _finish(self) -> None:
        self._done = True
        self._ended.release()

    def _give_up(self) -> None:
        """Cancel the coroutine and wait until it has ended."""
        if self._done:
            return
        cancelling = BlockingCall(self._loop_thread, self._cancel())
        with suppress(RuntimeError):  # the loop has ended, and the coroutine with it
            self._loop_thread.post(cancelling._start)
            cancelling._sleep()

    async def _cancel(self) -> None:
        """On the loop, where `_start` came before this if it ever comes."""
        if self._task is None:
            self._coroutine.close()
        elif not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


class LoopThread:
    """An event loop that runs in a thread until the interpreter ends, or `end`."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.files: WeakSet[Handle] = WeakSet()
        """The files that are open in the loop."""
        self.listings: WeakSet[AsyncIterator[Any]] = WeakSet()
        """The listings that are read in the loop."""
        self.ending: bool = False
        self.inherited: bool = False
        """Whether this is a forked child, and the loop runs only in its parent."""
        self._thread = threading.Thread(target=self.loop.run_forever, name="aiofs-blocking", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine in the loop, wait for it, and return what it returns. The caller's context applies.

        :raises RuntimeError: in the thread of the loop, which would wait for itself.
        :raises ValueError: if the loop has ended.
        """
        if self.ending or threading.get_ident() == self._thread.ident:
            coroutine.close()
            self.check_thread()
            raise self.over()
        with held_up():
            return BlockingCall(self, coroutine).wait()

    def check_thread(self) -> None:
        """Raise `RuntimeError` in the thread of the loop, where a blocking call would wait for itself."""
        if threading.get_ident() == self._thread.ident:
            reason = "use the asynchronous file system, or call from another thread"
            raise RuntimeError(f"a blocking call in the event loop of aiofs.blocking would wait for itself: {reason}")

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run the coroutine without waiting for it, if the loop still runs. For finalizers: it takes no lock."""
        try:
            self.post(lambda: BlockingCall(self, coroutine)._start())  # noqa: SLF001 -- of this module
        except RuntimeError:
            coroutine.close()

    def post(self, call: Any) -> None:
        """Have `call` called in the loop, in the context of the caller.

        :raises RuntimeError: if the loop is closed.
        """
        if self.inherited:
            raise RuntimeError("the loop runs only in the parent process")
        self.loop.call_soon_threadsafe(call)

    def over(self) -> ValueError:
        """Return the error for a call after the loop has ended."""
        if self.inherited:
            return ValueError("the file was opened before the process was forked: only the parent process can use it")
        return ValueError(
            "aiofs.blocking was shut down, which ended calls that were under way and aborted files that were open"
        )

    def end(self) -> None:
        """Abort the open files, cancel calls, close the clients of file systems, and end the thread."""
        with suppress(ValueError):
            self.run(self._settle())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _settle(self) -> None:
        """Leave nothing open in the loop, within `LONGEST_END`."""
        self.ending = True
        mine = asyncio.current_task()
        # Calls that are about to begin do so, as only a call that has begun ends when it is cancelled.
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_END):
                for task in asyncio.all_tasks() - {mine}:
                    task.cancel()
                await self._others()
                await asyncio.gather(*[file.leave() for file in self.files], return_exceptions=True)
                await asyncio.gather(*[end_listing(listing) for listing in self.listings], return_exceptions=True)
                while await self._others():
                    pass  # what listings read from ends in tasks of its own, one after another
                await self.loop.shutdown_asyncgens()  # which closes the clients of this loop
                await self.loop.shutdown_default_executor()

    async def _others(self) -> bool:
        """Wait for all other tasks of the loop, and return whether there were any."""
        for _ in range(2):
            await asyncio.sleep(0)  # tasks that are about to begin do so
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
        return bool(others)


async def end_listing(listing: AsyncIterator[Any]) -> None:
    """End what an `async for` did not read to its end."""
    if isinstance(listing, AsyncGenerator):
        await listing.aclose()


class LastLoop(LoopThread):
    """The loop for calls that come after `atexit` ended the thread: no thread can be started any more.

    It runs in the thread of the caller, while that waits, and ends when no file and no listing is open in it.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.files: WeakSet[Handle] = WeakSet()
        self.listings: WeakSet[AsyncIterator[Any]] = WeakSet()
        self.ending: bool = False
        self.inherited: bool = False
        self._turn = threading.RLock()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine in this thread.

        :raises RuntimeError: when the interpreter has taken its modules apart.
        """
        if getattr(sys, "meta_path", None) is None:
            coroutine.close()
            reason = "nothing was read or written; do it earlier, in a function given to atexit.register()"
            raise RuntimeError(f"the interpreter has ended and removed its modules: {reason}")
        with self._turn:
            if self.loop.is_closed():
                self.loop = asyncio.new_event_loop()
            try:
                return self.loop.run_until_complete(coroutine)
            finally:
                if not self.files and not self.listings:
                    self.loop.run_until_complete(self.loop.shutdown_asyncgens())
                    self.loop.close()

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run the coroutine, unless the loop runs already."""
        with suppress(RuntimeError):
            self.run(coroutine)
        coroutine.close()

    def check_thread(self) -> None:
        """Do nothing: the caller runs the loop."""

    def end(self) -> None:
        """Do nothing: the loop ends by itself."""


_starting = threading.Lock()
_exiting = False
_current: LoopThread | None = None
_left_to_parents: list[LoopThread] = []  # closing their loops would take the parent's descriptors out of its epoll


def loop_thread() -> LoopThread:
    """Return the loop of blocking code in this process. It is started when it is first needed."""
    global _current  # noqa: PLW0603 -- the module's only state
    thread = _current
    if thread is None:
        with _starting:
            thread = _current = _current or (LastLoop() if _exiting else LoopThread())
    return thread


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the loop of blocking code, wait for it, and return what it returns.

    Use it for anything that has no blocking verb: `aiofs.blocking.run(repository.put(thing))`.

    :raises RuntimeError: in the thread of that loop, which would wait for itself.
    """
    return loop_thread().run(coroutine)


def shutdown() -> None:
    """End the loop of blocking code and its thread; the next call starts new ones. Harmless when done twice.

    Open files are aborted, calls of other threads are cancelled, and connections are closed. The end of the interpreter
    does this by itself. Call it before a fork: Python 3.12 and later warn if a process with threads forks.
    """
    global _current
    if _current is not None:
        _current.check_thread()
    with _starting:
        thread, _current = _current, None
    if thread is not None:
        thread.end()


@atexit.register
def finish() -> None:
    """Shut down when the interpreter ends. Functions that `atexit` calls later may still use files."""
    global _exiting  # noqa: PLW0603 -- the module's only state
    _exiting = True
    shutdown()


def _forget_thread() -> None:
    """In a forked child: the loop, its thread and the files that are open there are the parent's."""
    global _current, _starting  # noqa: PLW0603 -- the module's only state
    _starting = threading.Lock()
    if _current is not None:
        thread, _current = _current, None
        thread.ending = thread.inherited = True
        for file in list(thread.files):
            file.leave_to_parent()
        _left_to_parents.append(thread)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_thread)
