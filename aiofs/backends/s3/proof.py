"""What an answer must hold to be believed: proxies and failing servers say "200 OK" to what they did not do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.facts import unquoted

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION, _LENGTH = "etag", "content-length"
_HEADERS = {
    "put_object": (_VERSION,),
    "upload_part": (_VERSION,),
    "head_object": (_VERSION, _LENGTH),
    "get_object": (_VERSION, _LENGTH),
}
_FIELDS = {
    "create_multipart_upload": ("UploadId",),
    "complete_multipart_upload": ("ETag",),
    "copy_object": ("CopyObjectResult", "ETag"),
    "upload_part_copy": ("CopyPartResult", "ETag"),
}
_PRESENT = {
    "list_objects_v2": "IsTruncated",
    "list_object_versions": "IsTruncated",
    "list_multipart_uploads": "IsTruncated",
    "list_parts": "IsTruncated",
    "get_object_tagging": "TagSet",
}
_NEXT = {
    "list_objects_v2": "NextContinuationToken",
    "list_object_versions": "NextKeyMarker",
    "list_multipart_uploads": "NextUploadIdMarker",
}
_WANTED = re.compile(r"bytes=(\d+)-(\d*)")
_GIVEN = re.compile(r"bytes (\d+)-(\d+)/\d+")


def lacking_headers(operation: str, asked: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Return what an answer to `asked` lacks among its headers, in lower case; `None` if it may be believed."""
    for name in _HEADERS.get(operation, ()):
        if not unquoted(headers.get(name, "")):
            return f"no {name}"
    if operation == "delete_object" and headers.get(_LENGTH, "0") != "0":
        return "a body, which a successful removal does not have"
    wanted = _WANTED.fullmatch(asked.get("Range", "")) if operation == "get_object" else None
    return _wrong_range(wanted, headers) if wanted is not None else None


def lacking_fields(operation: str, asked: Mapping[str, Any], parsed: Mapping[str, Any]) -> str | None:
    """Return what an answer to `asked` lacks in its body; `None` if it may be believed."""
    found: Any = parsed
    for name in _FIELDS.get(operation, ()):
        found = found.get(name)
        if not found or (name == "ETag" and not unquoted(found)):
            return f"no {name}"
    needed = _PRESENT.get(operation)
    if needed is not None and needed not in parsed:
        return f"no {needed}"
    if parsed.get("IsTruncated") and operation in _NEXT and not parsed.get(_NEXT[operation]):
        return f"no {_NEXT[operation]} though there is more"
    if operation == "delete_objects":
        told = len(parsed.get("Deleted", ())) + len(parsed.get("Errors", ()))
        if told < len(asked["Delete"]["Objects"]):
            return "less than one result for each file"
    return None


def _wrong_range(wanted: re.Match[str], headers: Mapping[str, str]) -> str | None:
    """Return what is wrong with the range that an answer brings: its bytes would be taken for others."""
    start = int(wanted[1])
    if "content-range" not in headers:
        return None if start == 0 else "no content-range"  # all of the file, where its beginning was asked for
    given = _GIVEN.fullmatch(headers["content-range"])
    if given is None or int(given[1]) != start or int(given[2]) - start + 1 != int(headers[_LENGTH]):
        return f"another range, {headers['content-range']}"
    return None
