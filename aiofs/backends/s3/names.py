"""Names: what servers make of keys, and how they write them in listings."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from aiofs.backends.s3.errors import NoSuchUpload
from aiofs.backends.s3.probe import NAME
from aiofs.backends.s3.store import LOCKS
from aiofs.errors import AiofsError, NotFound
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiofs.backends.s3.store import Store

_BY_FOLDER = ("SeaweedFS",)
"""By the names that they give themselves. They list `d/a` before `d-`, and make a slash of a backslash."""
_KNOWN: dict[str, bool] = {}  # by endpoint: whether it is one of them


def is_by_folder(server: str) -> bool:
    """Whether a server that calls itself so is one of them."""
    return any(name in server for name in _BY_FOLDER)


async def check_backslash(store: Store, path: str) -> None:
    """Raise `ValueError` for a name that the server would misread: the file would have another name.

    The server is asked for its own name once, and only because of a name with a backslash.
    """
    if "\\" not in store.key(path):
        return
    endpoint = (await store.clients.held()).endpoint
    if endpoint is None:
        return  # AWS
    if endpoint not in _KNOWN:
        server = await _server(store)
        if server is None:
            return
        _KNOWN[endpoint] = is_by_folder(server)
    if _KNOWN[endpoint]:
        raise ValueError(
            f"path {path!r}: this server makes a slash of a backslash, so it would be another file: "
            "use another name, or the layer Percent, which encodes it"
        )


async def _server(store: Store) -> str | None:
    """Return what the server calls itself, also where it refuses the question; `None` if it gives no answer."""
    headers: Any
    try:
        headers = (await store.calls.send("head_bucket", None)).headers
    except AiofsError as error:
        told = getattr(error.__cause__, "response", None)
        if told is None:
            return None
        headers = told.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("server", ""))


async def is_folder(store: Store, path: str) -> bool:
    """Whether a server that has no file `a` beside a folder `a` has such a folder: it denies that there is a file."""
    page = await store.calls.page(Prefix=f"{store.key(path)}/", MaxKeys=1)
    return is_by_folder(page.server) and bool(page.entries)


_ODD = " %"
_LEARNED: dict[str, bool] = {}  # by endpoint: whether keys are encoded


class Reading(NamedTuple):
    """What a key in a listing is taken to mean."""

    key: str
    sure: bool


async def key_of(store: Store, upload: Mapping[str, Any], page: Mapping[str, Any]) -> Reading:
    """Return the key that an upload on a page of the listing is for.

    Where it cannot be learned, both readings are looked up; it is sure if just one of them has this upload.
    """
    found = str(upload["Key"])
    decoded = unquote_plus(found)
    if page.get("EncodingType") == "url" or found == decoded:
        return Reading(decoded, sure=True)
    encoded = await _encodes(store)
    if encoded is not None:
        return Reading(decoded if encoded else found, sure=True)
    there = [key for key in (found, decoded) if await _has_upload(store, key, upload["UploadId"])]
    return Reading(there[0] if there else found, sure=len(there) == 1)


async def _encodes(store: Store) -> bool | None:
    """Return whether keys are encoded; `None` if our user may not begin an upload to find out."""
    client = await store.clients.client()
    endpoint = str(client.meta.endpoint_url)
    if endpoint not in _LEARNED:
        try:
            _LEARNED[endpoint] = await _learn(store)
        except AiofsError:
            return None
    return _LEARNED[endpoint]


async def _learn(store: Store) -> bool:
    name = f"{store.key(LOCKS)}{NAME}{uuid.uuid4().hex}"
    key = name + _ODD
    upload = (await store.calls.send("create_multipart_upload", None, Key=key)).parsed["UploadId"]
    try:
        page = (await store.calls.send("list_multipart_uploads", None, Prefix=key, EncodingType="url")).parsed
        listed = [found["Key"] for found in page.get("Uploads", ()) if found["UploadId"] == upload]
        if not listed:
            raise AiofsError.of(None, "the server does not list an upload that was just begun")
        return not listed[0].endswith(_ODD)
    finally:
        await finish(store.calls.send("abort_multipart_upload", None, Key=key, UploadId=upload))


async def _has_upload(store: Store, key: str, upload: str) -> bool:
    try:
        await store.calls.send("list_parts", None, Key=key, UploadId=upload, MaxParts=1)
    except (NoSuchUpload, NotFound):
        return False
    return True


def listed_name(found: str, prefix: str, page: Mapping[str, Any]) -> str:
    """Return the key that a listing of `prefix` means: some servers encode keys, and do not say so.

    As every key there begins with the prefix, one that does not is encoded.
    """
    if page.get("EncodingType") == "url" or not found.startswith(prefix):
        return unquote_plus(found)
    return found
