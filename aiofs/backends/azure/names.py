"""Which names and metadata the service takes; where aiofs keeps locks, and the number of their format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from aiofs.kit import unknown_format

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = ".aiofs/"
LOCKS = f"{HIDDEN}locks/"
LONGEST = 1024
MOST_SEGMENTS = 254
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$(?:root|web|logs)")
_CODED = "aiofs_"
FOLDER = "hdi_isfolder"
"""The metadata of an empty blob that only marks a folder, as Data Lake Storage and Hadoop write it."""
FORMAT = "1"
"""Locks and prepared sessions carry it as `format`. 2.0.0a1 wrote none, and meant this one."""


def check_container(name: str) -> None:
    """Raise `ValueError` for a text that cannot be the name of a container."""
    if not isinstance(name, str) or not _CONTAINER.fullmatch(name):
        raise ValueError(f"container {name!r}: Azure takes 3 to 63 lower-case letters, digits and single hyphens")


def check_name(path: str) -> None:
    """Raise `ValueError` for a path that Azure refuses, or would change, as the name of a blob."""
    fault = _fault(path)
    if fault:
        raise ValueError(f"path {path!r}: Azure {fault}")


def _fault(path: str) -> str | None:
    if len(path.encode("utf-16-le")) > 2 * LONGEST:
        return f"takes at most {LONGEST} characters in a name"
    segments = path.split("/")
    if len(segments) > MOST_SEGMENTS:
        return f"takes at most {MOST_SEGMENTS} segments in a name"
    if "\\" in path:
        return "turns a backslash into a '/'"
    if any(segment.endswith(".") for segment in segments):
        return "drops the dot at the end of a segment"
    if _NOT_TEXT.search(path):
        return "refuses control characters in a name"
    return None


def to_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as headers; a key or value that headers cannot carry is encoded in letters and digits."""
    headers: dict[str, str] = {}
    taken: set[str] = set()
    for key, value in metadata.items():
        plain = _PLAIN_KEY.fullmatch(key) and _PLAIN_VALUE.fullmatch(value) and not key.startswith(_CODED)
        if plain and key.lower() not in {*taken, FOLDER}:
            headers[key] = value
            taken.add(key.lower())
        else:
            headers[_CODED + key.encode().hex()] = f"={quote(value)}"
    return headers


def is_header(key: str, value: str) -> bool:
    """Whether `to_headers` can have returned this header."""
    return bool(_PLAIN_KEY.fullmatch(key) and (not value or _PLAIN_VALUE.fullmatch(value)))


def from_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return metadata from headers, which `to_headers` or another program wrote."""
    return dict(_pair(key, value) for key, value in (headers or {}).items())


def _pair(key: str, value: str) -> tuple[str, str]:
    if key.startswith(_CODED) and value.startswith("="):
        try:
            return bytes.fromhex(key[len(_CODED) :]).decode(), unquote(value[1:])
        except ValueError:
            pass  # another program wrote it
    return key, value


def is_known(labels: Mapping[str, Any] | None) -> bool:
    """Whether this version of aiofs knows the format that metadata or a token name."""
    return bool((labels or {}).get("format", FORMAT) == FORMAT)


def check_format(path: str, what: str, labels: Mapping[str, Any] | None) -> None:
    """Raise `Unsupported` for a format that this version of aiofs does not know."""
    if not is_known(labels):
        raise unknown_format(path, what, (labels or {})["format"], FORMAT)
