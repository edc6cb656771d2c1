"""The requests to trackers and storages, as bytes, and which function reads each answer. Pure functions, no I/O.

A message is a header of ten bytes (body length, command, status) and a body. Integers are big-endian and signed, of
64 bits; texts of fixed width are padded with NULs; a field of variable length comes last.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from aiofs.backends.fastdfs.client import answers
from aiofs.backends.fastdfs.client.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiofs.backends.fastdfs.client.answers import FileInfo, GroupInfo, StorageInfo, StoragePlace
    from aiofs.backends.fastdfs.client.ids import FileId

T = TypeVar("T")

HEADER = struct.Struct("!qBB")
LONGEST_BODY = 1 << 18
"""No answer that is read as a whole is longer: the lists of 512 groups and of 32 storages are much shorter."""
LISTING_LENGTH = 1 << 58
"""The length that announces a body of unknown length: it ends with the connection."""

_ANSWER = 100
_GROUP_WIDTH = 16
_EXTENSION_WIDTH = 6
_PREFIX_WIDTH = 16
_QUIET = 3
"""Flags of a query for information: compute no checksum, and log nothing when the file is missing."""


class Command(IntEnum):
    """The number of each request. Those from 82 on are for trackers; 82 and 111 are for storages too."""

    UPLOAD = 11
    DELETE = 12
    SET_METADATA = 13
    DOWNLOAD = 14
    GET_METADATA = 15
    UPLOAD_SLAVE = 21
    QUERY_INFO = 22
    UPLOAD_APPENDER = 23
    APPEND = 24
    LIST_NAMES = 26
    MODIFY = 34
    TRUNCATE = 36
    REGENERATE = 38
    QUIT = 82
    LIST_GROUP = 90
    LIST_GROUPS = 91
    LIST_STORAGES = 92
    QUERY_STORE = 101
    QUERY_FETCH = 102
    QUERY_UPDATE = 103
    QUERY_STORE_IN_GROUP = 104
    QUERY_FETCH_ALL = 105
    QUERY_STORE_ALL = 106
    QUERY_STORE_IN_GROUP_ALL = 107
    ACTIVE_TEST = 111


@dataclass(frozen=True, slots=True)
class FastDFSRequest(Generic[T]):
    """A request, and the function that reads the body of its answer."""

    command: int
    body: bytes
    decode: Callable[[bytes], T]
    payload: int = 0
    """How many bytes of a file follow the body."""
    flags: int = 0
    repeatable: bool = False
    """Whether sending it twice has the effect of sending it once."""

    @property
    def frame(self) -> bytes:
        """The bytes to be sent before the payload."""
        return HEADER.pack(len(self.body) + self.payload, self.command, self.flags) + self.body


@dataclass(frozen=True, slots=True)
class AnswerHeader:
    """The header of an answer. After a status other than 0 there is no body, whatever the length says."""

    length: int
    status: int

    @classmethod
    def parse(cls, header: bytes) -> AnswerHeader:
        """Read the ten bytes.

        :raises ProtocolError: if they are not the header of an answer.
        """
        length, command, status = HEADER.unpack(header)
        if command != _ANSWER:
            raise ProtocolError(f"an answer begins with command {command} instead of {_ANSWER}")
        if length < 0 and not status:
            raise ProtocolError(f"an answer announces {length} bytes")
        return cls(length, status)


def active_test() -> FastDFSRequest[None]:
    """Ask whether the server answers."""
    return FastDFSRequest(Command.ACTIVE_TEST, b"", answers.nothing, repeatable=True)


def goodbye() -> FastDFSRequest[None]:
    """Ask the server to close the connection. It does that instead of answering."""
    return FastDFSRequest(Command.QUIT, b"", answers.nothing)


def query_store(group: str | None = None) -> FastDFSRequest[StoragePlace]:
    """Ask a tracker for the storage of a new file."""
    if group is None:
        return FastDFSRequest(Command.QUERY_STORE, b"", answers.store_place, repeatable=True)
    return FastDFSRequest(Command.QUERY_STORE_IN_GROUP, _group(group), answers.store_place, repeatable=True)


def query_store_all(group: str | None = None) -> FastDFSRequest[list[StoragePlace]]:
    """Ask a tracker for all storages that take new files."""
    if group is None:
        return FastDFSRequest(Command.QUERY_STORE_ALL, b"", answers.store_places, repeatable=True)
    return FastDFSRequest(Command.QUERY_STORE_IN_GROUP_ALL, _group(group), answers.store_places, repeatable=True)


def query_fetch(file: FileId) -> FastDFSRequest[StoragePlace]:
    """Ask a tracker for a storage to read a file from."""
    return FastDFSRequest(Command.QUERY_FETCH, _named(file), answers.place, repeatable=True)


def query_fetch_all(file: FileId) -> FastDFSRequest[list[StoragePlace]]:
    """Ask a tracker for all storages to read a file from."""
    return FastDFSRequest(Command.QUERY_FETCH_ALL, _named(file), answers.fetch_places, repeatable=True)


def query_update(file: FileId) -> FastDFSRequest[StoragePlace]:
    """Ask a tracker for the storage where a file can be changed."""
    return FastDFSRequest(Command.QUERY_UPDATE, _named(file), answers.place, repeatable=True)


def list_groups() -> FastDFSRequest[list[GroupInfo]]:
    """Ask a tracker for its groups."""
    return FastDFSRequest(Command.LIST_GROUPS, b"", answers.groups, repeatable=True)


def list_group(group: str) -> FastDFSRequest[GroupInfo]:
    """Ask a tracker for one group."""
    return FastDFSRequest(Command.LIST_GROUP, _group(group), answers.one_group, repeatable=True)


def list_storages(group: str, storage: str = "") -> FastDFSRequest[list[StorageInfo]]:
    """Ask a tracker for the storages of a group, or for the one with this id."""
    return FastDFSRequest(Command.LIST_STORAGES, _group(group) + storage.encode(), answers.storages, repeatable=True)


def upload(path_index: int, size: int, extension: str, *, appender: bool = False) -> FastDFSRequest[str]:
    """Store `size` bytes, which follow, as a new file; the answer is its id."""
    command = Command.UPLOAD_APPENDER if appender else Command.UPLOAD
    body = struct.pack("!bq", path_index, size) + _padded(extension, _EXTENSION_WIDTH)
    return FastDFSRequest(command, body, answers.file_id, payload=size)


def upload_slave(master: FileId, prefix: str, size: int, extension: str) -> FastDFSRequest[str]:
    """Store `size` bytes, which follow, as a slave of another file; the answer is its id."""
    name = master.name.encode()
    fields = _padded(prefix, _PREFIX_WIDTH) + _padded(extension, _EXTENSION_WIDTH)
    return FastDFSRequest(
        Command.UPLOAD_SLAVE, _integers(len(name), size) + fields + name, answers.file_id, payload=size
    )


def append(file: FileId, size: int) -> FastDFSRequest[None]:
    """Add `size` bytes, which follow, to the end of an appender."""
    name = file.name.encode()
    return FastDFSRequest(Command.APPEND, _integers(len(name), size) + name, answers.nothing, payload=size)


def modify(file: FileId, offset: int, size: int) -> FastDFSRequest[None]:
    """Overwrite bytes of an appender from `offset` on with `size` bytes, which follow."""
    name = file.name.encode()
    return FastDFSRequest(Command.MODIFY, _integers(len(name), offset, size) + name, answers.nothing, payload=size)


def truncate(file: FileId, size: int) -> FastDFSRequest[None]:
    """Cut an appender, or extend it with zeros."""
    name = file.name.encode()
    return FastDFSRequest(Command.TRUNCATE, _integers(len(name), size) + name, answers.nothing)


def regenerate(file: FileId) -> FastDFSRequest[str]:
    """Make a normal file of an appender; the answer is its new id."""
    return FastDFSRequest(Command.REGENERATE, file.name.encode(), answers.file_id)


def download(file: FileId, offset: int, length: int) -> FastDFSRequest[None]:
    """Ask for bytes of a file, with length 0 for all from `offset` on. The caller reads them from the connection."""
    return FastDFSRequest(Command.DOWNLOAD, _integers(offset, length) + _named(file), answers.nothing, repeatable=True)


def delete(file: FileId) -> FastDFSRequest[None]:
    """Remove a file and its metadata."""
    return FastDFSRequest(Command.DELETE, _named(file), answers.nothing)


def query_info(file: FileId, *, checksum: bool = False) -> FastDFSRequest[FileInfo]:
    """Ask for a file's size and age, and its checksum, for which the storage may have to read all of it."""
    flags = 0 if checksum else _QUIET
    return FastDFSRequest(Command.QUERY_INFO, _named(file), answers.file_info, flags=flags, repeatable=True)


