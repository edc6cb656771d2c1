"""Facts: what the answers of S3 say about an object, a page of objects or a bucket; and the headers of new objects."""

from __future__ import annotations

import base64
import mimetypes
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime
from itertools import islice
from operator import attrgetter, le
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import unquote_plus, urlencode
from xml.etree.ElementTree import XML

from aiofs.driver import ABSENT, Entry
from aiofs.properties import MARK, join, part

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from xml.etree.ElementTree import Element

    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Capabilities
    from aiofs.properties import Properties

WRITER = "aiofs-writer"
"""The metadata key whose value says which session wrote an object.

A session whose request got no answer looks at it, to see whether the request succeeded."""
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
_ALPHA_METADATA = {name.replace("_", "-"): name for name in _PARAMETERS if name != "storage_class"}
"""The names under which 2.0.0a1 kept properties among the metadata in its journals."""
USUAL_CLASS = "STANDARD"
_MD5 = re.compile(r"[0-9a-f]{32}")
_TYPES = mimetypes.MimeTypes()  # Python's own table, the same on every machine
_NO_TYPE = "application/octet-stream"
_NO_METADATA: Mapping[str, str] = MappingProxyType({})
_TAGS_OF_VERSION = ""
"""A name that no tag can have. It stands in place of tags; its value is the version whose tags are kept."""
MOST_TAGS, LONGEST_TAG, LONGEST_VALUE = 10, 128, 256


@dataclass(frozen=True, slots=True)
class S3Entry(Entry):
    """A file in S3, how many tags it has, and who wrote it. To read the tags takes another request."""

    tagged: int = 0
    writer: str | None = None

    def is_same_write(self, other: Entry) -> bool:
        """Whether both are of one write: each session of ours leaves a token of its own in the object."""
        same_writer = not isinstance(other, S3Entry) or self.writer == other.writer
        return same_writer and Entry.is_same_write(self, other)

    def kept(self, capabilities: Capabilities) -> Mapping[str, str] | None:
        """Return what a new version keeps. The tags are represented by the version; the writer asks for them."""
        properties: dict[str, Any] = {"storage_class": USUAL_CLASS, **(self.properties or {})}
        if self.tagged and "tags" not in properties:
            properties["tags"] = {_TAGS_OF_VERSION: self.version or ""}
        return Entry.kept(replace(self, properties=cast("Properties", properties)), capabilities)


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The facts about one object in the headers of an answer."""

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
    """The time of the answer, by the store's own clock."""

    def entry(self, path: str, tags: Mapping[str, str] | None = None) -> Entry:
        """Return the facts as the entry of the file `path`."""
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
            writer=self.writer,
        )


def read_facts(headers: Mapping[str, str]) -> ObjectFacts:
    """Read the headers, in lower case, of an answer to HEAD or GET."""
    whole = headers.get("content-range")
    size = int(whole.rpartition("/")[2]) if whole else int(headers.get("content-length", 0))
    metadata, writer = _read_metadata(headers)
    version = unquoted(headers.get("etag", ""))
    properties = {name: headers[header] for name, header in _HEADERS.items() if header in headers}
    return ObjectFacts(
        size,
        version,
        http_time(headers.get("last-modified")),
        metadata,
        writer,
        headers.get("content-type"),
        cast("Properties", properties) or None,
        int(headers.get("x-amz-tagging-count", 0)),
        f"md5:{version}" if _is_md5(headers, version) else None,
        headers.get("x-amz-version-id"),
        http_time(headers.get("date")),
    )


def _is_md5(headers: Mapping[str, str], etag: str) -> bool:
    by_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    by_kms = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return not by_key and not by_kms and _MD5.fullmatch(etag) is not None


def http_time(text: str | None) -> datetime | None:
    """Read a time in HTTP's format, `Sun, 06 Nov 1994 08:49:37 GMT`; return `None` if there is none."""
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
    """Return an ETag without quotes: some servers send them, others do not."""
    return etag.strip('"')


def version_parameter(version_id: str | None) -> dict[str, str]:
    """Return the SDK's parameter that names an old version; none for the present one."""
    return {} if version_id is None else {"VersionId": version_id}


