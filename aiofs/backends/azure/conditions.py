"""Versions are ETags; `match` becomes the condition of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions

from aiofs.backends.azure.kinds import check_file
from aiofs.backends.azure.names import from_headers
from aiofs.driver import ABSENT, Entry

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties


def matching(match: str | None) -> dict[str, Any]:
    """Return the condition that the blob is at version `match`, is not there if that is `ABSENT`, or none."""
    if match is None:
        return {}
    if match == ABSENT:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": f'"{match}"', "match_condition": MatchConditions.IfNotModified}


def version_of(etag: str | None) -> str:
    """Return an ETag without its quotes, which listings leave out."""
    return (etag or "").strip('"')


def entry_of(path: str, properties: BlobProperties) -> Entry:
    """Return what a blob's properties say.

    :raises IsAFolder: if the blob only marks a folder.
    """
    check_file(path, properties)
    version = version_of(properties.etag)
    return Entry(path, properties.size, properties.last_modified, version, from_headers(properties.metadata))