def get_metadata(file: FileId) -> FastDFSRequest[dict[str, str]]:
    """Ask for a file's metadata."""
    return FastDFSRequest(Command.GET_METADATA, _named(file), answers.metadata, repeatable=True)


def set_metadata(file: FileId, metadata: Mapping[str, str], *, merge: bool = False) -> FastDFSRequest[None]:
    """Replace a file's metadata, or the given keys of it."""
    name = file.name.encode()
    pairs = "\x01".join(f"{key}\x02{value}" for key, value in metadata.items()).encode(errors="surrogateescape")
    body = _integers(len(name), len(pairs)) + (b"M" if merge else b"O") + _group(file.group) + name + pairs
    return FastDFSRequest(Command.SET_METADATA, body, answers.nothing)


def list_names(group: str, path_index: int) -> FastDFSRequest[None]:
    """Ask for the log of the files that a storage has on one path. The answer ends with the connection."""
    return FastDFSRequest(
        Command.LIST_NAMES, _group(group) + struct.pack("!b", path_index), answers.nothing, repeatable=True
    )


def _integers(*values: int) -> bytes:
    return struct.pack(f"!{len(values)}q", *values)


def _padded(text: str, width: int) -> bytes:
    return text.encode().ljust(width, b"\0")


def _group(name: str) -> bytes:
    return _padded(name, _GROUP_WIDTH)


def _named(file: FileId) -> bytes:
    return _group(file.group) + file.name.encode()
