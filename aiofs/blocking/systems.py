"""The file systems for code without asyncio: each verb calls that of the asynchronous file system, and waits.

No verb is written twice: `awaited` and the other decorators take its parameters and documentation from the asynchronous
class. `tests/blocking/test_same_verbs.py` fails when a class gets a verb that is missing here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from re import sub
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, cast, overload

from aiofs.blocking.files import open_file
from aiofs.blocking.thread import end_listing, loop_thread, run
from aiofs.files.decoding import TextFormat
from aiofs.filesystem import FileSystem
from aiofs.locks import HeldLock
from aiofs.modes import parse_mode
from aiofs.names import name_of
from aiofs.properties import Properties

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path as DiskPath
    from types import TracebackType

    from _typeshed import ReadableBuffer

    from aiofs.blocking.files import BlockingEditor, BlockingReader, BlockingTextFile, BlockingWriter
    from aiofs.driver import Driver, Entry
    from aiofs.modes import EditMode, Mode, PlainMode, ReadMode, TextMode, WriteMode
    from aiofs.names import AnyName

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
Stub = Callable[..., Any]


def awaited(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[[Stub], Callable[Concatenate[Any, P], T]]:
    """Make a stub the blocking twin of a coroutine method: the same parameters, and what awaiting it returns."""
    return _twin(verb, run)


def iterated(
    verb: Callable[Concatenate[Any, P], AsyncIterable[T]], most: int = 1024
) -> Callable[[Stub], Callable[Concatenate[Any, P], BlockingListing[T]]]:
    """Make a stub the blocking twin of a method that lists, for `for` instead of `async for`.

    At most `most` items are fetched ahead.
    """
    return _twin(verb, lambda listing: BlockingListing(listing, most))


def wrapped(
    verb: Callable[Concatenate[Any, P], FileSystem],
) -> Callable[[Stub], Callable[Concatenate[Any, P], BlockingFileSystem]]:
    """Make a stub the blocking twin of a method that returns a file system."""
    return _twin(verb, lambda system: BlockingFileSystem(system))  # noqa: PLW0108 -- the class is not defined yet


def held(
    verb: Callable[Concatenate[Any, P], AbstractAsyncContextManager[HeldLock]],
) -> Callable[[Stub], Callable[Concatenate[Any, P], BlockingLock]]:
    """Make a stub the blocking twin of a method whose `async with` block holds a lock."""
    return _twin(verb, BlockingLock)


def on_disk(
    verb: Callable[Concatenate[Any, P], AbstractAsyncContextManager[DiskPath]],
) -> Callable[[Stub], Callable[Concatenate[Any, P], BlockingLocal]]:
    """Make a stub the blocking twin of a method whose `async with` block has a file on the disk."""
    return _twin(verb, BlockingLocal)


def _twin(
    verb: Callable[Concatenate[Any, P], R], blocking: Callable[[R], T]
) -> Callable[[Stub], Callable[Concatenate[Any, P], T]]:
    """Make a stub call the asynchronous method, and return what `blocking` makes of its result."""

    def twin(wrapper: BlockingWrapper[Any], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return blocking(getattr(wrapper.system, name)(*args, **kwargs))

    name = verb.__name__
    return lambda stub: cast("Callable[Concatenate[Any, P], T]", _dressed(twin, verb, stub))


def _dressed(function: Callable[..., Any], verb: Callable[..., Any], stub: Stub) -> Any:
    """Return `function` with the name, parameters and documentation of `verb`; a docstring of the stub comes first."""
    made: Any = wraps(verb)(function)
    made.__qualname__, made.__module__ = stub.__qualname__, stub.__module__
    words = stub.__doc__ or verb.__doc__ or ""
    for asynchronous, plain in (("`await ", "`"), ("async for", "for"), ("async with", "with")):
        words = words.replace(asynchronous, plain)
    made.__doc__ = words
    there = signature(verb)
    returned = sub("^(Async[a-zA-Z]+|Listing)", "BlockingListing", str(there.return_annotation))
    for old, new in (
        ("^FileSystem$", "BlockingFileSystem"),
        (r"^Abstract.*\[HeldLock\]$", "BlockingLock"),
        (r"^.*\[DiskPath\]$", "BlockingLocal"),
    ):
        returned = sub(old, new, returned)
    made.__signature__ = there.replace(return_annotation=returned)
    return made


class BlockingListing(Generic[T]):
    """What `ls`, `scan`, `glob`, `walk` and `history` return: `for` streams it, `list` gives all of it.

    Each `for` lists anew.
    """

    def __init__(self, listing: AsyncIterable[T], most: int = 1024) -> None:
        self._listing = listing
        self._most = most

    def __iter__(self) -> BlockingIterator[T]:
        return BlockingIterator(aiter(self._listing), self._most)

    def __repr__(self) -> str:
        return repr(self._listing)


class BlockingIterator(Generic[T]):
    """One iteration over a listing. It fetches ahead as many items as it has returned, so that it makes few calls."""

    def __init__(self, source: AsyncIterator[T], most: int = 1024) -> None:
        self._most = most
        self._loop_thread = loop_thread()
        self._source = source
        self._loop_thread.listings.add(source)
        self._ahead: list[T] = []  # in reverse
        self._batch = 1
        self._failure: Exception | None = None
        self._at_end = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if not self._ahead and not self._at_end:
            self._ahead = self._loop_thread.run(self._more())
            self._batch = min(self._most, 2 * self._batch)
        if self._ahead:
            return self._ahead.pop()
        failure, self._failure = self._failure, None
        raise failure or StopIteration

    async def _more(self) -> list[T]:
        """Return the next items in reverse. An error that comes after some is raised after them."""
        found: list[T] = []
        try:
            while len(found) < self._batch:
                found.append(await anext(self._source))
        except StopAsyncIteration:
            self._ends()
        except Exception as error:  # noqa: BLE001 -- it is raised when the items before it were given
            self._failure = error
            self._ends()
        return found[::-1]

    def close(self) -> None:
        """End the listing. Harmless when done twice; a garbage-collected iterator ends it without waiting."""
        self._ahead = []
        self._ends()
        self._loop_thread.run(end_listing(self._source))

    def _ends(self) -> None:
        self._at_end = True
        self._loop_thread.listings.discard(self._source)

    def __del__(self) -> None:
        if not self._at_end:
            self._loop_thread.spawn(end_listing(self._source))


class BlockingLock:
    """What `lock` returns, for `with fs.lock(name) as lease`."""

    def __init__(self, block: AbstractAsyncContextManager[HeldLock]) -> None:
        self._block = block

    def __enter__(self) -> BlockingHeldLock:
        return BlockingHeldLock(run(self._block.__aenter__()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._block.__aexit__(kind, error, trace))


class BlockingLocal:
    """What `local` returns, for `with fs.local(path) as file`."""

    def __init__(self, block: AbstractAsyncContextManager[DiskPath]) -> None:
        self._block = block

    def __enter__(self) -> DiskPath:
        return run(self._block.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._block.__aexit__(kind, error, trace))


System = TypeVar("System")


class BlockingWrapper(Generic[System]):
    """A file system, or a transaction, whose verbs wait instead of being awaited."""

    def __init__(self, system: System) -> None:
        self._system = system

    @property
    def system(self) -> System:
        """The asynchronous one, for code that awaits."""
        return self._system

    def __repr__(self) -> str:
        return f"<blocking {self._system!r}>"


class BlockingHeldLock(BlockingWrapper[HeldLock]):
    """A lock with a name that is held. Send `fence` with each change, so that a holder that was too slow is refused."""

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._system.name

    @property
    def fence(self) -> int | None:
        """A number that grows with every holder of the lock; `None` if the store cannot promise that."""
        return self._system.fence

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now, as far as this process knows without asking the store."""
        return self._system.lost

    @awaited(HeldLock.check)
    def check(self) -> None: ...