def write_options(settings: Settings, path: str, metadata: Mapping[str, str] | None, writer: str) -> dict[str, Any]:
    """Return the SDK's parameters for the metadata and the properties of a new object.

    :raises ValueError: if S3 cannot keep them.
    """
    own, given = part(metadata) if metadata else (None, {})
    properties: dict[str, Any] = dict(given)
    sent = {WRITER: writer}
    for key, value in (own or _NO_METADATA).items():
        if key in _ALPHA_METADATA:
            properties.setdefault(_ALPHA_METADATA[key], value)
        elif key == WRITER or not _KEY.fullmatch(key):
            raise ValueError(f"metadata {key!r}: names in S3 have lower-case letters, digits, '.', '_' and '-'")
        else:
            sent[key] = _encode(value)
    options: dict[str, Any] = {"Metadata": sent, "ContentType": settings.content_type or _guess(path)}
    tags = properties.pop("tags", None)
    if settings.storage_class:
        properties.setdefault("storage_class", settings.storage_class)
    elif properties.get("storage_class") == USUAL_CLASS:
        del properties["storage_class"]
    for name, value in properties.items():
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise ValueError(f"{name}={value!r}: S3 takes printable ASCII characters, without space around them")
        options[_PARAMETERS[name]] = value
    if tags:
        options["Tagging"] = tagging(tags)
    return options


def tagging(tags: Mapping[str, str]) -> str:
    """Return tags in the format of the SDK and of headers.

    :raises ValueError: if S3 cannot keep them.
    """
    if len(tags) > MOST_TAGS:
        raise ValueError(f"{len(tags)} tags: S3 keeps at most {MOST_TAGS} for one file")
    for name, value in tags.items():
        if not name or len(name) > LONGEST_TAG or len(value) > LONGEST_VALUE:
            raise ValueError(
                f"tag {name!r}: S3 takes names of 1 to {LONGEST_TAG} characters, and values of at most {LONGEST_VALUE}"
            )
    return urlencode(tags)


def tags_of(metadata: Mapping[str, str] | None) -> tuple[str | None, Mapping[str, str] | None]:
    """Return the version whose tags are kept, if `metadata` names one, and the metadata without it."""
    tags = part(metadata)[1].get("tags") if metadata else None
    if not tags or _TAGS_OF_VERSION not in tags:
        return None, metadata
    rest = {key: value for key, value in (metadata or _NO_METADATA).items() if key != f"{MARK}tags"}
    return tags[_TAGS_OF_VERSION], rest


