"""Sources and targets: objects that give or take bytes, piece by piece, so that memory stays bounded.

A source is a bytes-like object, an iterable or asynchronous iterable of them, an object with a `read`, blocking or
asynchronous (open files, `io.BytesIO`, uploads of web frameworks, streams of HTTP clients), or a response of httpx.
Calls that may block run in a thread. A target is an object with a `write`, or the path of a local file.
"""

from __future__ import annotations

import errno
import inspect
import io
import os
import stat
from collections.abc import AsyncIterable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from aiofs import clock
from aiofs.lifetimes import finish
from aiofs.threads import hop, hop_or_discard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from _typeshed import ReadableBuffer

PLAIN = (bytes, bytearray, memoryview)
"""The classes of bytes in memory that are written as they are, without any further look."""
STEP = 1 << 20
LONGEST_GATHERING = 0.1
"""For how many seconds a thread goes on taking small pieces from an iterator before it hands them over."""


class GivesBytes(Protocol):
    """An object whose `read`, blocking or asynchronous, returns up to `size` bytes, and none only at the end."""

    def read(self, size: int, /) -> ReadableBuffer | Awaitable[ReadableBuffer]:
        """Return the next bytes."""
        ...


class GivesResponse(Protocol):
    """A response as httpx has it."""

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Yield its bytes."""
        ...


class TakesBytes(Protocol):
    """An object whose `write`, blocking or asynchronous, takes bytes; it may return how many it took."""

    def write(self, data: bytes, /) -> object:
        """Take the bytes."""
        ...


if TYPE_CHECKING:
    Source: TypeAlias = (
        ReadableBuffer | Iterable[ReadableBuffer] | AsyncIterable[ReadableBuffer] | GivesBytes | GivesResponse
    )
    """What `write_bytes`, `append_bytes` and `write_many` take: bytes, (asynchronous) iterables of bytes, and objects
    with a `read`."""
    Target: TypeAlias = TakesBytes | str | os.PathLike[str]
    """What `download` writes to: an object with a `write`, or the path of a local file."""
else:  # the same, as far as it can be said at runtime: frameworks evaluate annotations
    Source = bytes | bytearray | memoryview | Iterable[bytes] | AsyncIterable[bytes] | GivesBytes | GivesResponse
    Target = TakesBytes | str | os.PathLike[str]


def is_stream(value: object) -> bool:
    """Whether a value is a source that is read piece by piece: an asynchronous iterable, or an object with a `read`."""
    kind = type(value)
    return isinstance(value, AsyncIterable) or callable(getattr(kind, "read", getattr(kind, "aiter_bytes", None)))


def pieces_of(source: object) -> AsyncGenerator[ReadableBuffer]:
    """Return the bytes of a source, piece by piece. What can be checked without reading is checked at once.

    A generator is closed at the end. Other sources stay open, as they are the caller's.

    :raises TypeError: at once, if this is no source; or on reading, if a piece is not bytes.
    """
    view = _view_of(source)
    if view is not None:
        return _only(view)
    if isinstance(source, str):
        raise TypeError("a str is not bytes: give it to write_text(), or encode it")
    if not isinstance(source, type | Mapping | AbstractSet):
        given: Any = source
        if callable(getattr(given, "aiter_bytes", None)):
            waits = hasattr(getattr(given, "stream", None), "__aiter__") or not hasattr(given, "iter_bytes")
            return _awaited(given, given.aiter_bytes()) if waits else _iterated(given, given.iter_bytes())
        if callable(getattr(given, "read", None)):
            return _read(given, _checked_read(given))
        if isinstance(given, AsyncIterable):
            return _awaited(given, given)
        if isinstance(given, Iterable):
            return _iterated(given, given)
    raise TypeError(
        f"{_named(source)} has no bytes: give bytes, an iterable or asynchronous iterable of them, or an object with "
        "a read() for bytes, such as a file open in mode 'rb'"
    )


async def write_all(write: Callable[[ReadableBuffer], Awaitable[object]], source: ReadableBuffer | Source) -> int:
    """Give `write` all pieces of a source, and return how many bytes they were."""
    if isinstance(source, PLAIN):
        await write(source)
        return memoryview(source).nbytes
    size = 0
    async with aclosing(pieces_of(source)) as pieces:
        async for piece in pieces:
            await write(piece)
            size += memoryview(piece).nbytes
    return size


def _named(thing: object) -> str:
    if thing is None or isinstance(thing, type):
        return repr(thing)
    return f"{type(thing).__name__!r} object"


def _view_of(thing: object) -> ReadableBuffer | None:
    """Return an object as bytes, without copying them; `None` if it has none in memory."""
    if isinstance(thing, PLAIN):
        return thing
    try:
        return memoryview(cast("ReadableBuffer", thing))
    except TypeError:
        return None


def _checked(piece: object, source: object) -> ReadableBuffer:
    view = _view_of(piece)
    if view is None:
        instead = "open it in binary mode, or encode its text" if isinstance(piece, str) else "it must give bytes"
        raise TypeError(f"{_named(source)} gave {_named(piece)}, and not bytes: {instead}")
    return view


def _checked_read(source: Any) -> Callable[[int], Any]:
    if isinstance(source, io.TextIOBase):
        raise TypeError(f"{_named(source)} gives text and not bytes: open it in binary mode")
    read: Callable[[int], Any] = source.read
    try:
        signature = inspect.signature(read)
    except (TypeError, ValueError):
        return read  # functions written in C may have no signature
    try:
        signature.bind(STEP)
    except TypeError:
        words = f"the read() of {_named(source)} takes no size, so it would load everything: give its stream of bytes"
        raise TypeError(f"{words}, such as `response.content` of aiohttp") from None
    return read


async def _only(piece: ReadableBuffer) -> AsyncGenerator[ReadableBuffer]:
    yield piece


async def _read(source: object, read: Callable[[int], Any]) -> AsyncGenerator[ReadableBuffer]:
    awaits, in_memory = inspect.iscoroutinefunction(read), type(source) is io.BytesIO
    while True:
        piece = read(STEP) if awaits or in_memory else await hop(read, STEP)
        if inspect.isawaitable(piece):
            piece = await piece
        piece = _checked(piece, source)
        if not memoryview(piece).nbytes:
            return
        yield piece


async def _awaited(source: object, pieces: AsyncIterable[object]) -> AsyncGenerator[ReadableBuffer]:
    iterator = aiter(pieces)
    try:
        async for piece in iterator:
            yield _checked(piece, source)
    finally:
        if inspect.isasyncgen(iterator):
            await finish(iterator.aclose())


async def _iterated(source: object, pieces: Iterable[object]) -> AsyncGenerator[ReadableBuffer]:
    if isinstance(pieces, list | tuple):
        for piece in pieces:
            yield _checked(piece, source)
        return
    iterator = await hop(iter, pieces)
    try:
        ended = False
        while not ended:
            gathered, ended = await hop(_gather, iterator, source)
            yield gathered
    finally:
        if inspect.isgenerator(iterator):
            await finish(hop(iterator.close))


def _gather(iterator: Iterator[object], source: object) -> tuple[ReadableBuffer, bool]:
    """Return the next bytes, and whether they are the last. Small pieces become one; the iterator may block."""
    until, gathered = clock.monotonic() + LONGEST_GATHERING, bytearray()
    for item in iterator:
        piece = _checked(item, source)
        if not gathered and memoryview(piece).nbytes >= STEP:
            return piece, False
        with memoryview(piece) as view:  # released before the iterator goes on, as it may resize its buffer
            gathered += view if view.c_contiguous else view.tobytes()
        if len(gathered) >= STEP or clock.monotonic() >= until:
            return gathered, False
    return gathered, True


def check_target(target: object) -> None:
    """Raise `TypeError` unless this is a target."""
    is_path = isinstance(target, str | os.PathLike) and isinstance(os.fspath(target), str)
    if not is_path and (not callable(getattr(target, "write", None)) or isinstance(target, io.TextIOBase | type)):
        raise TypeError(f"{_named(target)} takes no bytes: give the path of a local file, or a file open in mode 'wb'")


@asynccontextmanager
async def writer_to(target: Target) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Give what writes to a target. A local file is replaced when the block ends, and not if it raises."""
    if not isinstance(target, str | os.PathLike):
        yield _written_whole(target.write)
        return
    draft = await hop_or_discard(Draft.discard, Draft, os.fspath(target))
    try:
        yield draft.write
        await hop(draft.publish)
    finally:
        await finish(hop(draft.discard))


