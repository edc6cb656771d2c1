"""What travels in headers: an object's size, version, time, metadata and properties, and what it was written with."""

from __future__ import annotations

import base64
import mimetypes
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime
from itertools import islice
from operator import attrgetter, le
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_plus, urlencode
from xml.etree.ElementTree import XML

from aiofs.driver import Entry
from aiofs.properties import MARK, join, part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from xml.etree.ElementTree import Element

    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Capabilities
    from aiofs.properties import Properties

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
_HEADERS = {
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
    "content_encoding": "content-encoding",
    "content_language": "content-language",
    "storage_class": "x-amz-storage-class",
}
_PARAMETERS = {
    "content_type": "ContentType",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "storage_class": "StorageClass",
}
_BEFORE = {name.replace("_", "-"): name for name in _PARAMETERS if name != "storage_class"}
"""How 2.0.0a1 had them among the metadata that it left in journals."""
USUAL_CLASS = "STANDARD"
_MD5 = re.compile(r"[0-9a-f]{32}")
_TYPES = mimetypes.MimeTypes()  # Python's own table, the same on every machine
_NO_TYPE = "application/octet-stream"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_THOSE_OF = ""
"""A name that no tag can have: in place of tags, it says that those of a version, its value, are to be kept."""
MOST_TAGS, LONGEST_TAG, LONGEST_VALUE = 10, 128, 256


@dataclass(frozen=True, slots=True)
class S3Entry(Entry):
    """What S3 tells of a file, with how many tags it has: what they are takes another request."""

    tagged: int = 0

    def kept(self, capabilities: Capabilities) -> Mapping[str, str] | None:
        """Return what is to be kept with a new version: tags are asked for by whoever writes it."""
        properties: dict[str, Any] = {"storage_class": USUAL_CLASS, **(self.properties or {})}
        if self.tagged and "tags" not in properties:
            properties["tags"] = {_THOSE_OF: self.version or ""}
        return Entry.kept(replace(self, properties=cast("Properties", properties)), capabilities)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the headers of an answer tell about an object."""

    size: int
    version: str
    modified: datetime | None
    metadata: Mapping[str, str]
    writer: str | None = None
    content_type: str | None = None
    properties: Properties | None = None
    tagged: int = 0
    digest: str | None = None
    version_id: str | None = None
    now: datetime | None = None
    """When the store said so, by its own clock."""

    def entry(self, path: str, tags: Mapping[str, str] | None = None) -> Entry:
        """Return them as the portable side wants them."""
        properties = self.properties if tags is None else cast("Properties", {**(self.properties or {}), "tags": tags})
        return S3Entry(
            path,
            self.size,
            self.modified,
            self.version,
            self.metadata,
            content_type=self.content_type,
            digest=self.digest,
            properties=properties,
            version_id=self.version_id,
            tagged=self.tagged,
        )


def read_facts(headers: Mapping[str, str], *, hashed: bool = True) -> Facts:
    """Read the headers, in lower case, of an answer to HEAD or GET; `hashed`: the ETag may be the MD5 of the bytes."""
    whole = headers.get("content-range")
    size = int(whole.rpartition("/")[2]) if whole else int(headers.get("content-length", 0))
    metadata, writer = _read_metadata(headers)
    version = unquoted(headers.get("etag", ""))
    properties = {name: headers[header] for name, header in _HEADERS.items() if header in headers}
    return Facts(
        size,
        version,
        http_time(headers.get("last-modified")),
        metadata,
        writer,
        headers.get("content-type"),
        cast("Properties", properties) or None,
        int(headers.get("x-amz-tagging-count", 0)),
        f"md5:{version}" if hashed and _is_md5(headers, version) else None,
        headers.get("x-amz-version-id"),
        http_time(headers.get("date")),
    )


def _is_md5(headers: Mapping[str, str], etag: str) -> bool:
    by_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    by_kms = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return not by_key and not by_kms and _MD5.fullmatch(etag) is not None


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

    :raises ValueError: for metadata or properties that S3 cannot hold.
    """
    own, given = part(metadata)
    said: dict[str, Any] = dict(given)
    kept = {WRITER: writer}
    for key, value in (own or _NOTHING).items():
        if key in _BEFORE:
            said.setdefault(_BEFORE[key], value)
        elif key == WRITER or not _KEY.fullmatch(key):
            raise ValueError(f"metadata {key!r}: S3 takes names of lower-case letters, digits, '.', '_' and '-'")
        else:
            kept[key] = _encode(value)
    options: dict[str, Any] = {"Metadata": kept, "ContentType": settings.content_type or _guess(path)}
    tags = said.pop("tags", None)
    if settings.storage_class:
        said.setdefault("storage_class", settings.storage_class)
    elif said.get("storage_class") == USUAL_CLASS:
        del said["storage_class"]
    for name, value in said.items():
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise ValueError(f"{name}={value!r}: S3 takes printable ASCII characters, without space around them")
        options[_PARAMETERS[name]] = value
    if tags:
        options["Tagging"] = tagging(tags)
    return options


