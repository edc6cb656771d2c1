"""File systems with one fault each above the driver, as other libraries have it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiofs.driver import Entry
from aiofs.files.editing import Editor
from aiofs.files.opening import Opening
from aiofs.files.reading import Reader
from aiofs.files.text import TextFile
from aiofs.files.writing import Writer
from aiofs.filesystem import FileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import TracebackType

    from aiofs.driver import Layer
    from aiofs.files.handle import FileLike
    from aiofs.listing import Listing


class Twin(FileSystem):
    """A file system whose handles are replaced by faulty ones."""

    writer: type[Writer] = Writer
    reader: type[Reader] = Reader
    editor: type[Editor] = Editor

    def open(self, path: str, mode: str = "r", **options: Any) -> Any:
        opening = super().open(path, mode, **options)

        async def opened() -> FileLike | TextFile:
            file: FileLike | TextFile = await opening
            handle = file.buffer if isinstance(file, TextFile) else file
            handle.__class__ = {Writer: self.writer, Reader: self.reader, Editor: self.editor}[type(handle)]
            return file

        return Opening(opened, lambda: path)

    def over(self, *layers: Layer) -> FileSystem:
        return type(self)(super().over(*layers).driver)


class PublishesOnException(Twin):
    class writer(Writer):  # noqa: N801
        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            await self.close()


class PublishesWhenCollected(Twin):
    """And says nothing."""

    class writer(Writer):  # noqa: N801
        def __del__(self) -> None:
            if not self._closed and self._lease is not None:
                self._lease.abandon()


class SwallowsFailedCommits(Twin):
    class writer(Writer):  # noqa: N801
        async def close(self) -> None:
            with contextlib.suppress(OSError):
                await super().close()


class KeepsTheLockAfterAFailure(Twin):
    class writer(Writer):  # noqa: N801
        async def close(self) -> None:
            if not self._closed:
                self._closed = True
                await self._publish()
                await self._release()


class PublishesWhatIsLeft(Twin):
    """After a write that failed."""

    class writer(Writer):  # noqa: N801
        async def _publish(self) -> None:
            self._failure = None
            await super()._publish()


class KeepsTheBuffer(Twin):
    class writer(Writer):  # noqa: N801
        async def write(self, data: Any) -> int:
            if not hasattr(self, "kept"):
                self.kept: list[Any] = []
            self.kept.append(data)
            return len(data)

        async def close(self) -> None:
            kept, self.kept = getattr(self, "kept", []), []
            for data in kept:
                await super().write(data)
            await super().close()


class ReadsAfterClosing(Twin):
    class reader(Reader):  # noqa: N801
        def _guard(self) -> None:
            pass


class SeeksAtOnce(Twin):
    class reader(Reader):  # noqa: N801
        async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
            target = await super().seek(offset, whence)
            await self.peek(1)
            return target


class SeeksBeforeTheStart(Twin):
    class reader(Reader):  # noqa: N801
        async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
            return await super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


class KnowsOnlyItsName(Twin):
    class reader(Reader):  # noqa: N801
        @property
        def entry(self) -> Entry:
            return Entry(self.name)


class HasAnEntryAtOnce(Twin):
    class writer(Writer):  # noqa: N801
        @property
        def entry(self) -> Entry:
            return self._entry or Entry(self.name)


class GivesWhatComes(Twin):
    class reader(Reader):  # noqa: N801
        async def _chunks(self, size: int) -> AsyncGenerator[bytes]:
            while piece := await self.read1(min(size, 4000)):
                yield piece


class CutsLines(Twin):
    class reader(Reader):  # noqa: N801
        async def readline(self, size: int | None = -1) -> bytes:
            return await super().readline(65536 if size is None or size < 0 else size)


class GrowsWithoutZeros(Twin):
    class editor(Editor):  # noqa: N801
        async def truncate(self, size: int | None = None) -> int:
            return await super().truncate(None if size is None else min(size, self._overlay.size))


class TouchesWhatItOpens(Twin):
    class editor(Editor):  # noqa: N801
        async def close(self) -> None:
            self._overlay.changed = True
            await super().close()


class AppendsWhereItIs(Twin):
    class writer(Writer):  # noqa: N801
        async def write(self, data: Any) -> int:
            self._appends = False
            return await super().write(data)


class ListsByPrefix(Twin):
    def ls(self, path: str = "", **options: Any) -> Listing[str]:
        return super().ls("", prefix=path, **options)


class KeepsItsListings(Twin):
    class Kept:
        def __init__(self, listing: Any) -> None:
            self.listing = listing

        def __aiter__(self) -> Any:
            iterator = aiter(self.listing)
            KeepsItsListings.kept.append(iterator)
            return iterator

        def __await__(self) -> Any:
            return self.listing.__await__()

    kept: list[Any] = []  # noqa: RUF012

    def ls(self, *args: Any, **options: Any) -> Any:
        return self.Kept(super().ls(*args, **options))


class WorksOnWhenClosed(Twin):
    async def aclose(self) -> None:
        pass


class TakesAnyMode(Twin):
    def open(self, path: str, mode: str = "r", **options: Any) -> Any:
        return super().open(path, "r" if mode in {"", "rr", "U"} else mode, **options)


class CleansPaths(Twin):
    def open(self, path: str, mode: str = "r", **options: Any) -> Any:
        return super().open(path.strip("/") if isinstance(path, str) and path.strip("/") else path, mode, **options)


class CleansNamesOfLocks(Twin):
    def lock(self, name: Any, *, wait: float = 0) -> Any:
        return super().lock(name.strip("/") if isinstance(name, str) and name.strip("/") else name, wait=wait)


class EndsAtAnEmptyPiece(Twin):
    async def write_bytes(self, path: str, data: Any, **options: Any) -> Any:
        kept = data[: data.index(b"")] if isinstance(data, list) and b"" in data else data
        return await super().write_bytes(path, kept, **options)


class ReadsOnTheLoop(Twin):
    async def write_bytes(self, path: str, data: Any, **options: Any) -> Any:
        blocking = hasattr(data, "__next__")
        return await super().write_bytes(path, list(data) if blocking else data, **options)


class WritesNumbersAsZeros(Twin):
    async def write_bytes(self, path: str, data: Any, **options: Any) -> Any:
        return await super().write_bytes(path, bytes(data) if isinstance(data, int) else data, **options)


class PublishesWhatCame(Twin):
    """A source that fails is taken for one that ends."""

    async def write_bytes(self, path: str, data: Any, **options: Any) -> Any:
        if not hasattr(data, "__aiter__"):
            return await super().write_bytes(path, data, **options)

        async def until_it_fails() -> AsyncIterator[bytes]:
            with contextlib.suppress(Exception):
                async for piece in data:
                    yield piece

        return await super().write_bytes(path, until_it_fails(), **options)


class PublishesWhatWasCancelled(Twin):
    async def write_bytes(self, path: str, data: Any, **options: Any) -> Any:
        if not hasattr(data, "__aiter__"):
            return await super().write_bytes(path, data, **options)
        async with self.open(path, "w", **options) as file:
            with contextlib.suppress(asyncio.CancelledError):
                async for piece in data:
                    await file.write(piece)
        raise asyncio.CancelledError


class ReadsFilesFromTheirStart(Twin):
    async def write_bytes(self, path: str, data: Any, **options: Any) -> Any:
        if isinstance(data, Reader):
            await data.seek(0)
        return await super().write_bytes(path, data, **options)


class GathersItsSource(Twin):
    async def write_bytes(self, path: str, data: Any, **options: Any) -> Any:
        kept = [piece async for piece in data] if hasattr(data, "__aiter__") else data
        return await super().write_bytes(path, kept, **options)


class ForgetsOptionsOfText(Twin):
    async def write_text(self, path: str, text: str, *words: Any, **_: Any) -> Any:
        return await super().write_text(path, text, *words)


class WritesWhatDumpsGave(Twin):
    async def write_json(self, path: str, value: Any, *, dumps: Any = str, **_: Any) -> Any:
        return await self.write_bytes(path, str(dumps(value)).encode())


class DownloadsInPlace(Twin):
    async def download(self, path: Any, target: Any) -> Any:
        if not isinstance(target, os.PathLike):
            return await super().download(path, target)
        with open(target, "wb") as file:
            return await super().download(path, file)


class DownloadsTheFirstPiece(Twin):
    async def download(self, path: Any, target: Any) -> Any:
        if isinstance(target, str | os.PathLike):
            return await super().download(path, target)
        return target.write(await self.read_bytes(path, 0, 1000))


class EndsAtTheFirstError(Twin):
    async def read_many(self, paths: Any, **options: Any) -> Any:
        async for path, result in super().read_many(paths, **options):
            if isinstance(result, Exception):
                raise result
            yield path, result


class WritesManyAtOnce(Twin):
    async def write_many(self, files: Any, **options: Any) -> Any:
        for path, data in list(dict(files).items()):
            yield path, await self.write_bytes(path, data)


class ReadsFarAhead(Twin):
    def read_many(self, paths: Any, *, concurrency: int = 16) -> Any:
        return super().read_many(paths, concurrency=8 * concurrency)


class TakesAnyConcurrency(Twin):
    def read_many(self, paths: Any, *, concurrency: Any = 16) -> Any:
        return super().read_many(paths, concurrency=max(1, int(concurrency)))


class ListsOneMore(Twin):
    def ls(self, *words: Any, limit: int | None = None, **options: Any) -> Any:
        return super().ls(*words, limit=None if limit is None else limit + 1, **options)


class LeavesItsCopies(Twin):
    @contextlib.asynccontextmanager
    async def local(self, path: Any, mode: Any = "r", **options: Any) -> AsyncIterator[Any]:
        async with super().local(path, mode, **options) as copy:
            kept = tempfile.mkdtemp()
            yield shutil.copy(copy, kept) and Path(kept, copy.name)


class LocksAtTheEnd(Twin):
    @contextlib.asynccontextmanager
    async def local(self, path: Any, mode: Any = "r", **options: Any) -> AsyncIterator[Any]:
        if mode != "r+":
            async with super().local(path, mode, **options) as copy:
                yield copy
            return
        async with super().local(path) as copy:
            copy.chmod(0o600)
            yield copy
            await self.write_bytes(path, copy.read_bytes())


class WritesBackAfterAnError(Twin):
    @contextlib.asynccontextmanager
    async def local(self, path: Any, mode: Any = "r", **options: Any) -> AsyncIterator[Any]:
        failure = None
        async with super().local(path, mode, **options) as copy:
            try:
                yield copy
            except Exception as error:  # noqa: BLE001 -- the fault
                failure = error
        if failure:
            raise failure


class DropsWhatIsNotKept(FileSystem):
    async def write_bytes(self, path: Any, data: Any, **options: Any) -> Any:
        known = {"metadata", "wait", "match", *self.driver.capabilities.properties}
        kept = {name: value for name, value in options.items() if name in known}
        return await super().write_bytes(path, data, **kept)
