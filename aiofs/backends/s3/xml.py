"""The two kinds of XML that the direct path reads: pages of a listing, and the code of an error."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from xml.etree.ElementTree import XML, ParseError

from aiofs.backends.s3.calls import Page, listed_entry, page_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from aiofs.driver import Entry


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
    entries = [_entry(child, len(name), decode, cut) for child in root.iterfind(f"{name}Contents")]
    folders = [decode(child.findtext(f"{name}Prefix", ""))[cut:] for child in root.iterfind(f"{name}CommonPrefixes")]
    truncated = root.findtext(f"{name}IsTruncated")
    more = root.findtext(f"{name}NextContinuationToken") if truncated == "true" else None
    if truncated not in {"true", "false"} or (truncated == "true" and not more):
        raise ValueError("a listing says whether there is more, and how to ask for it")
    return page_of(entries, folders, more, server)


def read_code(text: bytes) -> str | None:
    """Return the code of an error; `None` where there is none to read."""
    try:
        return XML(text).findtext("Code")
    except ParseError:
        return None


def _entry(element: Element, namespace: int, decode: Callable[[str], str], cut: int) -> Entry:
    found = {child.tag[namespace:]: child.text or "" for child in element}
    modified = datetime.fromisoformat(found["LastModified"])
    return listed_entry(decode(found["Key"])[cut:], int(found["Size"]), modified, found["ETag"])
