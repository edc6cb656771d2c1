"""FileLikeSystem: the contract of three methods, and what follows from them."""

from __future__ import annotations

import hashlib
import inspect
import operator
import warnings
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from aiofs.driver import ANY, Entry, asked_version, check_position
from aiofs.errors import AlreadyExists, StoreMissing, Unsupported
from aiofs.listing import Listing, Pattern, check_limit, limited, listing, walk_names
from aiofs.modes import parse_mode
from aiofs.names import check_folder, check_path, name_of
from aiofs.sources import pieces_of, write_all
from aiofs.waiting import until_free
from aiofs.wholes import WholeFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from _typeshed import ReadableBuffer

    from aiofs.blocking.systems import BlockingFileSystem
    from aiofs.driver import Layer
    from aiofs.files.handle import FileLike
    from aiofs.filesystem import FileSystem
    from aiofs.locks import HeldLock
    from aiofs.modes import BinaryMode
    from aiofs.names import AnyName
    from aiofs.path import Path
    from aiofs.properties import Properties
    from aiofs.sources import Source

STEP = 1 << 18
WRITE = parse_mode("w")


class FileLikeSystem(WholeFiles, ABC):
    """A set of files under names like `folder/file.bin`. A subclass has `open`, `rm` and `ls`; the rest is here.

    What is derived is right for any three methods, not the fastest for each store: `FileSystem`, over a driver, does
    the same things with fewer requests. `over` puts layers on any system.
    """

    @abstractmethod
    def open(self, path: str, mode: BinaryMode = "r") -> AbstractAsyncContextManager[FileLike]:
        """Return a context manager that gives the open file: for `async with fs.open(path, "w") as f`.

        :raises FileNotFoundError: on entering, if there is no such file and the mode reads.
        :raises BlockingIOError: on entering, if the mode writes and somebody else is writing the file.
        """

    @abstractmethod
    async def rm(self, *paths: str, missing_ok: bool = False) -> None:
        """Remove the files. A subclass may leave `missing_ok` out: it is added.

        :raises FileNotFoundError: naming a path that is not there, unless `missing_ok`.
        """

    @abstractmethod
    def ls(self, path: str = "") -> Listing[str]:
        """List the names of all files below the folder `path`, at all levels, in the order of UTF-8 bytes.

        `async for name in fs.ls()` streams them, `await fs.ls()` returns a list. A subclass may write an async
        generator: it becomes a `Listing` (`aiofs.listing.listing` says so to type checkers). `limit=`, how many
        names are listed at most, is added where a subclass does not take it.
        """

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Complete what a subclass left out of `rm` and `ls`."""
        super().__init_subclass__(**arguments)
        ls, rm = cls.__dict__.get("ls"), cls.__dict__.get("rm")
        if inspect.isasyncgenfunction(ls):
            cls.ls = ls = listing(ls)  # type: ignore[method-assign]
        if ls is not None and not _takes(ls, "limit"):
            cls.ls = _limit_too(ls)  # type: ignore[method-assign]
        if inspect.iscoroutinefunction(rm) and not _takes(rm, "missing_ok"):
            cls.rm = _missing_ok_too(rm)  # type: ignore[method-assign]

    async def stat(self, path: AnyName) -> Entry:
        """Describe the file.

        :raises FileNotFoundError: if there is none.
        """
        return await describe(self, check_path(path))

    async def exists(self, path: AnyName) -> bool:
        """Whether there is a file of this name.

        :raises StoreMissing: if it is the bucket, the container ... that is not there.
        """
        try:
            await self.stat(path)
        except StoreMissing:
            raise
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return False
        return True

    async def is_folder(self, path: AnyName) -> bool:
        """Whether this is a folder: the root `""`, or a name with a file below it. `exists` tells it of files."""
        folder = check_folder(path)
        if not folder:
            return True
        async for _ in self.ls(folder):
            return True
        return False

    async def mkdir(self, path: AnyName, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Check that there can be a folder of this name; make nothing, as folders come with their files.

        `parents` changes nothing: the folders above come with the files, too.

        :raises AlreadyExists: if there is a file of this name, or, unless `exist_ok`, a folder with files in it.
        """
        del parents
        folder = check_folder(path)
        is_folder = await self.is_folder(folder)
        if is_folder and exist_ok:
            return
        if is_folder or await self.exists(folder):
            raise AlreadyExists.of(folder)

    async def touch(self, path: AnyName, *, exist_ok: bool = True, wait: float = 0) -> None:
        """Make an empty file if there is none; one that is there stays as it is, with its time.

        The file is made by exclusive creation, so that it never replaces what somebody writes in the same moment.

        :raises AlreadyExists: if there is a file, unless `exist_ok`.
        :raises BlockingIOError: if there is none, and somebody else is writing it, until `wait` seconds have passed.
        """
        name = check_path(path)
        with suppress(PermissionError):  # a user who may write is not always allowed to look
            if exist_ok and await self.exists(name):
                return
        try:
            async with self._created(name, wait):
                pass
        except FileExistsError:
            if not exist_ok:
                raise

    async def read_bytes(self, path: AnyName, start: int = 0, stop: int | None = None, *, match: str = ANY) -> bytes:
        """Return the bytes of the file from `start` to `stop`, fewer only where it ends.

        :raises ValueError: if `start` or `stop` is less than 0.
        :raises FileNotFoundError: if there is no such file.
        :raises Unsupported: for a `match`: a system of three methods does not compare versions.
        """
        check_range(start, stop)
        path = check_path(path)
        self._refuse_match(path, match)
        async with self.open(path, "r") as file:
            left = start
            while left and (data := await file.read(min(left, STEP))):
                left -= len(data)
            if left:
                return b""
            if stop is None:
                return bytes(await file.read(-1))
            found = bytearray()
            while len(found) < stop - start and (data := await file.read(stop - start - len(found))):
                found += data
            return bytes(found)

    async def write_bytes(
        self,
        path: AnyName,
        data: Source,
        *,
        metadata: Mapping[str, str] | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Entry:
        """Make the bytes of `data` the file's, and return the new entry.

        :raises TypeError: before any I/O, if `data` has no bytes, as a `str` has none.
        :raises BlockingIOError: if somebody else is writing the file, until `wait` seconds have passed.
        :raises Unsupported: for `metadata`, properties and `match`, which a system of three methods does not keep.
        """
        name = check_path(path)
        if match is not ANY or metadata is not None or properties:
            self._refuse_terms(name, metadata, properties, match)
        return Entry(name, await self._write(name, "w", data, wait))

    async def append_bytes(self, path: AnyName, data: Source, *, wait: float = 0, match: str = ANY) -> Entry:
        """Add the bytes of `data` to the end of the file, made if it is missing, and return the new entry.

        :raises TypeError: before any I/O, if `data` has no bytes, as a `str` has none.
        :raises BlockingIOError: if somebody else is writing the file, until `wait` seconds have passed.
        :raises Unsupported: for a `match`: a system of three methods does not compare versions.
        """
        name = check_path(path)
        self._refuse_match(name, match)
        await self._write(name, "a", data, wait)
        return await self.stat(name)

    @overload
    async def update(
        self,
        path: AnyName,
        change: Callable[[bytes], ReadableBuffer | Awaitable[ReadableBuffer]],
        *,
        create: ReadableBuffer | None = None,
        encoding: None = None,
        errors: None = None,
        wait: float = 30,
    ) -> Entry: ...
    @overload
    async def update(
        self,
        path: AnyName,
        change: Callable[[str], str | Awaitable[str]],
        *,
        create: str | None = None,
        encoding: str,
        errors: str | None = None,
        wait: float = 30,
    ) -> Entry: ...
    async def update(
        self,
        path: AnyName,
        change: Callable[[Any], Any],
        *,
        create: Any = None,
        encoding: str | None = None,
        errors: str | None = None,
        wait: float = 30,
    ) -> Entry:
        """Make what `change` returns for the file's bytes its new bytes, without losing what others write meanwhile.

        `change` may be async. It is called again, with the new bytes, if others changed the file meanwhile. If it
        returns the same bytes, nothing is written. For a missing file it gets `create`. With `encoding`, it takes and
        returns text, with its line ends as they are. Metadata and properties stay. Returns the new entry.

        >>> await fs.update("visits", lambda old: b"%d" % (int(old) + 1), create=b"0")

        :raises NotFound: if there is no such file, and no `create`.
        :raises Locked: if `wait` seconds were not enough for all of this; `wait=0` tries once.
        :raises Unsupported: if the store does not compare versions in the step that publishes, as in a system of
            three methods.
        """
        if errors is not None and encoding is None:
            raise ValueError("errors= goes with encoding=, which makes the content text: give both")
        form = None if encoding is None else (encoding, errors or "strict")
        return await self._update(path, change, create, form, wait)

    async def copy(self, source: AnyName, target: AnyName, *, wait: float = 0, match: str = ANY) -> None:
        """Make the file `target` the same as `source`.

        :raises BlockingIOError: if somebody else is writing `target`, until `wait` seconds have passed.
        :raises Unsupported: for a `match`: a system of three methods does not compare versions.
        """
        old_name, new_name = check_path(source), check_path(target)
        self._refuse_match(new_name, match)
        if old_name == new_name:
            await self.stat(old_name)
            return
        await until_free(lambda: self._copy_at_once(old_name, new_name), wait)

    async def move(self, source: AnyName, target: AnyName, *, wait: float = 0, match: str = ANY) -> None:
        """Give the file the name `target`; at every moment it is there under one name at least.

        :raises BlockingIOError: if somebody else is writing `source`, or is writing `target` until `wait` seconds have
            passed.
        :raises Unsupported: for a `match`: a system of three methods does not compare versions.
        """
        source, target = check_path(source), check_path(target)
        self._refuse_match(target, match)
        if source == target:
            await self.stat(source)
            return
        await self.copy(source, target, wait=wait)
        await self.rm(source)

    async def cp(self, source: AnyName, target: AnyName) -> None:
        """Do as `copy`, which this was called in aiofs 1."""
        warnings.warn("cp() of aiofs 1 is copy() now", DeprecationWarning, stacklevel=2)
        await self.copy(source, target)

    async def mv(self, source: AnyName, target: AnyName) -> None:
        """Do as `move`, which this was called in aiofs 1."""
        warnings.warn("mv() of aiofs 1 is move() now", DeprecationWarning, stacklevel=2)
        await self.move(source, target)

    def scan(self, path: AnyName = "", *, limit: int | None = None) -> Listing[Entry]:
        """List as `ls` does, with what the store knows of each file."""
        folder = name_of(path)
        check_limit(limit)
        return Listing(lambda: limited(self._scan(folder), limit), lambda: f"{folder!r} in {self}")

    def glob(self, pattern: str, *, limit: int | None = None) -> Listing[str]:
        """List the files whose whole name matches: `*`, `?` and `[abc]` within a segment, `**` across segments."""
        wanted = Pattern(pattern)
        check_limit(limit)
        return Listing(lambda: limited(self._glob(wanted), limit), lambda: f"{pattern!r} in {self}")

    def walk(self, path: AnyName = "") -> AsyncIterator[tuple[str, list[str], list[str]]]:
        """Yield `(folder, folders in it, files in it)` from `path` downwards, as `os.walk` does."""
        folder = name_of(path)
        return walk_names(self.ls(folder), folder)

    def lock(self, name: AnyName, *, wait: float = 0) -> AbstractAsyncContextManager[HeldLock]:
        """Hold the lock `name` for a block, as `FileSystem.lock` does.

        A system of three methods has no locks in its store, so this excludes only others in this process, and
        `fence` is `None`.
        """
        return self._portable().lock(name, wait=wait)

    def at(self, folder: AnyName) -> FileSystem:
        """Return the folder as a file system of its own. Closing it leaves this one open."""
        return self._portable().at(folder)

    def over(self, *layers: Layer) -> FileSystem:
        """Return a file system with the layers over this one, the last outermost."""
        return self._portable().over(*layers)

    @property
    def blocking(self) -> BlockingFileSystem:
        """The same file system for code without asyncio: its verbs without `await`, and real file objects."""
        from aiofs.blocking.transactions import blocking_over  # noqa: PLC0415 -- loaded when used; it stands on this module

        return blocking_over(self)

    async def aclose(self) -> None:
        """Close what the system holds. Harmless when done twice."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __truediv__(self, name: AnyName) -> Path:
        from aiofs.path import Path  # noqa: PLC0415 -- it stands on this module

        return Path(self, name)

    async def _write(self, path: str, mode: BinaryMode, data: Source, wait: float) -> int:
        """Write all bytes of a source, which is read once the file is open, and return how many they were."""
        pieces_of(data)
        async with self._opened(path, mode, wait) as file:
            return await write_all(file.write, data)

    def _opened(self, path: str, mode: BinaryMode, wait: float) -> AbstractAsyncContextManager[FileLike]:
        if mode == "r+":  # which a system of three methods need not have
            return self._portable().open(path, mode, wait=wait)
        return _when_free(lambda: self.open(path, mode), wait)

    def _created(self, path: str, wait: float) -> AbstractAsyncContextManager[FileLike]:
        """Open a new file, in the mode x, which a system of three methods need not have."""
        return self._portable().open(path, "x", wait=wait)

    async def _copy_at_once(self, source: str, target: str) -> None:
        async with self.open(source, "r") as old, self.open(target, "w") as new:
            while data := await old.read(STEP):
                await new.write(data)

    async def _update(
        self,
        path: AnyName,
        change: Callable[[Any], Any],
        create: object,
        form: tuple[str, str] | None,
        wait: float,
    ) -> Entry:
        reason = f"{self} does not compare versions in the step that publishes, so it cannot be updated"
        raise Unsupported.of(check_path(path), reason)

    def _check_open(self) -> None:
        """Raise `ValueError` if the system was closed, as far as it knows."""

    def _own_path(self, path: str) -> str | None:
        """Return the local path of a file that is a local file, as it is."""
        del path
        return None

    def _refuse_terms(self, path: str, metadata: Mapping[str, str] | None, properties: Properties, match: str) -> None:
        from aiofs.files.opening import terms_of  # noqa: PLC0415 -- it stands on more than this module

        terms_of(self._portable().driver, path, WRITE, metadata, properties, 0, match)

    def _refuse_match(self, path: str, match: str) -> None:
        if match is not ANY:
            asked_version(self._portable().driver, path, match)

    def _portable(self) -> FileSystem:
        from aiofs.bare import driver_of  # noqa: PLC0415 -- they stand on this module
        from aiofs.filesystem import FileSystem  # noqa: PLC0415

        return FileSystem(driver_of(self))

    async def _scan(self, path: str) -> AsyncIterator[Entry]:
        async for name in self.ls(path):
            yield await self.stat(name)

    async def _glob(self, pattern: Pattern) -> AsyncIterator[str]:
        async for name in self.ls(pattern.folder):
            if pattern.matches(name):
                yield name


@asynccontextmanager
async def _when_free(
    opening: Callable[[], AbstractAsyncContextManager[FileLike]], wait: float
) -> AsyncIterator[FileLike]:
    async with AsyncExitStack() as opened:
        yield await until_free(lambda: opened.enter_async_context(opening()), wait)


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _missing_ok_too(rm: Callable[..., Awaitable[None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return `rm` with `missing_ok`: then each path is removed by itself, and those that are not there are left out."""

    @wraps(rm)
    async def removed(self: FileLikeSystem, *paths: str, missing_ok: bool = False) -> None:
        if not missing_ok:
            await rm(self, *paths)
            return
        for path in paths:
            try:
                await rm(self, path)
            except StoreMissing:
                raise
            except FileNotFoundError:
                continue

    return removed


def _limit_too(ls: Callable[..., Listing[str]]) -> Callable[..., Listing[str]]:
    """Return `ls` with `limit`: the listing ends after so many names."""

    @wraps(ls)
    def listed(self: FileLikeSystem, path: str = "", *, limit: int | None = None) -> Listing[str]:
        check_limit(limit)
        names = ls(self, path)
        return names if limit is None else Listing(lambda: limited(names, limit), lambda: f"{path!r} in {self}")

    return listed


async def describe(system: FileLikeSystem, path: str) -> Entry:
    """Describe a file by reading it; its name may be one of the package's own."""
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    async with system.open(path, "r") as file:
        while data := await file.read(STEP):
            digest.update(data)
            size += len(data)
    return Entry(path, size, version=digest.hexdigest())


def check_range(start: int, stop: int | None) -> None:
    """Raise `TypeError`, `ValueError` or `OverflowError` unless the bounds are places in a file."""
    for place in (start, 0 if stop is None else stop):
        operator.index(place)
    if start < 0 or (stop is not None and stop < 0):
        raise ValueError(f"range {start} to {stop}: count from the start of the file")
    check_position(start)
