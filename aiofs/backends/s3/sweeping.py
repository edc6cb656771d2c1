"""Sweeping: multipart uploads, lock objects, probes and old versions that processes left in the bucket."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.s3.errors import refused
from aiofs.backends.s3.locks import LockObjects, is_young, lock_key
from aiofs.backends.s3.partial import kept_uploads, remove_kept
from aiofs.backends.s3.probe import NAME
from aiofs.backends.s3.store import LOCKS, PAGE, ListedKey, batches, key_of, listed_name
from aiofs.backends.s3.writing import abort_upload
from aiofs.errors import AccessDenied, Locked, NotFound, Unsupported
from aiofs.kit import is_locked
from aiofs.lifetimes import finish
from aiofs.names import RESERVED
from aiofs.partials import KIND, check_days, why_kept
from aiofs.powers import Leftover

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from aiofs.backends.s3.locks import LocksElsewhere
    from aiofs.backends.s3.partial import KeptUpload
    from aiofs.backends.s3.store import Store

UPLOAD = "multipart upload"
LOCK = "lock object"
PROBE = "probe"
OLD_VERSIONS = "old versions"
ABANDONED_AFTER = timedelta(days=1)
"""An upload of this age counts as abandoned where no locks can tell."""


async def leftovers(
    store: Store, locks: LockObjects, elsewhere: LocksElsewhere | None, prefix: str
) -> AsyncIterator[Leftover]:
    """Yield partial writes and uploads, then locks and probes, then old versions.

    `elsewhere` keeps the locks, if this store does not.
    """
    kept: set[str | None] = set()
    async for each in kept_uploads(store):
        kept.add(each.upload)
        if each.path.startswith(prefix):
            yield await _partial(store, locks, elsewhere, each)
    async for leftover in _unfinished(store, locks, elsewhere, prefix):
        if json.loads(leftover.token)["upload"] not in kept:
            yield leftover
    async for name in locks.names():
        if name.startswith(LOCKS + NAME):
            facts = await store.look(name)
            if facts is not None and not prefix:
                live = is_young(facts, store.settings.lease)
                yield Leftover(name, PROBE, facts.modified, None, live, json.dumps({"probe": facts.version}))
            continue
        found = await locks.read(name)
        if found is not None and not found.needed and found.path.startswith(prefix) and lock_key(found.path) == name:
            token = json.dumps({"lock": found.version})
            yield Leftover(found.path, LOCK, found.modified, found.holder, found.live, token)
    async for leftover in _old_versions(store, prefix):
        yield leftover


async def _unfinished(
    store: Store, locks: LockObjects, elsewhere: LocksElsewhere | None, prefix: str
) -> AsyncIterator[Leftover]:
    """Yield all uploads."""
    async for path, upload, begun, sure in _uploads(store, prefix):
        if not sure:  # nobody knows whose it is, so it stays
            live, holder = True, None
        elif store.settings.locking == "lease" and elsewhere is None:
            live, holder = await _held(locks, path)
        else:
            live = await _is_live(path, begun, elsewhere)
            holder = None
        yield Leftover(path, UPLOAD, begun, holder, live, json.dumps({"upload": upload}))


async def sweep(store: Store, locks: LockObjects, leftover: Leftover) -> bool:
    """Remove a leftover unless it is live; return whether it is gone."""
    if leftover.live or leftover.stays:
        return False
    token: dict[str, Any] = json.loads(leftover.token)
    if "partial" in token:
        return await remove_kept(store, leftover.path, token)
    if "upload" in token:
        await abort_upload(store, leftover.path, token["upload"])
        return not await store.has_upload(leftover.path, store.key(leftover.path), token["upload"])
    if "versions" in token:
        return await remove_old(store, token["versions"])
    if "probe" in token:
        await store.remove([leftover.path])
        return True
    return await _sweep_lock(locks, leftover, token["lock"])


async def _partial(store: Store, locks: LockObjects, elsewhere: LocksElsewhere | None, kept: KeptUpload) -> Leftover:
    """Return the leftover for a partial write. Where no locks can tell, nobody counts as its owner."""
    live, holder = False, None
    if elsewhere is not None:
        live = await _is_live(kept.path, None, elsewhere)
    elif store.settings.locking == "lease":
        live, holder = await _held(locks, kept.path)
    why = "" if live else why_kept(kept.modified, check_days(store.settings.keep_partial))
    token = json.dumps({"partial": kept.name, "version": kept.version, "upload": kept.upload})
    return Leftover(kept.path, KIND, kept.modified, holder, live, token, why)


async def _held(locks: LockObjects, path: str) -> tuple[bool, str | None]:
    """Return whether somebody holds the lock object of the path, and who."""
    found = await locks.look(path)
    return (False, None) if found is None else (found.live, found.holder)


async def _sweep_lock(locks: LockObjects, leftover: Leftover, version: str) -> bool:
    found = await locks.look(leftover.path)
    if found is None:
        return True
    if found.live or found.version != version:
        return False
    if (await locks.store.traits(leftover.path)).deletes is not False:
        return await locks.remove(leftover.path, found.version)
    # This store would also remove the lock of somebody who has taken it since, so it is taken before.
    with suppress(Locked):
        await finish((await locks.lock(leftover.path)).release())
    return await locks.look(leftover.path) is None


async def _is_live(path: str, begun: datetime | None, elsewhere: LocksElsewhere | None) -> bool:
    """Return whether somebody holds the lock of the path elsewhere; without locks, whether the upload is young."""
    if elsewhere is None:
        return begun is None or clock.now() - begun < ABANDONED_AFTER
    return await is_locked(elsewhere.lock(path))


async def _uploads(store: Store, prefix: str) -> AsyncIterator[tuple[str, str, datetime | None, bool]]:
    """Yield the path of each upload, its id, when it was begun, and whether the path is sure."""
    root = len(store.settings.prefix)
    where: dict[str, Any] = {"Prefix": store.settings.prefix + prefix, "EncodingType": "url"}
    while True:
        page = (await store.requests.send("list_multipart_uploads", None, **where)).parsed
        last = ListedKey(page.get("NextKeyMarker", ""), sure=False)
        for upload in page.get("Uploads", ()):
            last = await key_of(store, upload, page)
            yield last.key[root:], upload["UploadId"], upload.get("Initiated"), last.sure
        if not page.get("IsTruncated"):
            return
        where["KeyMarker"], where["UploadIdMarker"] = last.key, page["NextUploadIdMarker"]


async def _old_versions(store: Store, prefix: str) -> AsyncGenerator[Leftover]:
    """Yield one leftover for all old versions of hidden objects (locks, journals) in a folder, if there are any."""
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
            yield Leftover(beginning, OLD_VERSIONS, None, None, live=False, token="", stays=str(error.strerror))
        return
    if counted:
        advice = (
            f"{counted[False]} old versions and {counted[True]} delete markers of hidden objects: fix=True removes "
            f"them; so does a lifecycle rule for the prefix {store.key(beginning)!r} with NoncurrentVersionExpiration "
            "and ExpiredObjectDeleteMarker"
        )
        yield Leftover(
            beginning, OLD_VERSIONS, None, None, live=False, token=json.dumps({"versions": beginning}), advice=advice
        )


async def remove_old(store: Store, beginning: str) -> bool:
    """Remove the old versions of all objects whose names start with `beginning`; return whether none is left.

    Versions are removed before delete markers. In the other order, an old version would for a moment be the object.

    :raises AccessDenied: if we may not remove versions; it names the permission.
    """
    found = [each async for each in _removable(store, beginning)]
    for markers in (False, True):
        await _remove(store, beginning, [(name, version_id) for name, version_id, marker in found if marker is markers])
    return not [each async for each in _removable(store, beginning)]


async def _removable(store: Store, beginning: str) -> AsyncGenerator[tuple[str, str, bool]]:
    """Yield all delete markers and all old versions: their names, their ids, and whether they are markers."""
    root = store.key(beginning)
    where: dict[str, Any] = {"Prefix": root, "EncodingType": "url"}
    while True:
        page = (await store.requests.send("list_object_versions", beginning, **where)).parsed
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
        answer = await store.requests.send("delete_objects", beginning, Delete={"Objects": objects})
        for error in answer.parsed.get("Errors", ()):
            if error.get("Code") not in {"NoSuchKey", "NoSuchVersion"}:
                raise refused(0, error, beginning, "delete_object_versions")


async def _keeps_none(store: Store) -> bool:
    """Return whether the bucket is known to keep no versions."""
    try:
        return (await store.traits(RESERVED)).versioning == ""
    except OSError:
        return False
