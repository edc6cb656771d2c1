"""PathContent: the methods of a `Path` that read and write the content of its file. They call the file system's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from aiofs.driver import ANY
from aiofs.errors import IsAFolder
from aiofs.pathnames import PlainPath

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path as DiskPath

    from _typeshed import ReadableBuffer

    from aiofs.driver import Entry
    from aiofs.files.handle import FileLike
    from aiofs.files.opening import Opening
    from aiofs.files.text import TextFile
    from aiofs.modes import BinaryMode, PlainMode, TextMode
    from aiofs.properties import Properties
    from aiofs.sources import Source, Target


class PathContent(PlainPath):
    """The part of a `Path` that is about the content of one file. Arguments are those of the file system's verbs."""

    __slots__ = ()

    @overload
    def open(
        self,
        mode: BinaryMode = "r",
        *,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        partial: str | None = None,
        **properties: Unpack[Properties],
    ) -> Opening[FileLike]: ...
    @overload
    def open(
        self,
        mode: TextMode,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    @overload
    def open(
        self,
        mode: PlainMode = "r",
        *,
        encoding: str,
        errors: str | None = None,
        newline: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    @overload
    def open(
        self,
        mode: PlainMode = "r",
        *,
        encoding: str | None = None,
        errors: str,
        newline: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    @overload
    def open(
        self,
        mode: PlainMode = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    def open(self, mode: str = "r", **words: Any) -> Opening[Any]:
        """Open the file: `async with path.open("w") as f`. Modes and words are those of `FileSystem.open`.

        :raises IsAFolder: at once, for the root of a file system. Otherwise as `FileSystem.open`.
        """
        opening: Callable[..., Opening[Any]] = self.system.open  # the mode is not known before the program runs
        return opening(self._file(), mode, **words)

    async def read_bytes(self, start: int = 0, stop: int | None = None, *, match: str = ANY) -> bytes:
        """Return the bytes of the file from `start` to `stop`, as `FileSystem.read_bytes`."""
        return await self.system.read_bytes(self._file(), start, stop, match=match)

    async def read_text(self, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None) -> str:
        """Return the text of the file, as `FileSystem.read_text`."""
        return await self.system.read_text(self._file(), encoding, errors, newline)

    async def write_bytes(
        self,
        data: Source,
        *,
        metadata: Mapping[str, str] | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Entry:
        """Make the bytes of `data` the file's, and return what the file is now, as `FileSystem.write_bytes`."""
        return await self.system.write_bytes(
            self._file(), data, metadata=metadata, wait=wait, match=match, **properties
        )

    async def append_bytes(self, data: Source, *, wait: float = 0, match: str = ANY) -> Entry:
        """Add `data` to the end of the file, as `FileSystem.append_bytes`."""
        return await self.system.append_bytes(self._file(), data, wait=wait, match=match)

    async def write_text(
        self,
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
        """Make `text` the file's content, and return what the file is now, as `FileSystem.write_text`."""
        words: dict[str, Any] = {"metadata": metadata, "wait": wait, "match": match, **properties}
        return await self.system.write_text(self._file(), text, encoding, errors, newline, **words)

    async def read_json(self, *, loads: Callable[[bytes], Any] = json.loads) -> Any:
        """Return the value that the file holds as JSON, as `FileSystem.read_json`."""
        return await self.system.read_json(self._file(), loads=loads)

    async def write_json(
        self,
        value: Any,
        *,
        dumps: Callable[[Any], str | bytes] = json.dumps,
        metadata: Mapping[str, str] | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Entry:
        """Make the file hold `value` as JSON, and return what the file is now, as `FileSystem.write_json`."""
        words: dict[str, Any] = {"metadata": metadata, "wait": wait, "match": match, **properties}
        return await self.system.write_json(self._file(), value, dumps=dumps, **words)

    @overload
    async def update(
        self,
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
        change: Callable[[str], str | Awaitable[str]],
        *,
        create: str | None = None,
        encoding: str,
        errors: str | None = None,
        wait: float = 30,
    ) -> Entry: ...
    async def update(self, change: Callable[[Any], Any], **words: Any) -> Entry:
        """Make what `change` returns for the file's bytes its new bytes, as `FileSystem.update`."""
        verb: Callable[..., Awaitable[Entry]] = self.system.update  # which overload it is, the caller knows
        return await verb(self._file(), change, **words)

    async def download(self, target: Target) -> Entry:
        """Write the bytes of the file to a local file, or to an open one, as `FileSystem.download`."""
        return await self.system.download(self._file(), target)

    def local(self, mode: Literal["r", "r+", "w"] = "r", *, wait: float = 0) -> AbstractAsyncContextManager[DiskPath]:
        """Give the path of the file on the local disk for a block, as `FileSystem.local`."""
        return self.system.local(self._file(), mode, wait=wait)

    def _file(self) -> str:
        """Return the name; raise `IsAFolder` for the root."""
        path = self.path
        if not path:
            raise IsAFolder.of(str(self), "this is the root of a file system, which is a folder")
        return path
