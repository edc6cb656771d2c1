"""The kit: what authors of backends and layers share, beside the driver's own classes.

- `check_match` decides whether a write may replace what is there.
- `BytesStream` reads bytes that are in memory already, and `whole_part` fills parts from any stream.
- `copy_file` and `move_file` let the store copy and rename if it can; else `copy_through` and `pour` do it through
  this process.
- `folded` and `level_name` fold names into folders, for a store that only knows names.
- `together`, `each`, `failures_of`, `results` and `lanes` make requests at the same time, a bounded number of them.
- `Uploads` sends the parts of one file at the same time.
- `store_url`, with the settings `without_defaults` and the `keeper_url` of another store, makes the URL of a store.
- `own_lease` refuses a lease of another store.
- `is_locked` looks whether somebody has a lock, for what sweeps.
- `unknown_format` is the error for what a newer version of aiofs wrote.
- `EndedSession` is what `Driver.resume` returns for a session that was already committed or aborted.
- `Spool` keeps bytes in memory, and from some MiB on in a temporary file.

Locks that a store grants for a time are `aiofs.locks.RenewedLease`, and locks within a process `aiofs.locks.LockTable`;
`aiofs.locks.granted` gives back what a cancelled call was granted. `aiofs.lifetimes` has one client for each event loop
(`PerLoop`) and clean-up that a cancellation does not cut short (`finish`). docs/write-a-backend.md shows all of them.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterable, Mapping
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from aiofs.driver import ABSENT, Entry, ReadStream, WriteSession
from aiofs.errors import AlreadyExists, Conflict, Damaged, Locked, Unsupported, place
from aiofs.lifetimes import finish
from aiofs.powers import ChecksRemoval, Copies, HasAddress, Moves
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence

    from aiofs.driver import Driver, Lease, Part

T = TypeVar("T")
R = TypeVar("R")
AnyLease = TypeVar("AnyLease", bound="Lease")

AT_ONCE = 16
"""How many requests `each` and `results` make at the same time."""


def check_match(path: str, match: str | None, version: str | None) -> None:
    """Raise unless a write that gave `match` may replace what is there.

    `version` is the file's version, and `None` (or `ABSENT`) if there is no file.

    :raises AlreadyExists: if there must be no file and there is one.
    :raises Conflict: if the version is another one.
    """
    if match is None or match == (version or ABSENT):
        return
    if match == ABSENT:
        raise AlreadyExists.of(path)
    raise Conflict.of(path, "the file was changed meanwhile")


class BytesStream(ReadStream):
    """The bytes of one version, which are all in memory."""

    def __init__(self, entry: Entry, data: bytes, start: int = 0, stop: int | None = None) -> None:
        self.entry: Entry = entry
        self._data = data
        self._start = start
        self._stop = stop

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes, without copying them if they are the whole file."""
        start = self._start
        stop = min(start + max(want, 1), len(self._data) if self._stop is None else self._stop)
        data = self._data if start == 0 and stop >= len(self._data) else self._data[start:stop]
        self._start += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Continue at `start`."""
        self._start, self._stop = start, stop

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""


def level_name(path: str, prefix: str, delimiter: str | None) -> str:
    """Return what a listing shows for `path`: the path, or the folder behind `prefix` that it is in."""
    end = path.find(delimiter, len(prefix)) + 1 if delimiter else 0
    return path[:end] if end else path


def folded(entries: Iterable[Entry], prefix: str, after: str, delimiter: str | None) -> Iterator[Entry]:
    """Yield what `Driver.list` yields, from entries of files that begin with `prefix` and are in order.

    Files below a folder become one entry of the folder.
    """
    last = None
    for entry in entries:
        name = level_name(entry.path, prefix, delimiter)
        if name > after and name != last:
            last = name
            yield entry if name == entry.path else Entry(name)


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """Await all of `work` at the same time, and return what they return, in their order.

    If some fail, this raises the error of the first of them in this order, but only when all have ended.
    """
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


async def each(items: Iterable[T], work: Callable[[T], Awaitable[object]], *, all_of_them: bool = False) -> None:
    """Do the work for all items, `AT_ONCE` at a time, and raise the first failure when all that were begun have ended.

    After a failure no other item is begun, except with `all_of_them`.
    """
    failures = await failures_of(list(items), work, all_of_them=all_of_them)
    if failures:
        raise next(iter(failures.values()))


async def failures_of(
    items: Sequence[T], work: Callable[[T], Awaitable[object]], at_once: int = AT_ONCE, *, all_of_them: bool = False
) -> dict[int, Exception]:
    """Do the work for all items as `each` does, and return what failed, by the number of its item."""
    left = enumerate(items)
    failures: dict[int, Exception] = {}

    async def worker() -> None:
        for number, item in left:
            if failures and not all_of_them:
                return
            try:
                await work(item)
            except Exception as error:  # noqa: BLE001 -- the caller raises it when all have ended
                failures[number] = error

    if len(items) == 1:
        await worker()
    else:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(items))):
                group.create_task(worker())
    return failures


async def results(
    items: Iterable[T] | AsyncIterable[T], work: Callable[[T], Awaitable[R]], at_once: int = AT_ONCE
) -> AsyncGenerator[R]:
    """Yield what the work returns for each item, in any order, `at_once` at a time. A failure ends all of it.

    No more results than that are kept, and no more items taken, before the caller asks for the next result. At the end
    what is under way is cancelled, and `items` is closed if it is an asynchronous generator.
    """
    running: set[asyncio.Future[R]] = set()
    source = aiter(items) if isinstance(items, AsyncIterable) else _one_by_one(items)
    try:
        async for item in source:
            running.add(asyncio.ensure_future(work(item)))
            if len(running) == at_once:
                yield await _first(running)
        while running:
            yield await _first(running)
    finally:
        await finish(_cancelled(running))
        if inspect.isasyncgen(source):
            await finish(source.aclose())


async def _one_by_one(items: Iterable[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item


async def _first(running: set[asyncio.Future[R]]) -> R:
    """Wait for one, and take it out of those that are running."""
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    first = done.pop()
    running.discard(first)
    return first.result()


async def _cancelled(running: set[asyncio.Future[R]]) -> None:
    for future in running:
        future.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def store_url(scheme: str, place: str, path: str, settings: Mapping[str, object]) -> str:
    """Return a URL as `connect` reads it, with the settings that are not `None`."""
    given = {name: _setting(value) for name, value in settings.items() if value is not None}
    return f"{scheme}://{place}{quote(path)}{'?' if given else ''}{urlencode(given)}"


def without_defaults(settings: Mapping[str, object], defaults: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that differ from their defaults."""
    return {name: value for name, value in settings.items() if value != defaults.get(name)}


