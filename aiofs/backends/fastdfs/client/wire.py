"""What a server is asked: every request as bytes, and how its answer reads. Pure functions, no I/O.

A message is a header of ten bytes (body length, command, status) and a body. Integers are big-endian and signed, of
64 bits; texts of fixed width are padded with NULs; what varies in length comes last.
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

    from aiofs.backends.fastdfs.client.answers import FileInfo, GroupInfo, Place, StorageInfo
    from aiofs.backends.fastdfs.client.ids import FileId

T = TypeVar("T")

HEADER = struct.Struct("!qBB")
LONGEST_BODY = 1 << 18
"""No answer that is read whole is longer; the lists of 512 groups and of 32 storages are far from it."""
LISTING_LENGTH = 1 << 58
"""The length that announces a body without one: it ends with the connection."""

_ANSWER = 100
_GROUP_WIDTH = 16
_EXTENSION_WIDTH = 6
_PREFIX_WIDTH = 16
_QUIET = 3
"""As flags of a query for information: compute no checksum, log nothing when the file is missing."""


class Command(IntEnum):
    """What trackers (from 82 on, with 111) and storages are asked."""

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
class Request(Generic[T]):
    """One request, and how the body of its answer reads."""

    command: int
    body: bytes
    decode: Callable[[bytes], T]
    payload: int = 0
    """How many bytes of a file follow the body."""
    flags: int = 0
    repeatable: bool = False
    """Whether asking twice does no more than asking once."""

    @property
    def frame(self) -> bytes:
        """The bytes to be sent before the payload."""
        return HEADER.pack(len(self.body) + self.payload, self.command, self.flags) + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """The header of an answer. One with a status has no body, even if it announces the length of one."""

    length: int
    status: int

    @classmethod
    def parse(cls, header: bytes) -> Answer:
        """Read the ten bytes.

        :raises ProtocolError: if they are no answer's header.
        """
        length, command, status = HEADER.unpack(header)
        if command != _ANSWER:
            raise ProtocolError(f"an answer begins with command {command} instead of {_ANSWER}")
        if length < 0 and not status:
            raise ProtocolError(f"an answer announces {length} bytes")
        return cls(length, status)


def active_test() -> Request[None]:
    """Ask whether anybody is there."""
    return Request(Command.ACTIVE_TEST, b"", answers.nothing, repeatable=True)


def goodbye() -> Request[None]:
    """Ask the server to close the connection, which is all the answer there is."""
    return Request(Command.QUIT, b"", answers.nothing)


def query_store(group: str | None = None) -> Request[Place]:
    """Ask a tracker where to upload to."""
    if group is None:
        return Request(Command.QUERY_STORE, b"", answers.store_place, repeatable=True)
    return Request(Command.QUERY_STORE_IN_GROUP, _group(group), answers.store_place, repeatable=True)


def query_store_all(group: str | None = None) -> Request[list[Place]]:
    """Ask a tracker for all storages to which one could upload."""
    if group is None:
        return Request(Command.QUERY_STORE_ALL, b"", answers.store_places, repeatable=True)
    return Request(Command.QUERY_STORE_IN_GROUP_ALL, _group(group), answers.store_places, repeatable=True)


def query_fetch(file: FileId) -> Request[Place]:
    """Ask a tracker where to read a file."""
    return Request(Command.QUERY_FETCH, _named(file), answers.place, repeatable=True)


def query_fetch_all(file: FileId) -> Request[list[Place]]:
    """Ask a tracker for all storages that can give the file."""
    return Request(Command.QUERY_FETCH_ALL, _named(file), answers.fetch_places, repeatable=True)


def query_update(file: FileId) -> Request[Place]:
    """Ask a tracker where to change a file."""
    return Request(Command.QUERY_UPDATE, _named(file), answers.place, repeatable=True)


def list_groups() -> Request[list[GroupInfo]]:
    """Ask a tracker for its groups."""
    return Request(Command.LIST_GROUPS, b"", answers.groups, repeatable=True)


def list_group(group: str) -> Request[GroupInfo]:
    """Ask a tracker for one group."""
    return Request(Command.LIST_GROUP, _group(group), answers.one_group, repeatable=True)


def list_storages(group: str, storage: str = "") -> Request[list[StorageInfo]]:
    """Ask a tracker for the storages of a group, or for the one with this id."""
    return Request(Command.LIST_STORAGES, _group(group) + storage.encode(), answers.storages, repeatable=True)


def upload(path_index: int, size: int, extension: str, *, appender: bool = False) -> Request[str]:
    """Send `size` bytes to a storage for a new file; the answer is its id."""
    command = Command.UPLOAD_APPENDER if appender else Command.UPLOAD
    body = struct.pack("!bq", path_index, size) + _padded(extension, _EXTENSION_WIDTH)
    return Request(command, body, answers.file_id, payload=size)


def upload_slave(master: FileId, prefix: str, size: int, extension: str) -> Request[str]:
    """Send `size` bytes for a file whose name derives from another's; the answer is its id."""
    name = master.name.encode()
    fields = _padded(prefix, _PREFIX_WIDTH) + _padded(extension, _EXTENSION_WIDTH)
    return Request(Command.UPLOAD_SLAVE, _integers(len(name), size) + fields + name, answers.file_id, payload=size)