def _written_whole(write: Callable[[bytes], Any]) -> Callable[[bytes], Awaitable[None]]:
    """Return what calls `write` until it took everything: unbuffered files may take a part."""
    here = inspect.iscoroutinefunction(write) or type(getattr(write, "__self__", None)) is io.BytesIO

    async def write_whole(data: bytes) -> None:
        while data:
            taken = write(data) if here else await hop(write, data)
            if inspect.isawaitable(taken):
                taken = await taken
            data = data[taken:] if isinstance(taken, int) else b""

    return write_whole


class Draft:
    """New bytes of a local file, in a hidden file beside it, until they take its place."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)
        folder, name = os.path.split(self._path)
        self._staged = os.path.join(folder, f".aiofs.{name[:64]}.{clock.token(8)}")
        if os.path.isdir(self._path) or not name:
            raise IsADirectoryError(errno.EISDIR, "this is a folder: give the path of a file in it", path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._file: io.FileIO | None = io.FileIO(os.open(self._staged, flags, 0o666), "w")
        except OSError as error:
            error.filename = path
            raise
        with suppress(OSError):
            os.chmod(self._staged, stat.S_IMODE(os.stat(self._path).st_mode))

    async def write(self, data: bytes) -> None:
        """Add bytes."""
        await hop(self._write, data)

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 -- nobody writes after the end
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def publish(self) -> None:
        """Sync the bytes to the disk, and put them in the place of the file in one step."""
        assert self._file is not None  # noqa: S101 -- it is published once
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._staged, self._path)
        self._file = None

    def discard(self) -> None:
        """Remove the bytes, unless they were published."""
        if self._file is not None:
            self._file.close()
            self._file = None
            with suppress(FileNotFoundError):
                os.unlink(self._staged)
