"""What trackers and storages answer: the values, and how they are read from bytes. Pure functions, no I/O.

Answers of different versions have fields of different widths; the length of the body tells which they are.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiofs.backends.fastdfs.client.errors import ProtocolError
from aiofs.backends.fastdfs.client.ids import GROUP, FileId

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

_STATES = {
    0: "INIT",
    1: "WAIT_SYNC",
    2: "SYNCING",
    3: "IP_CHANGED",
    4: "DELETED",
    5: "OFFLINE",
    6: "ONLINE",
    7: "ACTIVE",
    9: "RECOVERY",
}
_TOTALS = "10q3i42q?"
_STORAGE = (
    "state rw_mode id ip source_id version joined started total_mb free_mb"
    " reserved_mb upload_priority store_paths subdirs current_write_path port"
)
_OLD_STORAGE = (
    "state id ip - source_id version joined started total_mb free_mb"
    " upload_priority store_paths subdirs current_write_path port -"
)


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int) -> Address:
        """Read `host`, `host:port`, `::1`, `[::1]` or `[::1]:port`.

        :raises ValueError: if `text` is not an address.
        """
        host, colon, port = text.rpartition(":")
        if not colon or "]" in port or (":" in host and not host.endswith("]")):
            host, port = text, str(default_port)
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) <= _LARGEST_PORT:
            raise ValueError(f"{text!r} is not the address of a server: host or host:port")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StoragePlace:
    """A storage that a tracker named, and the number of its path for an upload (-1: the storage chooses)."""

    group: str
    address: Address
    path_index: int = -1


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a storage knows about a file."""

    size: int
    modified: int
    """Seconds since 1970."""
    crc32: int | None
    """`None` if it was not asked for, and the id does not tell it."""
    source: str
    """The address of the storage that made the file."""


class LoggedName(NamedTuple):
    """A line of the log in which a storage names the files that still exist."""

    time: int
    operation: str
    """`C`: created here, `c`: replicated; `L` and `l`: the same for links."""
    name: str


def nothing(_body: bytes) -> None:
    """Ignore the body: some servers repeat the request in it."""


def store_place(body: bytes) -> StoragePlace:
    """Read the storage and the path for an upload."""
    return only(store_places(body))


def store_places(body: bytes) -> list[StoragePlace]:
    """Read the storages and the path for an upload."""
    found = places(body[:-1])
    path_index = int.from_bytes(body[-1:], signed=True)
    return [StoragePlace(place.group, place.address, path_index) for place in found]


def place(body: bytes) -> StoragePlace:
    """Read the storage that has a file."""
    return only(places(body))


def places(body: bytes) -> list[StoragePlace]:
    """Read the storages that have a file."""
    rest = body[_GROUP_WIDTH:]
    for ip_width in _IP_WIDTHS:
        width = ip_width + _PORT.size
        if rest and len(rest) % width == 0:
            group = group_name(body[:_GROUP_WIDTH])
            fields = (rest[start : start + width] for start in range(0, len(rest), width))
            return [StoragePlace(group, _address(field)) for field in fields]
    raise ProtocolError(f"{len(body)} bytes are not a list of places")


def fetch_places(body: bytes) -> list[StoragePlace]:
    """Read the storages from which a file can be read. The first has a port, and the others have the same port.

    Both widths of addresses may fit the length. With the wrong one the port is read from the middle of an address, and
    is not a possible port.
    """
    rest = body[_GROUP_WIDTH:]
    for width in _IP_WIDTHS:
        others = rest[width + _PORT.size :]
        if len(rest) < width + _PORT.size or len(others) % width or not _is_port(rest, width):
            continue
        first = _address(rest[: width + _PORT.size])
        hosts = [_ip(others[start : start + width]) for start in range(0, len(others), width)]
        group = group_name(body[:_GROUP_WIDTH])
        return [StoragePlace(group, address) for address in (first, *(Address(host, first.port) for host in hosts))]
    raise ProtocolError(f"{len(body)} bytes are not a list of storages to read a file from")


def file_info(body: bytes) -> FileInfo:
    """Read a file's size, age, checksum and source."""
    if len(body) - _INFO.size not in _INFO_IP_WIDTHS:
        raise ProtocolError(f"{len(body)} bytes are not information about a file")
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
    """Read a file's metadata. Bytes that are not UTF-8, which other clients may write, become lone surrogates."""
    pairs = (pair.partition("\x02") for pair in body.decode(errors="surrogateescape").split("\x01") if pair)
    return {key: value for key, _, value in pairs}


def logged_name(line: bytes) -> LoggedName:
    """Read a line of a storage's log of names."""
    words = _ascii(line).split(" ")
    if len(words) < _LINE_WORDS or not words[0].isdecimal():
        raise ProtocolError(f"{line[:200]!r} is not a line of a storage's log")
    return LoggedName(int(words[0]), words[1], words[2])


def only(values: Sequence[T]) -> T:
    """Return the only value of an answer."""
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
        raise ProtocolError(f"{name!r} is not the name of a group")
    return name


