"""What the servers would not accept, or worse: accept and spoil. Refused before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.ids import EXTENSION, GROUP, SLAVE_PREFIX, FileId
from aiofs.errors import TooLarge, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_KEY = 64
_LONGEST_VALUE = 256
_MOST_METADATA = 200_000
_SHORTEST_NAME = 44
_LARGEST = (1 << 63) - 1
_LAST_STORE_PATH = 127
_SEPARATORS = "\x00\x01\x02"


def check_group(group: str) -> str:
    """Return the name if a group can have it.

    :raises ValueError: if none can.
    """
    if GROUP.fullmatch(group) is None:
        raise ValueError(f"{group!r} is no name of a group: 1 to 16 letters and digits")
    return group


def check_extension(extension: str) -> str:
    """Return the extension if a file can have it.

    :raises ValueError: if none can.
    """
    if EXTENSION.fullmatch(extension) is None:
        raise ValueError(f"{extension!r} is no extension: up to 6 letters, digits, '-', '_' and '.', no leading '.'")
    return extension


def check_prefix(prefix: str) -> str:
    """Return what a slave's name has before its extension, if that can be.

    :raises ValueError: if it cannot.
    """
    if SLAVE_PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"{prefix!r} is no slave's prefix: 1 to 16 letters, digits, '-', '_' and '.'")
    return prefix


def check_appender(text: str) -> FileId:
    """Return the id if it is an appender's.

    :raises ValueError: if it is no id.
    :raises Unsupported: if the file is another kind, which nobody can change.
    """
    file = FileId.parse(text)
    if file.kind != "appender" or len(file.name) < _SHORTEST_NAME:
        raise Unsupported.of(text, f"a {file.kind} file cannot be changed, only an appender can")
    return file


def check_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Return the metadata if servers keep it whole: longer keys and values they cut, some characters confuse them.

    :raises ValueError: if a key or a value is of that kind.
    :raises TooLarge: if it is too much altogether.
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
    """Return the offset, or size, if a file can have it.

    :raises ValueError: if none can.
    """
    if not 0 <= offset <= _LARGEST:
        raise ValueError(f"no file has an offset or a size of {offset}")
    return offset


def check_store_path(index: int | None) -> int | None:
    """Return the number of a store path if a storage can have it; -1 lets the storage choose.

    :raises ValueError: if none can.
    """
    if index is not None and not -1 <= index <= _LAST_STORE_PATH:
        raise ValueError(f"store_path_index must be between -1 and {_LAST_STORE_PATH}, not {index!r}")
    return index