def append(file: FileId, size: int) -> Request[None]:
    """Send `size` bytes for the end of an appender."""
    name = file.name.encode()
    return Request(Command.APPEND, _integers(len(name), size) + name, answers.nothing, payload=size)


def modify(file: FileId, offset: int, size: int) -> Request[None]:
    """Send `size` bytes for the middle of an appender."""
    name = file.name.encode()
    return Request(Command.MODIFY, _integers(len(name), offset, size) + name, answers.nothing, payload=size)


def truncate(file: FileId, size: int) -> Request[None]:
    """Cut an appender, or extend it with zeros."""
    name = file.name.encode()
    return Request(Command.TRUNCATE, _integers(len(name), size) + name, answers.nothing)


def regenerate(file: FileId) -> Request[str]:
    """Make a normal file of an appender; the answer is its new id."""
    return Request(Command.REGENERATE, file.name.encode(), answers.file_id)


def download(file: FileId, offset: int, length: int) -> Request[None]:
    """Ask for bytes of a file, with length 0 for all from `offset` on. They are to be streamed, not decoded."""
    return Request(Command.DOWNLOAD, _integers(offset, length) + _named(file), answers.nothing, repeatable=True)


def delete(file: FileId) -> Request[None]:
    """Remove a file and its metadata."""
    return Request(Command.DELETE, _named(file), answers.nothing)


def query_info(file: FileId, *, checksum: bool = False) -> Request[FileInfo]:
    """Ask for a file's size and age; with its checksum, for which the storage may have to read all of it."""
    flags = 0 if checksum else _QUIET
    return Request(Command.QUERY_INFO, _named(file), answers.file_info, flags=flags, repeatable=True)


def get_metadata(file: FileId) -> Request[dict[str, str]]:
    """Ask for a file's metadata."""
    return Request(Command.GET_METADATA, _named(file), answers.metadata, repeatable=True)


def set_metadata(file: FileId, metadata: Mapping[str, str], *, merge: bool = False) -> Request[None]:
    """Replace a file's metadata, or the given keys of it."""
    name = file.name.encode()
    pairs = "\x01".join(f"{key}\x02{value}" for key, value in metadata.items()).encode(errors="surrogateescape")
    body = _integers(len(name), len(pairs)) + (b"M" if merge else b"O") + _group(file.group) + name + pairs
    return Request(Command.SET_METADATA, body, answers.nothing)


def list_names(group: str, path_index: int) -> Request[None]:
    """Ask for the log of all files that a storage still has on one path. It ends with the connection."""
    return Request(Command.LIST_NAMES, _group(group) + struct.pack("!b", path_index), answers.nothing, repeatable=True)


def _integers(*values: int) -> bytes:
    return struct.pack(f"!{len(values)}q", *values)


def _padded(text: str, width: int) -> bytes:
    return text.encode().ljust(width, b"\0")


def _group(name: str) -> bytes:
    return _padded(name, _GROUP_WIDTH)


def _named(file: FileId) -> bytes:
    return _group(file.group) + file.name.encode()