def _ascii(field: bytes) -> str:
    try:
        return field.decode("ascii")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{field[:200]!r} is not ASCII text") from error


def _address(field: bytes) -> Address:
    width = len(field) - _PORT.size
    (port,) = _PORT.unpack_from(field, width)
    if not _is_port(field, width):
        raise ProtocolError(f"{port} is not a port")
    return Address(_ip(field[:width]), port)


def _is_port(field: bytes, offset: int) -> bool:
    (port,) = _PORT.unpack_from(field, offset)
    return bool(0 < port <= _LARGEST_PORT)


def _ip(field: bytes) -> str:
    ip = text(field)
    try:
        ipaddress.ip_address(ip)
    except ValueError as error:
        raise ProtocolError(f"{ip!r} is not an address") from error
    return ip


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """A group of storages that hold the same files. A field is `None` if this version does not tell it."""

    name: str
    total_mb: int
    free_mb: int
    reserved_mb: int | None
    trunk_free_mb: int
    storages: int
    port: int
    readable: int
    writable: int
    current_write_server: int
    store_paths: int
    subdirs: int
    current_trunk_file: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageInfo:
    """A storage as a tracker knows it. A field is `None` if this version does not tell it."""

    state: str
    rw_mode: int | None
    id: str
    ip: str
    source_id: str
    version: str
    joined: int
    started: int
    total_mb: int
    free_mb: int
    reserved_mb: int | None
    upload_priority: int
    store_paths: int
    subdirs: int
    current_write_path: int
    port: int
    connections: tuple[int, int, int]
    """Allocated, in use, and the largest number there was."""
    counters: tuple[int, ...]
    is_trunk_server: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """The record of one version: its form and the names of its fields. A field named `-` is not used any more."""

    form: struct.Struct
    names: str

    def fits(self, body: bytes) -> bool:
        return len(body) % self.form.size == 0

    def read(self, body: bytes) -> Iterator[dict[str, Any]]:
        names = self.names.split()
        for values in self.form.iter_unpack(body):
            named = dict(zip(names, values, strict=False))
            named.pop("-", None)
            yield named | {"rest": values[len(names) :]}


_GROUP_LAYOUTS = (
    _Layout(
        struct.Struct("!17s12q"),
        "name total_mb free_mb reserved_mb trunk_free_mb storages port readable writable"
        " current_write_server store_paths subdirs current_trunk_file",
    ),
    _Layout(
        struct.Struct("!17s11q"),
        "name total_mb free_mb trunk_free_mb storages port - readable"
        " current_write_server store_paths subdirs current_trunk_file",
    ),
)

_STORAGE_LAYOUTS = (
    _Layout(struct.Struct(f"!BB16s16s16s8s{_TOTALS}"), _STORAGE),
    _Layout(struct.Struct(f"!BB16s46s16s8s{_TOTALS}"), _STORAGE),
    _Layout(struct.Struct(f"!B16s46s128s16s8s{_TOTALS}"), _OLD_STORAGE),
    _Layout(struct.Struct(f"!B16s16s128s16s6s{_TOTALS}"), _OLD_STORAGE),
)


def one_group(body: bytes) -> GroupInfo:
    """Read the record of a group."""
    return only(groups(body))


def groups(body: bytes) -> list[GroupInfo]:
    """Read the records of groups: of 113 bytes since 6.13, of 105 before."""
    for layout in _GROUP_LAYOUTS:
        if layout.fits(body) and all(_is_name(record["name"]) for record in layout.read(body)):
            return [_group(record) for record in layout.read(body)]
    raise ProtocolError(f"{len(body)} bytes are not a list of groups")


def storages(body: bytes) -> list[StorageInfo]:
    """Read the records of storages: of 487 or 517 bytes since 6.13, of 644 in 6.11 and 6.12, of 612 before."""
    for layout in _STORAGE_LAYOUTS:
        if layout.fits(body):
            return [_storage(record) for record in layout.read(body)]
    raise ProtocolError(f"{len(body)} bytes are not a list of storages")


def _is_name(field: bytes) -> bool:
    try:
        return bool(group_name(field))
    except ProtocolError:
        return False


def _group(record: dict[str, Any]) -> GroupInfo:
    del record["rest"]
    name = group_name(record.pop("name"))
    facts: dict[str, Any] = {"reserved_mb": None, "writable": record["readable"], **record}
    return GroupInfo(name=name, **facts)


def _storage(record: dict[str, Any]) -> StorageInfo:
    *numbers, is_trunk_server = record.pop("rest")
    state = record.pop("state")
    texts = {name: text(record.pop(name)) for name in ("id", "ip", "source_id", "version")}
    facts: dict[str, Any] = {"rw_mode": None, "reserved_mb": None, **record, **texts}
    return StorageInfo(
        **facts,
        state=_STATES.get(state, str(state)),
        connections=(numbers[0], numbers[1], numbers[2]),
        counters=tuple(numbers[3:]),
        is_trunk_server=is_trunk_server,
    )