def keeper_url(keeper: Driver) -> str:
    """Return the URL of a store that another one needs, for its locks for instance.

    :raises Unsupported: if it has none.
    """
    has = keeper.offers(HasAddress)
    if has is None:
        raise Unsupported.of(None, f"{keeper} has no URL")
    return has.address("")


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={meaning}" for name, meaning in value.items())
    return value if isinstance(value, str) else ",".join(value) if isinstance(value, list) else str(value)


def lanes(at_once: int) -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
    """Return two semaphores, for ordinary and for urgent requests; together they allow `at_once` requests.

    Renewals of locks are urgent: a renewal that waits behind thousands of requests would come too late.
    """
    urgent = max(1, at_once // 5)
    ordinary = asyncio.Semaphore(max(1, at_once - urgent))
    return ordinary, asyncio.Semaphore(urgent) if at_once > 1 else ordinary


async def copy_through(driver: Driver, source: str, target: str, lease: Lease, match: str | None = None) -> Entry:
    """Copy the file `source` to `target`, locked by `lease`, through this process; `match` is about `target`."""
    stream = await driver.read(source)
    try:
        metadata = stream.entry.kept(driver.capabilities)
        session = await driver.begin(target, lease, match=match, metadata=metadata)
        return await pour(stream, session, driver.part_size, lease)
    finally:
        await finish(stream.aclose())


async def copy_file(driver: Driver, source: str, target: str, lease: Lease, match: str | None = None) -> Entry:
    """Make the file `target`, which `lease` is for, the same as `source`; `match` is about `target`."""
    copies = driver.offers(Copies)
    if copies is not None:
        return await copies.copy(source, target, lease, match=match)
    return await copy_through(driver, source, target, lease, match)


async def move_file(
    driver: Driver, source: str, target: str, leases: tuple[Lease, Lease], match: str | None = None
) -> Entry:
    """Give the file the name `target`; the leases are for both names, and `match` is about `target`.

    A store that renames by itself compares no version, so with `match` the file is copied, and then removed. Only the
    version that was there before the copy is removed, as not everybody who writes there heeds our locks.

    :raises Conflict: if somebody changed `source` meanwhile. Both files stay; `target` has old or new bytes.
    """
    moves = driver.offers(Moves) if match is None else None
    if moves is not None:
        return await moves.move(source, target, leases)
    checks = driver.offers(ChecksRemoval)
    if checks is not None:
        await checks.check_may_remove(source)
    version = (await driver.stat(source)).version if driver.capabilities.conditional else None
    entry = await copy_file(driver, source, target, leases[1], match)
    # A removal that reached the store late, after the lock was released, could remove what others wrote since.
    await finish(driver.delete([source], leases=[leases[0]], match=version))
    return entry


async def pour(
    stream: ReadStream,
    session: WriteSession,
    part_size: int,
    lease: Lease,
    on_part: Callable[[int], Awaitable[object]] | None = None,
) -> Entry:
    """Write all of a stream, which is at its start, and publish it.

    After each part `on_part` gets the number of bytes that were written.

    :raises Damaged: if the stream ends before the size that its entry promises.
    :raises Conflict: if the lease was lost meanwhile.
    """
    try:
        size, parts = 0, _Parts(stream, part_size)
        while part := await parts.next():
            await session.write(part)
            size += len(part)
            if on_part is not None:
                await on_part(size)
        if size != (stream.entry.size or size):
            raise Damaged.of(stream.entry.path, f"the bytes end after {size} of {stream.entry.size}")
        check_lease(lease, lease.path)
        return await session.commit()
    finally:
        await finish(session.abort())


class _Parts:
    """The bytes of a stream in parts of `size`, whatever it gives at a time: another store's parts have other sizes."""

    def __init__(self, stream: ReadStream, size: int) -> None:
        self._stream = stream
        self._size = size
        self._held = b""
        self._at = 0

    async def next(self) -> bytes:
        """Return the next part; only the last one is shorter. An error that names no file gets the stream's name."""
        if len(self._held) - self._at < self._size:
            await self._fetch()
        self._at += self._size
        return self._held[self._at - self._size : self._at]

    async def _fetch(self) -> None:
        rest = self._held[self._at :]
        pieces, missing = [rest] if rest else [], self._size - len(rest)
        try:
            while missing > 0 and (piece := await self._stream.chunk(missing)):
                pieces.append(piece)
                missing -= len(piece)
        except OSError as error:
            place(error, self._stream.entry.path)
            raise
        self._held, self._at = pieces[0] if len(pieces) == 1 else b"".join(pieces), 0


def check_lease(lease: Lease, path: str) -> None:
    """Raise `Conflict` if the lease, under which `path` is to be published, was lost."""
    if lease.lost:
        raise Conflict.of(path, "the lock on this file was lost before it was published; nothing was overwritten")


async def is_locked(asking: Awaitable[Lease]) -> bool:
    """Whether somebody has the lock that `asking`, as `driver.lock(path)`, asks for. If it is free, it stays free."""
    try:
        lease = await asking
    except Locked:
        return True
    await finish(lease.release())
    return False


def unknown_format(path: str | None, what: str, number: object, *known: object) -> Unsupported:
    """Return the error for `what`, which has a format that this version of aiofs does not know."""
    formats = " and ".join(map(str, known))
    return Unsupported.of(
        path, f"{what} has format {number}, and this version of aiofs knows {formats}: use the version that wrote it"
    )


def own_lease(lease: Lease, kind: type[AnyLease]) -> AnyLease:
    """Return the lease as the `kind` that this store's `lock` returns.

    :raises TypeError: if it is another store's.
    """
    if not isinstance(lease, kind):
        raise TypeError(f"give a lease that this store's lock() returned, not a {type(lease).__name__}")
    return lease


async def whole_part(stream: ReadStream, size: int) -> bytes:
    """Return the next `size` bytes of a stream, fewer only at its end."""
    pieces: list[bytes] = []
    while size > 0 and (piece := await stream.chunk(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def quiet_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start `work` as a task. If it fails and nobody awaits it, asyncio prints no warning."""
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
        task = quiet_task(upload)
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


MEMORY_LIMIT = 8 << 20


class Spool:
    """A store of bytes that only grows at its end; beyond `limit` bytes it lives in an unnamed temporary file."""

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self._limit = limit
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size: int = 0

    async def append(self, data: Part) -> None:
        """Put `data` at the end.

        :raises OSError: if the disk that holds temporary files is full.
        """
        if self._file is None and self.size + len(data) <= self._limit:
            self._memory += data
        else:
            await hop(self._spill, data)
        self.size += len(data)

    async def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`, fewer only at the end."""
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + size])
        return await hop(self._fetch, start, size)

    def close(self) -> None:
        """Give the memory and the disk space back. Harmless when done twice."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()  # its handle was never closed, and warns of that

    def _spill(self, data: Part) -> None:
        try:
            if self._file is None:
                self._file = _file_with(self._memory)
                self._memory = bytearray()
            self._file.seek(self.size)
            _write_all(self._file, data)
        except OSError as error:
            error.filename = error.filename or tempfile.gettempdir()  # the file has no name, so the folder is named
            raise

    def _fetch(self, start: int, size: int) -> bytes:
        assert self._file is not None  # noqa: S101 -- only called once it spilled
        self._file.seek(start)
        pieces = []
        while size and (piece := self._file.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _file_with(data: Part) -> IO[bytes]:
    """Return a new unnamed file that holds `data`."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 -- it is returned
    try:
        _write_all(file, data)
    except BaseException:
        file.close()
        raise
    return file


def _write_all(file: IO[bytes], data: Part) -> None:
    """Write all of `data` to an unbuffered file, which may take only some of it at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
