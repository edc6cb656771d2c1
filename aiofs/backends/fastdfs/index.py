"""The index: which file of the storages stands behind which name. It is a small file per name in any other store."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiofs.backends.fastdfs.client.ids import FileId
from aiofs.driver import ABSENT, Entry
from aiofs.errors import AlreadyExists, Conflict, Damaged, Locked, NotFound, Unsupported
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.driver import Driver, Lease

IDENTITY = ".aiofs-fastdfs"
"""The file in the index that says which index it is."""
_CHUNK = 1 << 16
_SOON = 0.01


@dataclass(frozen=True, slots=True)
class Record:
    """What the index has under a name."""

    file: FileId
    metadata: Mapping[str, str]
    version: str | None
    """The version of the index's own small file."""

    def entry(self, path: str) -> Entry:
        """Describe the file. Its id tells size and time, and is its version: no two files ever have the same."""
        return entry_of(path, self.file, self.metadata)


class Index:
    """Names to ids, over the driver of the store that keeps them."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._identity: str | None = None

    async def identity(self) -> str:
        """Return what tells this index from others over the same cluster. It gets one at its first use."""
        while self._identity is None:
            self._identity = await self.known_identity()
            if self._identity is None:
                await self.identify_as(uuid.uuid4().hex)
        return self._identity

    async def known_identity(self) -> str | None:
        """Return what the index is called, `None` while it is not called anything."""
        try:
            text, _version = await self._read(IDENTITY)
        except NotFound:
            return None
        return text.decode()

    async def identify_as(self, identity: str) -> None:
        """Give the index an identity, unless it has one or is just getting it."""
        try:
            lease = await self.driver.lock(IDENTITY)
        except Locked:
            await asyncio.sleep(_SOON)
            return
        try:
            with suppress(AlreadyExists):
                await self._write(IDENTITY, identity.encode(), lease, ABSENT)
        finally:
            await finish(lease.release())

    async def find(self, path: str) -> Record:
        """Look a name up.

        :raises NotFound: if there is no such file.
        :raises Damaged: if what is under the name was not written by an index.
        :raises Unsupported: if a newer version of aiofs wrote it, in another format.
        """
        text, version = await self._read(path)
        try:
            fields = dict(json.loads(text))
            check_format(path, "the record of this file in the index", fields)
            return Record(FileId.parse(str(fields["id"])), dict(fields["metadata"]), version)
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged.of(path, "this file of the index is not one") from error

    async def get(self, path: str) -> Record | None:
        """Look a name up; `None` if there is no such file."""
        try:
            return await self.find(path)
        except NotFound:
            return None

    async def put(self, path: str, file: str, metadata: Mapping[str, str], lease: Lease, old: Record | None) -> None:
        """Put a file behind a name, in one atomic step, where `old` is what was there.

        :raises Conflict: if that is not there any more.
        :raises AlreadyExists: if there was nothing and now is.
        """
        text = json.dumps({"format": FORMAT, "id": file, "metadata": dict(metadata)})
        await self._write(path, text.encode(), lease, ABSENT if old is None else old.version)

    async def _read(self, path: str) -> tuple[bytes, str | None]:
        stream = await self.driver.read(path)
        try:
            pieces = []
            while piece := await stream.chunk(_CHUNK):
                pieces.append(piece)
            return b"".join(pieces), stream.entry.version
        finally:
            await finish(stream.aclose())

    async def _write(self, path: str, text: bytes, lease: Lease, match: str | None) -> None:
        session = await self.driver.begin(path, lease, match=match)
        try:
            await session.write(text)
            await session.commit()
        finally:
            await finish(session.abort())


def check_match(path: str, record: Record | None, match: str | None) -> None:
    """Raise `AlreadyExists` or `Conflict` unless `match` says what is there."""
    version = ABSENT if record is None else str(record.file)
    if match is not None and match != version:
        if match == ABSENT:
            raise AlreadyExists.of(path)
        raise Conflict.of(path, "the file was changed meanwhile")


def entry_of(path: str, file: FileId, metadata: Mapping[str, str] | None = None) -> Entry:
    """Describe a normal file by what its name tells."""
    return Entry(path, file.size, datetime.fromtimestamp(file.created, UTC), str(file), metadata)


FORMAT = "1"
"""Written as `format`. What has no number is of 2.0.0a1, and is read in the same way, as 2.0.0a1 reads what has it."""


def check_format(path: str | None, what: str, fields: Mapping[str, Any]) -> None:
    """Raise `Unsupported` for a format that this version of aiofs does not know."""
    number = fields.get("format", FORMAT)
    if number != FORMAT:
        raise Unsupported.of(
            path, f"{what} has format {number!r}, and this version of aiofs knows {FORMAT!r}: use the newer version"
        )


_KEY = "aiofs"
_ROOM = 256


@dataclass(frozen=True, slots=True)
class Label:
    """What is written on a file."""

    index: str
    """The identity of the index that knows the file."""
    path: str
    metadata: Mapping[str, str]
    written: int
    """When, in nanoseconds since 1970: of two files with the same name the later one counts."""


def label(index: str, path: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of the protocol's kind that say which file this is, in pieces that fit."""
    fields = {"index": index, "path": path, "metadata": dict(metadata), "written": time.time_ns()}
    text = json.dumps({"format": FORMAT, **fields})
    return {f"{_KEY}{at // _ROOM:04}": text[at : at + _ROOM] for at in range(0, len(text), _ROOM)}


def read_label(metadata: Mapping[str, str]) -> Label | None:
    """Return what the metadata of a file say; `None` if it was not written under a name.

    :raises Unsupported: if a newer version of aiofs wrote it, in another format.
    """
    text = "".join(metadata[key] for key in sorted(metadata) if key.startswith(_KEY))
    try:
        fields = dict(json.loads(text))
        check_format(None, "the label of a file", fields)
        return Label(str(fields["index"]), str(fields["path"]), dict(fields["metadata"]), int(fields["written"]))
    except (ValueError, KeyError, TypeError):
        return None
