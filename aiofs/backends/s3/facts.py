"""What travels in headers: an object's size, version, time and metadata, and what it was written with."""

from __future__ import annotations

import base64
import mimetypes
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aiofs.driver import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.settings import Settings

WRITER = "aiofs-writer"
"""The metadata that says which session wrote an object: how one whose answer was lost learns that it succeeded."""
_PREFIX = "x-amz-meta-"
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_OWN_HEADERS = {
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-type": "ContentType",
}
_TYPES = mimetypes.MimeTypes()  # Python's own table, the same on every machine
_NO_TYPE = "application/octet-stream"
_SAYS_NOTHING = {_NO_TYPE, "binary/octet-stream"}
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the headers of an answer tell about an object."""

    size: int
    version: str
    modified: datetime | None
    metadata: Mapping[str, str]
    writer: str | None = None
    content_type: str | None = None
    now: datetime | None = None
    """When the store said so, by its own clock."""

    def described(self) -> Mapping[str, str]:
        """Return the metadata, content type included, for another object that is to be the same."""
        return {**self.metadata, "content-type": self.content_type or _NO_TYPE}

    def entry(self, path: str) -> Entry:
        """Return them as the portable side wants them."""
        return Entry(path, self.size, self.modified, self.version, self.metadata)


def read_facts(headers: Mapping[str, str], path: str, usual_type: str | None = None) -> Facts:
    """Read the headers, in lower case, of an answer to HEAD or GET; a `usual_type` is one that all new files have."""
    whole = headers.get("content-range")
    size = int(whole.rpartition("/")[2]) if whole else int(headers.get("content-length", 0))
    metadata, writer = _read_metadata(headers, path, usual_type)
    modified = http_time(headers.get("last-modified"))
    return Facts(
        size,
        unquoted(headers.get("etag", "")),
        modified,
        metadata,
        writer,
        headers.get("content-type"),
        http_time(headers.get("date")),
    )


def http_time(text: str | None) -> datetime | None:
    """Read a time as HTTP writes it, `Sun, 06 Nov 1994 08:49:37 GMT`; `None` where there is none to read."""
    if not text:
        return None
    try:
        return datetime(
            int(text[12:16]),
            _MONTHS[text[8:11]],
            int(text[5:7]),
            int(text[17:19]),
            int(text[20:22]),
            int(text[23:25]),
            tzinfo=UTC,
        )
    except (KeyError, ValueError):
        pass
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None


def unquoted(etag: str) -> str:
    """Return an ETag without the quotes that some servers give and others do not."""
    return etag.strip('"')


def write_options(settings: Settings, path: str, metadata: Mapping[str, str] | None, writer: str) -> dict[str, Any]:
    """Return the SDK's parameters for what a new object is to carry.

    :raises ValueError: for metadata that S3 cannot hold.
    """
    kept = {WRITER: writer}
    options: dict[str, Any] = {"Metadata": kept, "ContentType": settings.content_type or _guess(path)}
    for key, value in (metadata or _NOTHING).items():
        if key in _OWN_HEADERS:
            options[_OWN_HEADERS[key]] = value
        elif key == WRITER or not _KEY.fullmatch(key):
            raise ValueError(f"metadata {key!r}: S3 takes names of lower-case letters, digits, '.', '_' and '-'")
        else:
            kept[key] = _encode(value)
    if settings.storage_class:
        options["StorageClass"] = settings.storage_class
    return options


def _read_metadata(
    headers: Mapping[str, str], path: str, usual_type: str | None
) -> tuple[Mapping[str, str], str | None]:
    found = {key[len(_PREFIX) :]: value for key, value in headers.items() if key.startswith(_PREFIX)}
    writer = found.pop(WRITER, None)
    for name, value in found.items():
        if value.startswith("=?"):
            found[name] = str(make_header(decode_header(value)))
    untold = {usual_type} if usual_type else {_guess(path), *_SAYS_NOTHING}
    for name in _OWN_HEADERS:
        own = headers.get(name)
        if own is not None and not (name == "content-type" and own in untold):
            found[name] = own
    return (MappingProxyType(found) if found else _NOTHING), writer


def _encode(value: str) -> str:
    """Write a value as headers carry it: as it is, or as an encoded word where it would not arrive so."""
    if value == "" or (_PLAIN.fullmatch(value) and not value.startswith("=?")):
        return value
    return f"=?utf-8?B?{base64.b64encode(value.encode()).decode()}?="


def _guess(path: str) -> str:
    return _TYPES.guess_type(path, strict=False)[0] or _NO_TYPE
