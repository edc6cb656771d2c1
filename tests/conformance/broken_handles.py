"""File systems with one fault each above the driver, as other libraries have it."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from aiofs.files.editing import Editor
from aiofs.files.opening import Opening
from aiofs.files.reading import Reader
from aiofs.files.text import TextFile
from aiofs.files.writing import Writer
from aiofs.filesystem import FileSystem

if TYPE_CHECKING:
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