def tagging(tags: Mapping[str, str]) -> str:
    """Return tags as the SDK and headers have them.

    :raises ValueError: for tags that S3 cannot hold.
    """
    if len(tags) > MOST_TAGS:
        raise ValueError(f"{len(tags)} tags: S3 keeps {MOST_TAGS} of one file at most")
    for name, value in tags.items():
        if not name or len(name) > LONGEST_TAG or len(value) > LONGEST_VALUE:
            raise ValueError(
                f"tag {name!r}: S3 takes names of 1 to {LONGEST_TAG} characters, values of {LONGEST_VALUE} at most"
            )
    return urlencode(tags)


def tags_of(metadata: Mapping[str, str] | None) -> tuple[str | None, Mapping[str, str] | None]:
    """Return the version whose tags are to be kept, if that is what `metadata` says, and the metadata without this."""
    tags = part(metadata)[1].get("tags") or {}
    if _THOSE_OF not in tags:
        return None, metadata
    rest = {key: value for key, value in (metadata or _NOTHING).items() if key != f"{MARK}tags"}
    return tags[_THOSE_OF], rest


def with_tags(metadata: Mapping[str, str] | None, tags: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the metadata for `Driver.begin` with these tags in it."""
    return join(metadata, {"tags": tags}) if tags else metadata


def _read_metadata(headers: Mapping[str, str]) -> tuple[Mapping[str, str], str | None]:
    found = {key[len(_PREFIX) :]: value for key, value in headers.items() if key.startswith(_PREFIX)}
    writer = found.pop(WRITER, None)
    for name, value in found.items():
        if value.startswith("=?"):
            found[name] = str(make_header(decode_header(value)))
    return (MappingProxyType(found) if found else _NOTHING), writer


def _encode(value: str) -> str:
    """Write a value as headers carry it: as it is, or as an encoded word where it would not arrive so."""
    if value == "" or (_PLAIN.fullmatch(value) and not value.startswith("=?")):
        return value
    return f"=?utf-8?B?{base64.b64encode(value.encode()).decode()}?="


def _guess(path: str) -> str:
    return _TYPES.guess_type(path, strict=False)[0] or _NO_TYPE


@dataclass(slots=True)
class Page:
    """Part of a listing, sorted: files with their keys as paths, folders, and how to ask for what follows."""

    entries: list[Entry]
    more: str | None = None
    ordered: bool = True
    """Whether it came in the order of its bytes."""
    server: str = ""
    """What the server calls itself."""


def listed_entry(path: str, size: int, modified: datetime, etag: str) -> Entry:
    """Return a file as a listing tells of it, its time in whole seconds, as HEAD has it, where a store knows more."""
    return Entry(path, size, modified.replace(microsecond=0), unquoted(etag))


def page_of(entries: list[Entry], folders: list[str], more: str | None, server: str) -> Page:
    """Put a page together: files and folders in the order of their characters, which is that of UTF-8's bytes."""
    ordered = _ascend([entry.path for entry in entries]) and _ascend(folders)
    if folders or not ordered:
        entries = sorted([*entries, *map(Entry, folders)], key=attrgetter("path"))
    return Page(entries, more, ordered, server)


def _ascend(names: list[str]) -> bool:
    return all(map(le, names, islice(names, 1, None)))


def read_page(text: bytes, cut: int, server: str = "") -> Page:
    """Read a page of a listing that was asked for with encoded keys; `cut` characters go from their front.

    :raises ParseError, KeyError, ValueError: for anything else.
    """
    root = XML(text)
    name = root.tag.removesuffix("ListBucketResult")
    if name == root.tag:
        raise ValueError(f"a listing, not {root.tag}")
    # A server that knows no encoding says none, and means its keys as they are.
    decode = unquote_plus if root.findtext(f"{name}EncodingType") == "url" else str
    entries = [_listed(child, len(name), decode, cut) for child in root.iterfind(f"{name}Contents")]
    folders = [decode(child.findtext(f"{name}Prefix", ""))[cut:] for child in root.iterfind(f"{name}CommonPrefixes")]
    truncated = root.findtext(f"{name}IsTruncated")
    more = root.findtext(f"{name}NextContinuationToken") if truncated == "true" else None
    if truncated not in {"true", "false"} or (truncated == "true" and not more):
        raise ValueError("a listing says whether there is more, and how to ask for it")
    return page_of(entries, folders, more, server)


def _listed(element: Element, namespace: int, decode: Callable[[str], str], cut: int) -> Entry:
    found = {child.tag[namespace:]: child.text or "" for child in element}
    modified = datetime.fromisoformat(found["LastModified"])
    return listed_entry(decode(found["Key"])[cut:], int(found["Size"]), modified, found["ETag"])
