"""Names: paths and keys, names that some servers misread, and keys as servers write them in listings.

Some servers encode keys in listings without saying so. Whether a server does is learned once for each endpoint, from an
upload of our own to a key with a space and a `%`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from aiofs import clock
from aiofs.backends.s3.probe import NAME
from aiofs.backends.s3.store import LOCKS
from aiofs.errors import AiofsError
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.store import Store

LONGEST_KEY = 1024
_BY_FOLDER = ("SeaweedFS",)
"""Servers, by the names that they report, that keep files in folders.

They list `d/a` before `d-`, and replace each backslash of a name by a slash.
"""
_ODD = " %"
_KNOWN: dict[str, bool] = {}  # by endpoint: whether the server keeps files in folders
_LEARNED: dict[str, bool] = {}  # by endpoint: whether it encodes keys without saying so


class ListedKey(NamedTuple):
    """The key that an entry of a listing is about."""

    key: str
    sure: bool


def check_name(store: Store, path: str) -> None:
    """Raise `ValueError` for a path whose key would be too long."""
    length = len(store.key(path).encode())
    if length > LONGEST_KEY:
        raise ValueError(f"path {path!r}: its key has {length} bytes, and S3 takes {LONGEST_KEY}")


def keeps_folders(server: str) -> bool:
    """Return whether a server with that name keeps files in folders."""
    return any(name in server for name in _BY_FOLDER)


async def check_backslash(store: Store, path: str) -> None:
    """Raise `ValueError` for a name with a backslash that the server would replace: it would be another file.

    The server is asked for its name once, and only if a name has a backslash.
    """
    if "\\" not in store.key(path):
        return
    endpoint = (await store.clients.current()).endpoint
    if endpoint is None:
        return  # AWS
    if endpoint not in _KNOWN:
        server = await _server(store)
        if server is None:
            return
        _KNOWN[endpoint] = keeps_folders(server)
    if _KNOWN[endpoint]:
        raise ValueError(
            f"path {path!r}: this server replaces a backslash by a slash, so it would be another file: "
            "use another name, or the layer Percent, which encodes it"
        )


async def _server(store: Store) -> str | None:
    """Return the name that the server reports, even in a refusal; `None` if it does not answer."""
    headers: Any
    try:
        headers = (await store.requests.send("head_bucket", None)).headers
    except AiofsError as error:
        response = getattr(error.__cause__, "response", None)
        if response is None:
            return None
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("server", ""))


async def is_folder(store: Store, path: str) -> bool:
    """Return whether `path` is a folder on a server that cannot have a file and a folder of one name."""
    page = await store.requests.page(Prefix=f"{store.key(path)}/", MaxKeys=1)
    return keeps_folders(page.server) and bool(page.entries)


def listed_name(found: str, prefix: str, page: Mapping[str, Any]) -> str:
    """Return the key that a listing of `prefix` means by `found`.

    All keys in it begin with the prefix. So one that does not is encoded, even if the server does not say so.
    """
    if page.get("EncodingType") == "url" or not found.startswith(prefix):
        return unquote_plus(found)
    return found


async def key_of(store: Store, upload: Mapping[str, Any], page: Mapping[str, Any]) -> ListedKey:
    """Return the key of an upload on a page of the listing.

    If nobody can learn whether keys are encoded, the upload is looked up under both possible keys. The result is sure
    if it is there under exactly one of them.
    """
    found = str(upload["Key"])
    decoded = unquote_plus(found)
    if page.get("EncodingType") == "url" or found == decoded:
        return ListedKey(decoded, sure=True)
    encoded = await _encodes(store)
    if encoded is not None:
        return ListedKey(decoded if encoded else found, sure=True)
    there = [key for key in (found, decoded) if await store.has_upload(None, key, upload["UploadId"])]
    return ListedKey(there[0] if there else found, sure=len(there) == 1)


async def _encodes(store: Store) -> bool | None:
    """Return whether the server encodes keys; `None` if we may not begin an upload to learn it."""
    client = await store.clients.client()
    endpoint = str(client.meta.endpoint_url)
    if endpoint not in _LEARNED:
        try:
            _LEARNED[endpoint] = await _learn(store)
        except AiofsError:
            return None
    return _LEARNED[endpoint]


async def _learn(store: Store) -> bool:
    key = f"{store.key(LOCKS)}{NAME}{clock.token()}{_ODD}"
    upload = (await store.requests.send("create_multipart_upload", None, Key=key)).parsed["UploadId"]
    try:
        page = (await store.requests.send("list_multipart_uploads", None, Prefix=key, EncodingType="url")).parsed
        listed = [found["Key"] for found in page.get("Uploads", ()) if found["UploadId"] == upload]
        if not listed:
            raise AiofsError.of(None, "the server does not list an upload that was just begun")
        return not listed[0].endswith(_ODD)
    finally:
        await finish(store.requests.send("abort_multipart_upload", None, Key=key, UploadId=upload))
