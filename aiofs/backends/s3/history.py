"""Old versions of a file in a bucket with versioning: listing, reading and restoring them, by a copy on the server."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from aiofs.backends.s3 import writing
from aiofs.backends.s3.facts import USUAL_CLASS, S3Entry, unquoted
from aiofs.backends.s3.names import listed_name
from aiofs.backends.s3.reading import open_stream
from aiofs.errors import AiofsError, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from aiofs.backends.s3.store import Store
    from aiofs.driver import Capabilities, Entry, Lease, ReadStream

_NO_ID = {"InvalidArgument", "InvalidVersionId"}
"""The codes with which stores refuse a version id of a wrong form."""


async def history(store: Store, path: str) -> AsyncGenerator[Entry]:
    """Yield the versions of the file that can be read, the newest first, without delete markers.

    :raises NotFound: if there are none.
    """
    found = False
    async for version in _versions(store, path, store.key(path)):
        found = True
        yield _entry(path, version)
    if not found:
        raise NotFound.of(path)


async def _versions(store: Store, path: str, key: str) -> AsyncGenerator[Mapping[str, Any]]:
    where: dict[str, Any] = {"Prefix": key, "EncodingType": "url"}
    encoded: bool | None = None  # whether the server encodes keys without saying so; None: unknown
    while True:
        page = (await store.requests.send("list_object_versions", path, **where)).parsed
        for found in page.get("Versions", ()):
            name = found["Key"]
            if name != key and unquote_plus(name) == key and page.get("EncodingType") != "url":
                if encoded is None:
                    encoded = await _is_of(store, path, found)
                if not encoded:
                    return
            elif listed_name(name, key, page) != key:
                return  # longer names come after all versions of this one
            yield found
        more = page.get("NextKeyMarker", "")
        if not page.get("IsTruncated") or key not in {more, unquote_plus(more)} or (more != key and encoded is False):
            return
        where["KeyMarker"], where["VersionIdMarker"] = key, page["NextVersionIdMarker"]


async def _is_of(store: Store, path: str, found: Mapping[str, Any]) -> bool:
    """Return whether a version whose key can be read in two ways is one of the file: then the file has that id."""
    try:
        facts = await store.facts(path, found["VersionId"])
    except AiofsError:
        return False
    return (facts.version, facts.size) == (unquoted(found["ETag"]), found["Size"])


async def read_kept(store: Store, path: str, version_id: str, start: int, stop: int | None) -> ReadStream:
    """Open an old version for reading.

    :raises NotFound: if there is no such version, or it is a delete marker.
    """
    with _named(path, version_id):
        return await open_stream(
            store.requests,
            store.key(path),
            path,
            start,
            stop,
            match=None,
            whole=store.settings.checksum is not None,
            version_id=version_id,
        )


async def restore_kept(store: Store, path: str, version_id: str, lease: Lease, capabilities: Capabilities) -> Entry:
    """Make an old version the present one again, by a copy.

    :raises NotFound: if there is no such version, or it is a delete marker.
    """
    with _named(path, version_id):
        source = writing.CopySource(path, await store.facts(path, version_id), version_id)
    return await writing.copy_from(store, source, path, lease, match=None, capabilities=capabilities)


@contextmanager
def _named(path: str, version_id: str) -> Iterator[None]:
    """Raise `NotFound` in place of all errors that stores report for a version that is not there."""
    try:
        yield
    except NotFound as error:
        raise _missing(path, version_id) from error
    except Unsupported as error:  # 405: the version is a delete marker
        raise _missing(path, version_id) from error
    except AiofsError as error:
        response = getattr(error.__cause__, "response", {})
        code = response.get("Error", {}).get("Code")
        if code in _NO_ID or (code == "400" and type(error) is AiofsError):
            raise _missing(path, version_id) from error
        raise


def _missing(path: str, version_id: str) -> NotFound:
    return NotFound.of(path, f"there is no version {version_id!r} of this file that can be read")


def _entry(path: str, found: Mapping[str, Any]) -> Entry:
    kind = found.get("StorageClass", USUAL_CLASS)
    return S3Entry(
        path,
        found["Size"],
        found["LastModified"],
        unquoted(found["ETag"]),
        version_id=found["VersionId"],
        properties=None if kind == USUAL_CLASS else {"storage_class": kind},
    )
