"""Ids of files, such as `group1/M00/00/01/fwAAA2sAcB6ACvueAAAADg4Qul0904.txt`, and checks of arguments.

The checks refuse what servers would refuse, or accept and damage, before anything is sent.
"""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aiofs.errors import TooLarge, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = re.compile(r"[A-Za-z0-9]{1,16}")
EXTENSION = re.compile(r"(?!\.)[A-Za-z0-9_.-]{0,6}")
SLAVE_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,16}")

_NAME = re.compile(r"M([0-9A-Fa-f]{2})/[0-9A-Fa-f]{2}/[0-9A-Fa-f]{2}/([A-Za-z0-9_-]{27})([A-Za-z0-9_.-]{1,90})")
_TAIL = re.compile(r"[0-9]{7}|(?=.{7}$)[0-9]{0,5}\.[A-Za-z0-9_-][A-Za-z0-9_.-]{0,5}")
_TRUNK_TAIL_LENGTH = 16
_FACTS = struct.Struct("!4sIQI")
_TRUNK = struct.Struct("!III")

_APPENDER = 1 << 58
_IN_TRUNK = 1 << 59
_SALTED = 1 << 63
_LOW = 0xFFFFFFFF

Kind = Literal["normal", "appender", "slave"]

_LONGEST_KEY = 64
_LONGEST_VALUE = 256
_MOST_METADATA = 200_000
_SHORTEST_NAME = 44
_LARGEST = (1 << 63) - 1
_LAST_STORE_PATH = 127
_SEPARATORS = "\x00\x01\x02"


@dataclass(frozen=True, slots=True)
class TrunkPlace:
    """Where a small file is, in a trunk file that the storage keeps for many small files."""

    file: int
    offset: int
    allocated: int


@dataclass(frozen=True, slots=True)
class FileId:
    """The id of a file, and what it tells without a request.

    `size` and `crc32` are `None` for appenders and slaves, whose id does not tell them. A slave whose prefix is all
    digits can have an id that looks like that of a normal file; then only the storage knows the size.
    """

    group: str
    name: str
    kind: Kind = field(compare=False)
    path_index: int = field(compare=False)
    source: str | int = field(compare=False)
    """The storage that made the file: its IPv4 address, or its number if the cluster uses storage ids."""
    created: int = field(compare=False)
    """Seconds since 1970."""
    size: int | None = field(compare=False)
    crc32: int | None = field(compare=False)
    trunk: TrunkPlace | None = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> FileId:
        """Read an id.

        :raises ValueError: if `text` is not an id.
        """
        group, slash, name = text.partition("/")
        match = _NAME.fullmatch(name)
        if not slash or match is None or GROUP.fullmatch(group) is None:
            raise ValueError(f"{text!r} is not a FastDFS file id")
        source, created, size_field, crc32 = _FACTS.unpack(_decode(match[2]))
        kind, trunk = _kind(size_field, match[3])
        told = kind == "normal"
        return cls(
            group=group,
            name=name,
            kind=kind,
            path_index=int(match[1], 16),
            source=_source(source),
            created=created,
            size=_size(size_field) if told else None,
            crc32=crc32 if told else None,
            trunk=trunk,
        )

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


def looks_like_id(text: str) -> bool:
    """Whether `text` has the form of a file id."""
    group, slash, name = text.partition("/")
    return bool(slash) and GROUP.fullmatch(group) is not None and _NAME.fullmatch(name) is not None


def _decode(characters: str) -> bytes:
    return base64.urlsafe_b64decode(characters + "=" * (-len(characters) % 4))


def _kind(size_field: int, tail: str) -> tuple[Kind, TrunkPlace | None]:
    """Return the kind of a file. Every tail that a storage does not make by itself is that of a slave."""
    trunk = None
    if size_field & _IN_TRUNK and len(tail) > _TRUNK_TAIL_LENGTH:
        trunk = TrunkPlace(*_TRUNK.unpack(_decode(tail[:_TRUNK_TAIL_LENGTH])))
        tail = tail[_TRUNK_TAIL_LENGTH:]
    if _TAIL.fullmatch(tail) is None:
        return "slave", trunk
    return ("appender" if size_field & _APPENDER else "normal"), trunk


def _size(field: int) -> int:
    return field & _LOW if field & (_SALTED | _IN_TRUNK) else field


def _source(raw: bytes) -> str | int:
    """Read an IPv4 address, or a storage's number: little-endian and below 2**24, so with a zero last byte."""
    return ".".join(map(str, raw)) if raw[3] else int.from_bytes(raw, "little")


def check_group(group: str) -> str:
    """Return the name.

    :raises ValueError: if no group can have it.
    """
    if GROUP.fullmatch(group) is None:
        raise ValueError(f"{group!r} is not the name of a group: that has 1 to 16 letters and digits")
    return group


def check_extension(extension: str) -> str:
    """Return the extension.

    :raises ValueError: if no file can have it.
    """
    if EXTENSION.fullmatch(extension) is None:
        raise ValueError(
            f"{extension!r} is not an extension: up to 6 letters, digits, '-', '_' and '.', no leading '.'"
        )
    return extension


def check_prefix(prefix: str) -> str:
    """Return the prefix.

    :raises ValueError: if no slave can have it between the name of its master and its extension.
    """
    if SLAVE_PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"{prefix!r} is not the prefix of a slave: 1 to 16 letters, digits, '-', '_' and '.'")
    return prefix


def check_appender(text: str) -> FileId:
    """Return the id of an appender.

    :raises ValueError: if `text` is not an id.
    :raises Unsupported: if the file is of another kind: such files cannot be changed.
    """
    file = FileId.parse(text)
    if file.kind != "appender" or len(file.name) < _SHORTEST_NAME:
        raise Unsupported.of(text, f"a {file.kind} file cannot be changed, only an appender can")
    return file


def check_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Return the metadata.

    :raises ValueError: if servers would cut a key or a value, or misunderstand characters of it.
    :raises TooLarge: if all of it together is too long.
    """
    total = 0
    for key, value in metadata.items():
        if not key or not set(_SEPARATORS).isdisjoint(key + value):
            raise ValueError(f"metadata {key!r}: {value!r}: empty keys and the characters 0 to 2 are not possible")
        key_length, value_length = (len(text.encode(errors="surrogateescape")) for text in (key, value))
        if key_length > _LONGEST_KEY or value_length > _LONGEST_VALUE:
            raise ValueError(f"metadata {key[:80]!r}: keys have at most 64 bytes, values 256")
        total += key_length + value_length + len(_SEPARATORS)
    if total > _MOST_METADATA:
        raise TooLarge.of(None, f"{total} bytes of metadata: no server takes more than {_MOST_METADATA}")
    return metadata


def check_offset(offset: int) -> int:
    """Return the offset, or the size.

    :raises ValueError: if no file can have it.
    """
    if not 0 <= offset <= _LARGEST:
        raise ValueError(f"no file can have an offset or a size of {offset}")
    return offset


def check_store_path(index: int | None) -> int | None:
    """Return the number of a store path; -1 lets the storage choose.

    :raises ValueError: if no storage can have it.
    """
    if index is not None and not -1 <= index <= _LAST_STORE_PATH:
        raise ValueError(f"store_path_index must be between -1 and {_LAST_STORE_PATH}, not {index!r}")
    return index