class FileOptions(Properties, total=False):
    """The options of `open` beside the mode and the format of text."""

    metadata: Mapping[str, str] | None
    version_id: str | None
    match: str
    partial: str | None
    wait: float


class BlockingFileSystem(BlockingWrapper[FileSystem]):
    """A file system for code without asyncio: the same verbs without `await`, and real file objects from `open`."""

    @property
    def driver(self) -> Driver:
        """The driver of the file system."""
        return self._system.driver

    @property
    def closed(self) -> bool:
        """Whether the file system was closed, or the one that it was made from."""
        return self._system.closed

    @overload
    def open(self, path: AnyName, mode: ReadMode = "r", **options: Unpack[FileOptions]) -> BlockingReader: ...
    @overload
    def open(self, path: AnyName, mode: WriteMode, **options: Unpack[FileOptions]) -> BlockingWriter: ...
    @overload
    def open(self, path: AnyName, mode: EditMode, **options: Unpack[FileOptions]) -> BlockingEditor: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: TextMode,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        **options: Unpack[FileOptions],
    ) -> BlockingTextFile: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: PlainMode = "r",
        *,
        encoding: str,
        errors: str | None = None,
        newline: str | None = None,
        **options: Unpack[FileOptions],
    ) -> BlockingTextFile: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: PlainMode = "r",
        *,
        encoding: str | None = None,
        errors: str,
        newline: str | None = None,
        **options: Unpack[FileOptions],
    ) -> BlockingTextFile: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: PlainMode = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str,
        **options: Unpack[FileOptions],
    ) -> BlockingTextFile: ...
    def open(
        self,
        path: AnyName,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        **options: Any,
    ) -> Any:
        """Open a file, and return a file object as builtins' `open` does: `with fs.open(path, "w") as f`.

        Bytes are an `io.BufferedReader`, `io.BufferedWriter` or (r+) `io.BufferedRandom`; with `t` in the mode, or
        `encoding=`, it is an `io.TextIOWrapper`. Options are those of `FileSystem.open`. Leaving the `with` block
        publishes what was written, leaving it by an exception does not, and nor does a file that is never closed.

        :raises NotFound: if there is no such file and the mode is r or r+.
        :raises AlreadyExists: if there is one and the mode is x.
        :raises Locked: if the mode writes and somebody else is writing the file.
        """
        parsed, form = how_to_open(mode, encoding, errors, newline)
        opening: Callable[..., Any] = self._system.open
        return open_file(opening(path, parsed.action, **options), name_of(path), parsed, form)

    @awaited(FileSystem.rm)
    def rm(self) -> None: ...

    @iterated(FileSystem.ls)
    def ls(self) -> None:
        """List names: `for name in fs.ls("folder")` streams them, `list(fs.ls("folder"))` collects them.

        They come in the order of UTF-8 bytes: all files below the folder, or one level with its folders (ending in
        `/`) if not `recursive`. Names must begin with `prefix` after the folder, and match the pattern `glob` there.
        The list begins after the whole name `after`.
        """

    @iterated(FileSystem.scan)
    def scan(self) -> None: ...

    @iterated(FileSystem.glob)
    def glob(self) -> None: ...

    @iterated(FileSystem.walk)
    def walk(self) -> None: ...

    @awaited(FileSystem.stat)
    def stat(self) -> None: ...

    @awaited(FileSystem.exists)
    def exists(self) -> None: ...

    @awaited(FileSystem.is_folder)
    def is_folder(self) -> None: ...

    @awaited(FileSystem.mkdir)
    def mkdir(self) -> None: ...

    @awaited(FileSystem.touch)
    def touch(self) -> None: ...

    @awaited(FileSystem.read_bytes)
    def read_bytes(self) -> None: ...

    @awaited(FileSystem.write_bytes)
    def write_bytes(self) -> None: ...

    @awaited(FileSystem.append_bytes)
    def append_bytes(self) -> None: ...

    @overload
    def update(
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
    def update(
        self,
        path: AnyName,
        change: Callable[[str], str | Awaitable[str]],
        *,
        create: str | None = None,
        encoding: str,
        errors: str | None = None,
        wait: float = 30,
    ) -> Entry: ...
    def update(self, path: AnyName, change: Callable[[Any], Any], **options: Any) -> Entry:
        """Change a file by `change`, which gets the old bytes and returns the new, as `FileSystem.update` does.

        It runs in the loop of blocking code, so it must not call blocking verbs. It may be a coroutine function.

        :raises NotFound: if there is no such file, and no `create`.
        :raises Locked: if others changed or locked the file until `wait` seconds had passed.
        """
        verb: Callable[..., Coroutine[Any, Any, Entry]] = self._system.update
        return run(verb(path, change, **options))

    @awaited(FileSystem.read_text)
    def read_text(self) -> None: ...

    @awaited(FileSystem.write_text)
    def write_text(self) -> None: ...

    @awaited(FileSystem.read_json)
    def read_json(self) -> None: ...

    @awaited(FileSystem.write_json)
    def write_json(self) -> None: ...

    @awaited(FileSystem.download)
    def download(self) -> None: ...

    @on_disk(FileSystem.local)
    def local(self) -> None: ...

    @iterated(FileSystem.read_many, most=1)
    def read_many(self) -> None: ...

    @iterated(FileSystem.write_many, most=1)
    def write_many(self) -> None: ...

    @awaited(FileSystem.copy)
    def copy(self) -> None: ...

    @awaited(FileSystem.move)
    def move(self) -> None: ...

    @awaited(FileSystem.url)
    def url(self) -> None: ...

    def url_of(self) -> str:
        """Return the URL of this file system, of which `aiofs.blocking.connect` makes the same one, also elsewhere.

        It has no secrets: if the store needs credentials, they must be in the environment.

        :raises Unsupported: if there is none: memory, layers, transactions, systems of three methods, lent clients.
        """
        return self._system.url_of()

    def check_url(self, url: str, method: str = "GET") -> str:
        """Return the name of the file that a URL is for, which `url` signed with a key of yours.

        :raises AccessDenied: if the URL was changed, is for another method, or has expired.
        :raises Unsupported: if no key was given, or the store itself serves its URLs.
        """
        return self._system.check_url(url, method)

    @iterated(FileSystem.history)
    def history(self) -> None: ...

    @awaited(FileSystem.restore)
    def restore(self) -> None: ...

    @held(FileSystem.lock)
    def lock(self) -> None: ...

    @wrapped(FileSystem.at)
    def at(self) -> None: ...

    @wrapped(FileSystem.over)
    def over(self) -> None: ...

    def close(self) -> None:
        """Close the clients that the store made. Harmless when done twice; any other use is a ValueError then.

        Files that are still open are aborted. The end of the program closes all file systems too. In the thread of an
        event loop, such as a notebook's, clients of that loop are closed when the loop goes on.
        """
        run(self._system.aclose())

    def __enter__(self) -> Self:
        run(self._system.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._system.__aexit__(kind, error, trace))


def how_to_open(
    mode: str, encoding: str | None, errors: str | None, newline: str | None
) -> tuple[Mode, TextFormat | None]:
    """Read the arguments of `open`: the mode, and for text its format.

    :raises ValueError: for an unknown mode, or one that the format does not fit.
    """
    parsed = parse_mode(mode, encoding, errors, newline)
    return parsed, TextFormat.of(encoding, errors, newline) if parsed.text else None
