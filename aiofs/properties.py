"""Properties of files: content type, cache control, tags and the like, which a store keeps beside the user's metadata.

Users give and get them by name. Drivers get them in the `metadata` of `Driver.begin`, under their names behind a colon
(`:content_type`); no key of a user may begin with a colon. So layers, transactions and journals pass them on without
knowing them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypedDict, cast
from urllib.parse import parse_qsl, urlencode

from aiofs.errors import Unsupported

MARK = ":"
PERMISSIONS = ":permissions"
"""The key under which a store with the power `Permits` gets owner and permissions. Users do not set it."""
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


NAMES = frozenset(Properties.__annotations__)


def check_properties(properties: Properties, known: Collection[str], store: str, path: str) -> None:
    """Check what a caller gave, before any I/O, for a store that keeps the properties `known`.

    :raises TypeError: for a property that no store has, or a value of the wrong type.
    :raises ValueError: for a value with control characters, or one that no header can carry.
    :raises Unsupported: for a property that this store does not keep.
    """
    for name, value in properties.items():
        if name not in NAMES:
            raise TypeError(f"open() got an unexpected keyword argument {name!r}")
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
        if name not in known:
            raise Unsupported.of(path, f"{store} keeps no {name.replace('_', ' ')}: leave out {name}=")


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
        joined[MARK + name] = urlencode(dict(value)) if isinstance(value, Mapping) else str(value)
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
        else:
            properties[key.removeprefix(MARK)] = value
    return own, cast("Properties", properties)


def _check_strings(name: str, mapping: object) -> None:
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name} maps str to str, and is not {mapping!r}")
    for key, value in mapping.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{name} maps str to str, not {key!r} to {value!r}")
