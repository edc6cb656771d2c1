"""How a server writes keys in the listing of uploads: some encode them without saying so, others do not.

Which it is, is learned once for each endpoint, from an upload of our own to a key with a space and a `%`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple
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
