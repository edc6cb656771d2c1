"""The index: which file of the storages belongs to which name, and the labels from which a lost index is made again.

The index is a small file for each name, in any other store. A label holds the same facts and is kept with the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.fastdfs.client.ids import FileId
from aiofs.driver import ABSENT, Entry
from aiofs.errors import AlreadyExists, Damaged, Locked, NotFound
from aiofs.kit import unknown_format
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.fastdfs.client.client import FastDFSClient
    from aiofs.driver import Driver, Lease

IDENTITY = ".aiofs-fastdfs"
"""The file in the index that holds the identity of the index."""
FORMAT = "1"
"""The format of records, labels and prepared sessions, written as `format`.

2.0.0a1 wrote none. Both versions read what the other one wrote.
"""
_MARKS = ".aiofs-before/file-"
_CHUNK = 1 << 16
_SOON = 0.01
_LABEL_KEY = "aiofs"
_LONGEST_VALUE = 256


def check_format(path: str | None, what: str, fields: Mapping[str, Any]) -> None:
    """Raise `Unsupported` for a format that this version of aiofs does not know."""
    number = fields.get("format", FORMAT)
    if number != FORMAT:
        raise unknown_format(path, what, number, FORMAT)


def entry_of(path: str, file: FileId, metadata: Mapping[str, str] | None = None) -> Entry:
    """Describe a normal file by its id, which tells size and time and is the version: no two files have the same."""
    return Entry(path, file.size, datetime.fromtimestamp(file.created, UTC), str(file), metadata)


@dataclass(frozen=True, slots=True)
class Record:
    """What the index has under a name."""

    file: FileId
    metadata: Mapping[str, str]
    version: str | None
    """The version of the small file in the index."""

    def entry(self, path: str) -> Entry:
        """Describe the file that the name leads to."""
        return entry_of(path, self.file, self.metadata)


class Index:
    """Names and the ids that they lead to, kept by the driver of another store."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._identity: str | None = None

    async def identity(self) -> str:
        """Return what distinguishes this index from others of the same cluster. It gets one when it is first used."""
        while self._identity is None:
            self._identity = await self.known_identity()
            if self._identity is None:
                await self.identify_as(clock.token())
        return self._identity

    async def known_identity(self) -> str | None:
        """Return the identity of the index, `None` if it has none yet."""
        try:
            text, _version = await self._read(IDENTITY)
        except NotFound:
            return None
        return text.decode()

    async def identify_as(self, identity: str) -> None:
        """Give the index an identity, unless it has one or another process is giving it one."""
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
        """Return the record of a name.

        :raises NotFound: if there is no such file.
        :raises Damaged: if the file in the index is not a record.
        :raises Unsupported: if a newer version of aiofs wrote it, in another format.
        """
        text, version = await self._read(path)
        try:
            fields = dict(json.loads(text))
            check_format(path, "the record of this file in the index", fields)
            return Record(FileId.parse(str(fields["id"])), dict(fields["metadata"]), version)
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged.of(path, "the file in the index is not a record of the index") from error

    async def get(self, path: str) -> Record | None:
        """Return the record of a name, `None` if there is no such file. Raises as `find`."""
        try:
            return await self.find(path)
        except NotFound:
            return None

    async def put(self, path: str, file: str, metadata: Mapping[str, str], lease: Lease, old: Record | None) -> None:
        """Let a name lead to a file, in one atomic step. `old` is the record that is replaced.

        :raises Conflict: if that is not there any more.
        :raises AlreadyExists: if `old` is `None` and there is a record.
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


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Files with names: the cluster that has the bytes, the index that has the names, and the group for new files."""

    client: FastDFSClient
    index: Index
    group: str | None

    async def discard(self, file: str) -> None:
        """Remove a file that no name leads to any more, unless a snapshot keeps it.

        If that fails the file is left over, until it is swept.
        """
        with suppress(OSError):
            if await self.index.get(mark_of(file)) is None:
                await self.client.delete(file)


def mark_of(file: str) -> str:
    """Return the name of the record in the index that lists the snapshots of a file."""
    return _MARKS + digest(file)


def digest(text: str) -> str:
    """Return a short text without slashes that is different for each `text`."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Label:
    """What the metadata of a file tell about it."""

    index: str
    """The identity of the index that knows the file."""
    path: str
    metadata: Mapping[str, str]
    written: int
    """When, in nanoseconds since 1970: of two files with the same name the later one counts."""


def label(index: str, path: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the label of a file as metadata of the protocol, cut into values that servers keep whole."""
    fields = {"index": index, "path": path, "metadata": dict(metadata), "written": int(clock.now().timestamp() * 1e9)}
    text = json.dumps({"format": FORMAT, **fields})
    starts = range(0, len(text), _LONGEST_VALUE)
    return {f"{_LABEL_KEY}{at // _LONGEST_VALUE:04}": text[at : at + _LONGEST_VALUE] for at in starts}


def read_label(metadata: Mapping[str, str]) -> Label | None:
    """Return the label in the metadata of a file, `None` if the file was not written under a name.

    :raises Unsupported: if a newer version of aiofs wrote it, in another format.
    """
    text = "".join(metadata[key] for key in sorted(metadata) if key.startswith(_LABEL_KEY))
    try:
        fields = dict(json.loads(text))
        check_format(None, "the label of a file", fields)
        return Label(str(fields["index"]), str(fields["path"]), dict(fields["metadata"]), int(fields["written"]))
    except (ValueError, KeyError, TypeError):
        return None
