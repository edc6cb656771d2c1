"""Versions are ETags; `match` becomes the condition of a request."""

from __future__ import annotations

from typing import Any

from azure.core import MatchConditions

from aiofs.driver import ABSENT


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
