"""What several backends share: requests at the same time, and parts of a file on their way, so many at most."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiofs.driver import WriteSession
from aiofs.errors import Conflict
from aiofs.shield import finish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterable

    from aiofs.driver import Driver, Entry, Lease, Part, ReadStream

T = TypeVar("T")


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """Return what all of them return, awaited at the same time.

    Raises what the first of them, in their order, raised; but only when all have ended.
    """
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


def lanes(at_once: int) -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
    """Return the turns of ordinary requests, and of urgent ones, `at_once` of both together.

    Locks are renewed in the lane of their own: a renewal that waits behind thousands of requests would come too late.
    """
    urgent = max(1, at_once // 5)
    ordinary = asyncio.Semaphore(max(1, at_once - urgent))
    return ordinary, asyncio.Semaphore(urgent) if at_once > 1 else ordinary


async def carry(driver: Driver, source: str, lease: Lease, match: str | None) -> Entry:
    """Copy a file to the path of the lease through this process, where the store cannot do it by itself."""
    stream = await driver.read(source)
    try:
        metadata = stream.entry.kept(driver.capabilities)
        session = await driver.begin(lease.path, lease, match=match, metadata=metadata)
        return await pour(stream, session, driver.part_size)
    finally:
        await finish(stream.aclose())


async def pour(stream: ReadStream, session: WriteSession, part_size: int) -> Entry:
    """Write and publish what is left of a stream."""
    try:
        while part := await whole_part(stream, part_size):
            await session.write(part)
        return await session.commit()
    finally:
        await finish(session.abort())


async def whole_part(stream: ReadStream, size: int) -> bytes:
    """Return the next `size` bytes of a stream, fewer only at its end."""
    pieces: list[bytes] = []
    while size > 0 and (piece := await stream.chunk(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def looked_at(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start `work` as a task whose failure is not printed as never retrieved: who wants its result asks for it."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


class Uploads(Generic[T]):
    """Up to `width` parts on their way; what they return is kept in the order in which they were started."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._tasks: list[asyncio.Task[T]] = []
        self._under_way: set[asyncio.Task[T]] = set()

    async def start(self, upload: Coroutine[Any, Any, T]) -> None:
        """Start `upload` once there is room for it.

        Raises what an earlier one raised; `upload` is not started then.
        """
        try:
            while len(self._under_way) >= self._width:
                await self._wait(asyncio.FIRST_COMPLETED)
            self._raise_failure()
        except BaseException:
            upload.close()
            raise
        task = looked_at(upload)
        self._tasks.append(task)
        self._under_way.add(task)

    async def results(self) -> list[T]:
        """Return what all of them returned, once they have; raise what the first to fail raised."""
        while self._under_way:
            await self._wait(asyncio.FIRST_COMPLETED)
            self._raise_failure()
        return [task.result() for task in self._tasks]

    async def cancel(self) -> None:
        """Stop all that are under way, and return when they have stopped. Harmless when done twice."""
        self.abandon()
        if self._under_way:
            await finish(self._wait(asyncio.ALL_COMPLETED))

    def abandon(self) -> None:
        """Stop all that are under way without waiting until they have stopped."""
        for task in self._under_way:
            if not task.get_loop().is_closed():
                task.cancel()

    async def _wait(self, when: str) -> None:
        _, self._under_way = await asyncio.wait(self._under_way, return_when=when)

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled():
                failure = task.exception()
                if failure is not None:
                    raise failure


class EndedSession(WriteSession):
    """A prepared session that somebody ended already: ending it again changes nothing."""

    def __init__(self, driver: Driver, path: str) -> None:
        self._driver = driver
        self._path = path

    async def write(self, part: Part) -> None:
        """Refuse: there is nothing left to write to."""
        raise Conflict.of(self._path, f"this write was ended; {len(part)} bytes came too late")

    async def commit(self) -> Entry:
        """Say what is there."""
        return await self._driver.stat(self._path)

    async def abort(self) -> None:
        """Do nothing."""
