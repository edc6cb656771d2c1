"""Whole files: as text and JSON, downloaded, as copies on the disk, and many at a time."""

from __future__ import annotations

import io
import json
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path as DiskPath
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast

from aiofs.driver import ANY, Entry
from aiofs.kit import results
from aiofs.lifetimes import finish
from aiofs.names import check_path, name_of
from aiofs.sources import STEP, check_target, write_all, writer_to
from aiofs.threads import hop, hop_or_discard
from aiofs.waiting import check_wait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from aiofs.files.handle import FileLike
    from aiofs.modes import BinaryMode
    from aiofs.names import AnyName
    from aiofs.properties import Properties
    from aiofs.sources import Source, Target

T = TypeVar("T")
R = TypeVar("R")


class WholeFiles:
    """The verbs for whole files. They call `open`, `read_bytes` and `write_bytes`."""

    if TYPE_CHECKING:

        def open(self, path: str, mode: BinaryMode = "r") -> AbstractAsyncContextManager[FileLike]: ...

        async def read_bytes(self, path: AnyName) -> bytes: ...

        async def write_bytes(
            self,
            path: AnyName,
            data: Source,
            *,
            metadata: Mapping[str, str] | None = None,
            wait: float = 0,
            match: str = ANY,
            **properties: Unpack[Properties],
        ) -> Entry: ...

        def _check_open(self) -> None: ...

        def _opened(self, path: str, mode: BinaryMode, wait: float) -> AbstractAsyncContextManager[FileLike]: ...

        def _own_path(self, path: str) -> str | None: ...

    async def read_text(
        self, path: AnyName, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
    ) -> str:
        """Return the text of the file, with newlines as builtins' `open` would give them."""
        data = await self.read_bytes(path)
        return io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline).read()

    async def write_text(
        self,
        path: AnyName,
        text: str,
        encoding: str = "utf-8",
        errors: str = "strict",
        newline: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Entry:
        """Make `text` the file's content, with newlines as builtins' `open` would write them; return what the file is.

        `metadata`, `wait`, `match`, `content_type` ... are as for `write_bytes`.
        """
        buffer = io.BytesIO()
        wrapper = io.TextIOWrapper(buffer, encoding, errors, newline)
        wrapper.write(text)
        wrapper.flush()
        return await self.write_bytes(path, buffer.getvalue(), metadata=metadata, wait=wait, match=match, **properties)

    async def read_json(self, path: AnyName, *, loads: Callable[[bytes], Any] = json.loads) -> Any:
        """Return the value that the file holds as JSON. `loads` makes it from the bytes: `orjson.loads` for example.

        :raises ValueError: if the file is not JSON; a note names the file.
        :raises NotFound: if there is no such file.
        """
        data = await self.read_bytes(path)
        try:
            return loads(data)
        except ValueError as error:
            error.add_note(f"in the file {name_of(path)!r}")
            raise

    async def write_json(
        self,
        path: AnyName,
        value: Any,
        *,
        dumps: Callable[[Any], str | bytes] = json.dumps,
        metadata: Mapping[str, str] | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Entry:
        """Make the file hold `value` as JSON, and return what the file is now. `dumps` may return bytes, or text.

        `metadata`, `wait`, `match`, `content_type` ... are as for `write_bytes`.

        :raises TypeError: before any I/O, if JSON cannot hold the value.
        """
        text = dumps(value)
        data = text.encode() if isinstance(text, str) else text
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"dumps returned a {type(text).__name__}: it must return str or bytes")
        return await self.write_bytes(path, data, metadata=metadata, wait=wait, match=match, **properties)

    async def download(self, path: AnyName, target: Target) -> Entry:
        """Write the bytes of the file to a local file, or to an open one, in bounded memory; return what was read.

        `target` is the path of a local file, which is replaced in one step when all bytes are there, or an object with
        a `write`, blocking or asynchronous, which stays open.

        :raises TypeError: before any I/O, if `target` is neither.
        :raises NotFound: if there is no such file; the target stays as it is.
        """
        path = check_path(path)
        check_target(target)
        async with self.open(path, "r") as file, writer_to(target) as write:
            size = 0
            while data := await file.read(STEP):
                await write(data)
                size += len(data)
            try:
                return file.entry
            except io.UnsupportedOperation:  # of a system of three methods
                return Entry(path, size)

    @asynccontextmanager
    async def local(
        self, path: AnyName, mode: Literal["r", "r+", "w"] = "r", *, wait: float = 0
    ) -> AsyncIterator[DiskPath]:
        """Give the path of the file on the local disk, for programs that need one: `async with fs.local(path) as file`.

        With `r` it may only be read. It is a copy, or, for a local file whose bytes no layer changes, the file itself.
        With `r+` it is a copy, with `w` an empty file: when the block ends, what it holds is published in one step;
        after an exception nothing is. The file is locked until then. A copy has the last segment of `path` as its name,
        and is removed at the end; a killed process leaves it in the system's folder for temporary files.

        :raises ValueError: for another mode, or `wait` with the mode `r`.
        :raises NotFound: if there is no such file and the mode is r or r+.
        :raises Locked: if the mode is r+ or w, and somebody else is writing the file, until `wait` has passed.
        """
        path = check_path(path)
        if mode not in {"r", "r+", "w"}:
            raise ValueError(f"mode {mode!r}: local() takes 'r', 'r+' and 'w'")
        if mode == "r" and wait:
            raise ValueError("wait= goes with modes that write: readers never wait")
        async with self.open(path, "r") if mode == "r" else self._opened(path, mode, wait) as file:
            own = self._own_path(path) if mode == "r" else None
            if own is not None:
                yield DiskPath(own)
                return
            async with _local_copy(path) as copy:
                await _fill(copy, None if mode == "w" else file)
                if mode == "r":
                    await hop(copy.chmod, 0o400)
                yield copy
                if mode == "r+":
                    await file.seek(0)
                    await file.truncate(0)
                if mode != "r":
                    with await hop(open, copy, "rb") as source:
                        await write_all(file.write, source)

    def read_many(
        self, paths: Iterable[AnyName] | AsyncIterable[AnyName], *, concurrency: int = 16
    ) -> AsyncGenerator[tuple[str, bytes | Exception]]:
        """Read many files, `concurrency` at a time: `async for path, result in fs.read_many(paths)`.

        Each result comes when it is ready, in any order: the bytes, or the error. At most `concurrency` files are read
        or kept ahead of the loop, so `paths` may be endless. Leaving the loop cancels what is still being read.

        :raises TypeError: at once, if `paths` is one name, or `concurrency` is not a whole number.
        :raises ValueError: at once, if `concurrency` is not greater than 0.
        """
        check_concurrency(concurrency)
        if isinstance(paths, str | os.PathLike):
            raise TypeError(f"paths={paths!r} is one name: give several, or call read_bytes()")
        check_several(paths, "paths")

        async def read(path: AnyName) -> tuple[str, bytes | Exception]:
            return name_of(path), await caught(self.read_bytes(path))

        return self._many(paths, read, concurrency)

    def write_many(
        self,
        files: Mapping[str, Source] | Iterable[tuple[AnyName, Source]] | AsyncIterable[tuple[AnyName, Source]],
        *,
        concurrency: int = 16,
        wait: float = 0,
    ) -> AsyncGenerator[tuple[str, Entry | Exception]]:
        """Write many files, `concurrency` at a time: `async for path, result in fs.write_many({"a": b"1"})`.

        `files` are names with what `write_bytes` takes. Each result comes when it is ready, in any order: the entry, or
        the error. In a transaction all are published in one step. Leaving the loop cancels what is still being written.

        :raises TypeError: at once, if `files` are no pairs, or `concurrency` is not a whole number.
        :raises ValueError: at once, if `concurrency` is not greater than 0, or `wait` is less than 0.
        """
        check_concurrency(concurrency)
        check_wait(wait)
        if isinstance(files, str | bytes | os.PathLike):
            raise TypeError(f"files={files!r}: give names with what they shall hold, or call write_bytes()")
        check_several(files, "files")
        pairs: Iterable[tuple[AnyName, Source]] | AsyncIterable[tuple[AnyName, Source]]
        pairs = cast("Mapping[AnyName, Source]", files).items() if isinstance(files, Mapping) else files

        async def write(pair: tuple[AnyName, Source]) -> tuple[str, Entry | Exception]:
            path, data = pair
            return name_of(path), await caught(self.write_bytes(path, data, wait=wait))

        return self._many(pairs, write, concurrency)

    async def _many(
        self, items: Iterable[T] | AsyncIterable[T], work: Callable[[T], Awaitable[R]], concurrency: int
    ) -> AsyncGenerator[R]:
        self._check_open()
        async with aclosing(results(items, work, concurrency)) as found:
            async for result in found:
                yield result
                self._check_open()


def check_concurrency(concurrency: int) -> None:
    """Raise `TypeError` or `ValueError` unless `concurrency` is a whole number greater than 0."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int):
        raise TypeError(f"concurrency={concurrency!r}: give a whole number greater than 0")
    if concurrency < 1:
        raise ValueError(f"concurrency={concurrency}: give a number greater than 0")


def check_several(given: object, name: str) -> None:
    """Raise `TypeError` unless a loop can go over what was given."""
    if not isinstance(given, Iterable | AsyncIterable):
        raise TypeError(f"{name}={given!r}: give an iterable, or an asynchronous one")


async def caught(work: Awaitable[T]) -> T | Exception:
    """Return what `work` returns, or the error that it raises."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 -- the caller looks at it
        return error


async def _fill(copy: DiskPath, file: FileLike | None) -> None:
    """Write all bytes of `file`, if there is one, to a new file on the disk."""
    with await hop(open, copy, "xb") as target:
        async with writer_to(target) as write:
            while file is not None and (data := await file.read(STEP)):
                await write(data)
        await hop(target.close)


@asynccontextmanager
async def _local_copy(path: str) -> AsyncIterator[DiskPath]:
    """Give the path of a file, which is not there yet, in a folder of its own that is removed at the end."""
    import shutil  # noqa: PLC0415 -- loaded when used
    import tempfile  # noqa: PLC0415 -- the same

    name = path.rpartition("/")[2]

    def remove(folder: str) -> None:
        with suppress(OSError):
            os.chmod(os.path.join(folder, name), 0o600)  # some systems remove no file that is read-only
        shutil.rmtree(folder)

    folder = await hop_or_discard(remove, tempfile.mkdtemp)
    try:
        yield DiskPath(folder, name)
    finally:
        await finish(hop(remove, folder))
