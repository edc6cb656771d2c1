"""What trackers and storages answer: the values, and how they are read from bytes. Pure functions, no I/O.

Versions differ in the width of addresses; the length of the body always tells which it is.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from aiofs.backends.fastdfs.ids import GROUP, FileId

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_GROUP_WIDTH = 16
_PORT = struct.Struct("!q")
_IP_WIDTHS = (15, 45)
_INFO = struct.Struct("!qqq")
_INFO_IP_WIDTHS = (16, 46)
_CRC_BITS = 32
_CRC_MASK = 0xFFFFFFFF
_LARGEST_PORT = 0xFFFF
_LARGEST_TIME = 1 << 40
_LINE_WORDS = 3


class ProtocolError(Exception):
    """A server sent what the protocol does not allow."""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int) -> Address:
        """Read `host`, `host:port`, `::1`, `[::1]` or `[::1]:port`.

        :raises ValueError: if this is no address.
        """
        host, colon, port = text.rpartition(":")
        if not colon or "]" in port or (":" in host and not host.endswith("]")):
            host, port = text, str(default_port)
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) <= _LARGEST_PORT:
            raise ValueError(f"{text!r} is no server's address: host:port")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Place:
    """A storage that a tracker named, and on which of its paths an upload is to go (-1: the storage chooses)."""

    group: str
    address: Address
    path_index: int = -1


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a storage knows of a file."""

    size: int
    modified: int
    """Seconds since 1970."""
    crc32: int | None
    """`None` where nobody computed it."""
    source: str
    """The address of the storage that made the file."""


class LoggedName(NamedTuple):
    """A line of a storage's log of the files that still exist."""

    time: int
    operation: str
    """`C`: created here, `c`: replicated; `L` and `l`: the same for links."""
    name: str


def nothing(_body: bytes) -> None:
    """Read an answer that carries nothing. What is there all the same is the echo of a request that changed nothing."""


def store_place(body: bytes) -> Place:
    """Read the storage and the path for an upload."""
    return only(store_places(body))


def store_places(body: bytes) -> list[Place]:
    """Read the storages and the path for an upload."""
    found = places(body[:-1])
    path_index = int.from_bytes(body[-1:], signed=True)
    return [Place(place.group, place.address, path_index) for place in found]


def place(body: bytes) -> Place:
    """Read the storage of a file."""
    return only(places(body))


def places(body: bytes) -> list[Place]:
    """Read the storages of a file."""
    rest = body[_GROUP_WIDTH:]
    for ip_width in _IP_WIDTHS:
        width = ip_width + _PORT.size
        if rest and len(rest) % width == 0:
            group = group_name(body[:_GROUP_WIDTH])
            fields = (rest[start : start + width] for start in range(0, len(rest), width))
            return [Place(group, _address(field)) for field in fields]
    raise ProtocolError(f"{len(body)} bytes are no list of storages")


def fetch_places(body: bytes) -> list[Place]:
    """Read the storages that can give a file. The first one's port is also that of the others, which are only named.

    Both widths of addresses may fit the length. With the wrong one the port is read from the middle of an address: it
    would be nothing or no port at all.
    """
    rest = body[_GROUP_WIDTH:]
    for width in _IP_WIDTHS:
        others = rest[width + _PORT.size :]
        if len(rest) < width + _PORT.size or len(others) % width or not _is_port(rest, width):
            continue
        first = _address(rest[: width + _PORT.size])
        hosts = [_ip(others[start : start + width]) for start in range(0, len(others), width)]
        group = group_name(body[:_GROUP_WIDTH])
        return [Place(group, address) for address in (first, *(Address(host, first.port) for host in hosts))]
    raise ProtocolError(f"{len(body)} bytes are no list of storages that can give a file")


def file_info(body: bytes) -> FileInfo:
    """Read a file's size, age, checksum and source."""
    if len(body) - _INFO.size not in _INFO_IP_WIDTHS:
        raise ProtocolError(f"{len(body)} bytes are no information about a file")
    size, modified, crc32 = _INFO.unpack_from(body)
    if size < 0 or not 0 <= modified < _LARGEST_TIME or crc32 >> (_CRC_BITS - 1) not in {0, 1, -1}:
        raise ProtocolError(f"a file of {size} bytes, modified at {modified}, with checksum {crc32}")
    return FileInfo(size, modified, crc32 & _CRC_MASK, _ip(body[_INFO.size :]))


def file_id(body: bytes) -> str:
    """Read the id of a file that was uploaded."""
    text = f"{group_name(body[:_GROUP_WIDTH])}/{_ascii(body[_GROUP_WIDTH:])}"
    try:
        return str(FileId.parse(text))
    except ValueError as error:
        raise ProtocolError(str(error)) from error


def metadata(body: bytes) -> dict[str, str]:
    """Read a file's metadata. Bytes that are not UTF-8 become lone surrogates: other clients write what they like."""
    pairs = (pair.partition("\x02") for pair in body.decode(errors="surrogateescape").split("\x01") if pair)
    return {key: value for key, _, value in pairs}


def logged_name(line: bytes) -> LoggedName:
    """Read a line of a storage's log of names."""
    words = _ascii(line).split(" ")
    if len(words) < _LINE_WORDS or not words[0].isdecimal():
        raise ProtocolError(f"{line[:200]!r} is no line of a storage's log")
    return LoggedName(int(words[0]), words[1], words[2])


def only(values: Sequence[T]) -> T:
    """Return the value of an answer that has one."""
    if len(values) != 1:
        raise ProtocolError(f"{len(values)} records where one was asked for")
    return values[0]


def text(field: bytes) -> str:
    """Read a text that is padded with NULs."""
    return _ascii(field.partition(b"\0")[0])


def group_name(field: bytes) -> str:
    """Read the name of a group."""
    name = text(field)
    if GROUP.fullmatch(name) is None:
        raise ProtocolError(f"{name!r} is no name of a group")
    return name


def _ascii(field: bytes) -> str:
    try:
        return field.decode("ascii")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{field[:200]!r} is no text") from error


def _address(field: bytes) -> Address:
    width = len(field) - _PORT.size
    (port,) = _PORT.unpack_from(field, width)
    if not _is_port(field, width):
        raise ProtocolError(f"{port} is no port")
    return Address(_ip(field[:width]), port)


def _is_port(field: bytes, offset: int) -> bool:
    (port,) = _PORT.unpack_from(field, offset)
    return bool(0 < port <= _LARGEST_PORT)


def _ip(field: bytes) -> str:
    ip = text(field)
    try:
        ipaddress.ip_address(ip)
    except ValueError as error:
        raise ProtocolError(f"{ip!r} is no address") from error
    return ip
