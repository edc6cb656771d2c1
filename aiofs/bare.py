"""BareDriver: a driver for any system with `open`, `rm` and `ls`, for layers, folders and transactions over it."""

from __future__ import annotations

from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from aiofs.driver import ABSENT, Capabilities, Driver, Entry, Lease, Part, ReadStream, WriteSession, comparable
from aiofs.errors import Conflict, NotFound, Unsupported
from aiofs.kit import Spool, check_match, level_name
from aiofs.locks import LockTable
from aiofs.names import RESERVED, is_reserved
from aiofs.system import describe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable, Iterator, Mapping, Sequence

    from aiofs.system import FileLikeSystem

STEP = 1 << 18
_KEPT = "_aiofs_driver"
"""The attribute of a system that keeps its driver: both are freed together, and the system need not be hashable."""


class BareDriver(Driver):
    """A driver made of three methods. Locks are within the process, versions are made from the bytes."""

    capabilities: Capabilities = Capabilities(conditional=False, listed_sizes=False)

    def __init__(self, system: FileLikeSystem) -> None:
        self._system = system
        self._locks = LockTable()

    def drives(self, system: FileLikeSystem) -> bool:
        """Whether this is the driver of `system` itself, and not of one of which `system` is a copy."""
        return self._system is system

    async def stat(self, path: str) -> Entry:
        """Describe the file, which takes reading it.

        The system's own `stat` refuses reserved names, such as those of journals, so they are described here.
        """
        try:
            with self.keeping(path):
                return await (describe(self._system, path) if is_reserved(path) else self._system.stat(path))
        except FileNotFoundError as error:
            raise NotFound.of(path) from error

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading."""
        entry = await self.stat(path)
        if match is not None and match != entry.version:
            raise Conflict.of(path, "the file was changed meanwhile")
        return BareStream(self, self._system, entry, start, stop)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path. Metadata are refused before, as the system cannot keep them."""
        return BareSession(self, self._system, path, match)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files."""
        there = []
        for path in paths:
            self._locks.refuse(path, leases)
            if match is not None:
                await self.check_match(path, match)
            if await self._exists(path):
                there.append(path)
            elif not missing_ok:
                raise NotFound.of(path)
        if there:
            await self._system.rm(*there)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield names without sizes and versions, as these would take reading every file."""
        last = None
        with self.keeping(prefix):
            async for path in self._system.ls(prefix.rpartition("/")[0]):
                if not path.startswith(prefix):
                    continue
                name = level_name(path, prefix, delimiter)
                if name > after and name != last:
                    last = name
                    yield Entry(name)

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path, among the users of this driver."""
        return self._locks.acquire(path)

    async def _exists(self, path: str) -> bool:
        if not is_reserved(path):
            return await self._system.exists(path)
        try:
            await self.stat(path)
        except NotFound:
            return False
        return True

    async def check_match(self, path: str, match: str) -> None:
        """Raise `AlreadyExists` or `Conflict` unless `match` is the version of the path."""
        try:
            version = (await self.stat(path)).version
        except NotFound:
            version = ABSENT
        check_match(path, match, version)

    @contextmanager
    def keeping(self, path: str) -> Iterator[None]:
        """Say what to do if the system refuses reserved names, as a file system of this package does.

        :raises Unsupported: in the place of its `ValueError`.
        """
        try:
            yield
        except ValueError as error:
            if isinstance(error, OSError) or not is_reserved(path):
                raise
            reason = f"{self} cannot keep the journal of transactions, as it refuses names that begin with {RESERVED!r}"
            raise Unsupported.of(path, f"{reason}: give journal= a file system of the package") from error

    async def aclose(self) -> None:
        """Close the system."""
        await self._system.aclose()

    def identity(self, path: str) -> Hashable:
        """Return the class, its settings and the path: two objects with the same settings may have the same files."""
        settings = {name: value for name, value in vars(self._system).items() if name != _KEPT}
        return type(self._system), tuple((name, comparable(value)) for name, value in settings.items()), path

    def __str__(self) -> str:
        return type(self._system).__name__


def driver_of(system: FileLikeSystem) -> BareDriver:
    """Return the driver of a system: always the same one, so that its locks are shared."""
    kept = vars(system)
    driver: BareDriver = kept.setdefault(_KEPT, BareDriver(system))
    if not driver.drives(system):
        driver = kept[_KEPT] = BareDriver(system)
    return driver


class BareStream(ReadStream):
    """An open file of the system. Seeking back opens it again."""

    def __init__(self, driver: BareDriver, system: FileLikeSystem, entry: Entry, start: int, stop: int | None) -> None:
        self.entry = entry
        self._driver = driver
        self._system = system
        self._start = start
        self._stop = stop
        self._opened = AsyncExitStack()
        self._file: Any = None
        self._position = 0

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        file = self._file
        if file is None or self._position > self._start:
            file = await self._open(again=file is not None)
        while self._position < self._start:
            skipped = await file.read(min(STEP, self._start - self._position))
            if not skipped:
                return b""
            self._position += len(skipped)
        data: bytes = await file.read(max(want, 1) if self._stop is None else min(want, self._stop - self._start))
        self._start += len(data)
        self._position = self._start
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Continue at `start`."""
        self._start, self._stop = start, stop

    async def aclose(self) -> None:
        """Close the file."""
        self._file = None
        await self._opened.aclose()

    async def _open(self, *, again: bool) -> Any:
        await self.aclose()
        path = self.entry.path
        self._file = file = await self._opened.enter_async_context(self._system.open(path, "r"))
        self._position = 0
        if again and (await self._driver.stat(path)).version != self.entry.version:
            raise Conflict.of(path, "the file was changed meanwhile")
        return file


class BareSession(WriteSession):
    """New bytes, kept in a spool until the system's own `open` publishes them."""

    def __init__(self, driver: BareDriver, system: FileLikeSystem, path: str, match: str | None) -> None:
        self._driver = driver
        self._system = system
        self._path = path
        self._match = match
        self._spool = Spool()

    async def write(self, part: Part) -> None:
        """Take the next part."""
        await self._spool.append(part)

    async def commit(self) -> Entry:
        """Write the file. How atomic that is depends on the system."""
        if self._match is not None:
            await self._driver.check_match(self._path, self._match)
        with self._driver.keeping(self._path):
            async with self._system.open(self._path, "w") as file:
                for start in range(0, self._spool.size, STEP):
                    await file.write(await self._spool.read(start, STEP))
        return Entry(self._path, self._spool.size)

    async def abort(self) -> None:
        """Remove the bytes."""
        self._spool.close()
