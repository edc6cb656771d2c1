"""Properties of files: content type, cache control, tags and the like, which a store keeps beside the user's metadata.

Users give and get them by name. Drivers get them in the `metadata` of `Driver.begin`, under their names behind a colon
(`:content_type`); no key of a user may begin with a colon. So layers, transactions and journals pass them on without
knowing them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TypedDict, cast
from urllib.parse import parse_qsl, urlencode

from aiofs.errors import Unsupported

MARK = ":"
OWNERSHIP = ":ownership"
"""The key under which a store with the power `HasOwners` gets owner and permissions. Users do not set it."""
PERMISSIONS = ":permissions"
"""The key under which drivers get `permissions`, as octal digits."""
TTL = ":ttl"
"""The key under which drivers get `ttl`, in seconds."""
EXPIRES = ":expires"
"""The key under which drivers get the time when a new version of a file goes away, as the old one would have."""
_ALL_PERMISSIONS = 0o777
_LONGEST_TTL = 10_000_000_000
_HEADERS = {  # what users write into metadata, and mean the header of this name
    "content-type": "content_type",
    "cache-control": "cache_control",
    "content-disposition": "content_disposition",
    "content-encoding": "content_encoding",
    "content-language": "content_language",
}


class Properties(TypedDict, total=False):
    """What `open(path, "w", ...)` and `write_bytes` take beside `metadata`, where `Capabilities.properties` has it."""

    content_type: str
    cache_control: str
    content_disposition: str
    content_encoding: str
    content_language: str
    storage_class: str
    tags: Mapping[str, str]
    permissions: int
    """The permission bits of a local file, such as `0o640`. The umask does not change them."""
    ttl: float
    """After how many seconds the store removes the file by itself, counted from when it is published."""


NAMES = frozenset(Properties.__annotations__)
DESCRIPTIONS = NAMES - {"permissions", "ttl"}
"""The names of those properties that only describe the file."""


def check_properties(properties: Properties, known: Collection[str], store: str, path: str) -> None:
    """Check what a caller gave, before any I/O, for a store that keeps the properties `known`.

    :raises TypeError: for a property that no store has, or a value of the wrong type.
    :raises ValueError: for a value with control characters, or one that no header can carry.
    :raises Unsupported: for a property that this store does not keep.
    """
    for name, value in properties.items():
        if name not in NAMES:
            raise TypeError(f"open() got an unexpected keyword argument {name!r}")
        if name == "permissions":
            check_permissions(value)
        elif name == "ttl":
            check_ttl(value)
        else:
            _check_description(name, value)
        if name not in known:
            raise Unsupported.of(path, f"{store} keeps no {name.replace('_', ' ')}: leave out {name}=")


def check_permissions(value: object) -> None:
    """Raise `TypeError` or `ValueError` unless `value` is a whole number of permission bits, up to `0o777`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"permissions={value!r}: give a whole number, such as 0o640")
    if not 0 <= value <= _ALL_PERMISSIONS:
        raise ValueError(f"permissions={value:#o}: give the bits 0 to 0o777, such as 0o640")


def check_ttl(value: object) -> None:
    """Raise `TypeError` or `ValueError` unless `value` is a number of seconds, more than 0, that a store can count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"ttl={value!r}: give a number of seconds")
    if not 0 < value <= _LONGEST_TTL:
        raise ValueError(f"ttl={value!r}: give a number of seconds greater than 0, at most {_LONGEST_TTL}")


def _check_description(name: str, value: object) -> None:
    if name == "tags":
        _check_strings(name, value)
        words = [word for pair in cast("Mapping[str, str]", value).items() for word in pair]
    elif isinstance(value, str):
        words = [value]
    else:
        raise TypeError(f"{name} is a str, not {value!r}")
    if any(ord(character) < ord(" ") or character == "\x7f" for word in words for character in word):
        raise ValueError(f"{name}={value!r} has a control character: leave it out")
    if isinstance(value, str) and (not value.isascii() or value != value.strip()):
        raise ValueError(f"{name}={value!r}: headers take printable ASCII characters, without space around them")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Check what a caller gave, before any I/O.

    :raises TypeError: if it does not map `str` to `str`.
    :raises ValueError: for a key that is the name of a property, or begins with a colon.
    """
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata maps str to str, and is not {metadata!r}")
    _check_strings("metadata", metadata)
    for key in metadata:
        if key.startswith(MARK):
            raise ValueError(f"metadata has the key {key!r}: a key does not begin with {MARK!r}")
        name = _HEADERS.get(key.lower().replace("_", "-"))
        if name is not None:
            raise ValueError(f"metadata has the key {key!r}, which is a property of the file: give {name}= instead")


def join(metadata: Mapping[str, str] | None, properties: Properties) -> Mapping[str, str] | None:
    """Return both as the `metadata` of `Driver.begin`."""
    if not properties:
        return metadata
    joined = dict(metadata or {})
    for name, value in properties.items():
        joined[MARK + name] = _text_of(name, value)
    return joined


def part(metadata: Mapping[str, str] | None) -> tuple[dict[str, str] | None, Properties]:
    """Return the user's metadata, and the properties, of the `metadata` that `Driver.begin` got."""
    if metadata is None:
        return None, {}
    own: dict[str, str] = {}
    properties: dict[str, object] = {}
    for key, value in metadata.items():
        if not key.startswith(MARK):
            own[key] = value
        elif key == ":tags":
            properties["tags"] = dict(parse_qsl(value, keep_blank_values=True))
        elif key == PERMISSIONS:
            properties["permissions"] = permissions_of(value)
        elif key == TTL:
            properties["ttl"] = ttl_of(value)
        elif key == EXPIRES:
            expiry_of(value)  # `Entry.described` has a place for it
        else:
            properties[key.removeprefix(MARK)] = value
    return own, cast("Properties", properties)


def permissions_of(text: str) -> int:
    """Return the permissions that drivers get as text: octal digits.

    :raises ValueError: for another text.
    """
    value = int(text, 8)
    check_permissions(value)
    return value


def ttl_of(text: str) -> float:
    """Return the seconds that drivers get as text.

    :raises ValueError: for another text.
    """
    value = float(text)
    check_ttl(value)
    return value


def expiry_of(text: str) -> datetime:
    """Return the time that drivers get as text.

    :raises ValueError: for another text.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return found


def _text_of(name: str, value: object) -> str:
    if name == "permissions":
        return f"{value:o}"
    return urlencode(dict(value)) if isinstance(value, Mapping) else str(value)


def _check_strings(name: str, mapping: object) -> None:
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name} maps str to str, and is not {mapping!r}")
    for key, value in mapping.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{name} maps str to str, not {key!r} to {value!r}")
