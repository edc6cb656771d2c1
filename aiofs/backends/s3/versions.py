"""Counts and removes old versions of hidden objects (locks, journals, probes), which a bucket with versioning keeps.

Versions are removed before delete markers: in the other order, an old version would be the object again for a moment.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.errors import refused
from aiofs.backends.s3.history import listed_name
from aiofs.backends.s3.removing import PAGE, batches
from aiofs.driver import Leftover
from aiofs.errors import AccessDenied, NotFound, Unsupported
from aiofs.names import RESERVED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from aiofs.backends.s3.store import Store

KIND = "old versions"


async def old_versions(store: Store, prefix: str) -> AsyncGenerator[Leftover]:
    """Yield one leftover for all old versions of hidden objects in the folder `prefix`, if there are any."""
    if RESERVED in prefix or not (prefix == "" or prefix.endswith("/")):
        return
    beginning = prefix + RESERVED
    counted: Counter[bool] = Counter()
    try:
        async for _, _, marker in _removable(store, beginning):
            counted[marker] += 1
    except (NotFound, Unsupported):
        return  # the store has no versions
    except AccessDenied as error:
        if not await _keeps_none(store):
            yield Leftover(beginning, KIND, None, None, live=False, token="", stays=str(error.strerror))
        return
    if counted:
        advice = (
            f"{counted[False]} old versions and {counted[True]} delete markers of hidden objects: fix=True removes "
            f"them; so does a lifecycle rule for the prefix {store.key(beginning)!r} with NoncurrentVersionExpiration "
            "and ExpiredObjectDeleteMarker"
        )
        yield Leftover(
            beginning, KIND, None, None, live=False, token=json.dumps({"versions": beginning}), advice=advice
        )


async def remove_old(store: Store, beginning: str) -> bool:
    """Remove the old versions of all objects whose names start with `beginning`; return whether none is left.

    :raises AccessDenied: if the user may not remove versions; it names the permission.
    """
    found = [each async for each in _removable(store, beginning)]
    for markers in (False, True):
        await _remove(store, beginning, [(name, version_id) for name, version_id, marker in found if marker is markers])
    return not [each async for each in _removable(store, beginning)]


async def _removable(store: Store, beginning: str) -> AsyncGenerator[tuple[str, str, bool]]:
    """Yield name, version id and whether it is a delete marker: all delete markers, all versions but the latest."""
    root = store.key(beginning)
    where: dict[str, Any] = {"Prefix": root, "EncodingType": "url"}
    while True:
        page = (await store.calls.send("list_object_versions", beginning, **where)).parsed
        for field in ("Versions", "DeleteMarkers"):
            for found in page.get(field, ()):
                marker = field == "DeleteMarkers"
                if marker or not found["IsLatest"]:
                    yield _name(store, root, found, page), found["VersionId"], marker
        if not page.get("IsTruncated"):
            return
        where["KeyMarker"] = listed_name(page["NextKeyMarker"], root, page)
        where["VersionIdMarker"] = page["NextVersionIdMarker"]


def _name(store: Store, root: str, found: Mapping[str, Any], page: Mapping[str, Any]) -> str:
    return listed_name(found["Key"], root, page)[len(store.settings.prefix) :]


async def _remove(store: Store, beginning: str, versions: list[tuple[str, str]]) -> None:
    for batch in batches(versions, PAGE):
        objects = [{"Key": store.key(name), "VersionId": version_id} for name, version_id in batch]
        answer = await store.calls.send("delete_objects", beginning, Delete={"Objects": objects})
        for error in answer.parsed.get("Errors", ()):
            if error.get("Code") not in {"NoSuchKey", "NoSuchVersion"}:
                raise refused(0, error, beginning, "delete_object_versions")


async def _keeps_none(store: Store) -> bool:
    """Whether the bucket surely keeps no versions."""
    try:
        return (await store.traits(RESERVED)).versioning == ""
    except OSError:
        return False