def with_tags(metadata: Mapping[str, str] | None, tags: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the metadata for `Driver.begin`, with these tags in them."""
    return join(metadata, {"tags": tags}) if tags else metadata


def _read_metadata(headers: Mapping[str, str]) -> tuple[Mapping[str, str], str | None]:
    found = {key[len(_PREFIX) :]: value for key, value in headers.items() if key.startswith(_PREFIX)}
    writer = found.pop(WRITER, None)
    for name, value in found.items():
        if value.startswith("=?"):
            found[name] = str(make_header(decode_header(value)))
    return (MappingProxyType(found) if found else _NO_METADATA), writer


def _encode(value: str) -> str:
    """Return a value as it is, if it survives in a header, and else as an encoded word."""
    if value == "" or (_PLAIN.fullmatch(value) and not value.startswith("=?")):
        return value
    return f"=?utf-8?B?{base64.b64encode(value.encode()).decode()}?="


def _guess(path: str) -> str:
    return _TYPES.guess_type(path, strict=False)[0] or _NO_TYPE


@dataclass(slots=True)
class Page:
    """One page of a listing, sorted: files and folders, and the token that asks for the next page."""

    entries: list[Entry]
    more: str | None = None
    ordered: bool = True
    """Whether the server listed it in the order of UTF-8 bytes."""
    server: str = ""
    """The name in the server's `Server` header."""


def listed_entry(path: str, size: int, modified: datetime, etag: str) -> Entry:
    """Return the entry of a file in a listing. Its time is cut to whole seconds, as HEAD gives no more."""
    return Entry(path, size, modified.replace(microsecond=0), unquoted(etag))


def page_of(entries: list[Entry], folders: list[str], more: str | None, server: str) -> Page:
    """Return a page with files and folders in the order of their characters, which is that of UTF-8 bytes."""
    ordered = _ascend([entry.path for entry in entries]) and _ascend(folders)
    if folders or not ordered:
        entries = sorted([*entries, *map(Entry, folders)], key=attrgetter("path"))
    return Page(entries, more, ordered, server)


def _ascend(names: list[str]) -> bool:
    return all(map(le, names, islice(names, 1, None)))


def read_page(text: bytes, cut: int, server: str = "") -> Page:
    """Read the XML of a page, requested with encoded keys; the first `cut` characters are removed from all keys.

    :raises ParseError, KeyError, ValueError: if it is anything else.
    """
    root = XML(text)
    name = root.tag.removesuffix("ListBucketResult")
    if name == root.tag:
        raise ValueError(f"{root.tag} is not a listing")
    # A server that does not encode keys does not name an encoding.
    decode = unquote_plus if root.findtext(f"{name}EncodingType") == "url" else str
    entries = [_listed(child, len(name), decode, cut) for child in root.iterfind(f"{name}Contents")]
    folders = [decode(child.findtext(f"{name}Prefix", ""))[cut:] for child in root.iterfind(f"{name}CommonPrefixes")]
    truncated = root.findtext(f"{name}IsTruncated")
    more = root.findtext(f"{name}NextContinuationToken") if truncated == "true" else None
    if truncated not in {"true", "false"} or (truncated == "true" and not more):
        raise ValueError("a listing must say whether there is more, and how to ask for it")
    return page_of(entries, folders, more, server)


def _listed(element: Element, namespace: int, decode: Callable[[str], str], cut: int) -> Entry:
    found = {child.tag[namespace:]: child.text or "" for child in element}
    modified = datetime.fromisoformat(found["LastModified"])
    return listed_entry(decode(found["Key"])[cut:], int(found["Size"]), modified, found["ETag"])


class Body(Protocol):
    """The bytes of an answer, as they arrive."""

    def read(self, amt: int, /) -> Coroutine[Any, Any, bytes]:
        """Return up to `amt` bytes; b"" at the end."""
        ...

    def close(self) -> None:
        """Close the connection, unless all was read."""
        ...


@dataclass(slots=True)
class S3Answer:
    """An answer of the store: headers in lower case, and the body, or what the SDK has parsed of it."""

    headers: Mapping[str, str]
    body: Body | None = None
    parsed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The ETag; `""` for an answer without one, such as to a removal."""
        return unquoted(self.headers.get("etag") or self.parsed.get("ETag") or "")

    @property
    def version_id(self) -> str | None:
        """The id of this version in a bucket that keeps versions; "null" if it has stopped to keep them."""
        return self.headers.get("x-amz-version-id")


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a bucket treats conditions, and in which order it lists."""

    fault: str | None = None
    """Why its conditions cannot be trusted; `None` if they can."""
    quotes: bool = True
    """Whether `If-Match` of a write takes an ETag with quotes, as the standard says."""
    deletes: bool | None = True
    """Whether `DELETE` checks `If-Match`; `None` if we may not remove objects, and so cannot know."""
    ordered: bool | None = True
    """Whether it lists in the order of bytes, and `StartAfter` has the same order; `None` if that is not known."""
    versioning: str | None = None
    """Which versions it kept when it was probed: none (`""`), one ("null") or all ("all"); `None` if it is trusted in
    any case."""

    def condition(self, match: str) -> dict[str, str]:
        """Return the parameters with which a PUT replaces only `match`; none if the store does not obey them."""
        if self.fault is not None:
            return {}
        return {"IfNoneMatch": "*"} if match == ABSENT else self.same(match)

    def same(self, version: str) -> dict[str, str]:
        """Return the parameter with which a request concerns only `version`."""
        return {"IfMatch": f'"{version}"' if self.quotes else version}

    def hold(self, version_id: str | None) -> bool:
        """Return whether, by the answer to a write, the bucket still keeps versions as it did when it was probed."""
        return self.versioning in {None, versioning(version_id)}


AWS = Traits()


def versioning(version_id: str | None) -> str:
    """Return which versions a bucket keeps, by the version id in the answer to a write."""
    return "null" if version_id == "null" else "all" if version_id else ""
