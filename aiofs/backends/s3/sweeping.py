"""What processes left in the bucket: multipart uploads, lock objects, probes of conditions, old versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.encoding import Reading, key_of
from aiofs.backends.s3.locks import LockObjects, lock_key
from aiofs.backends.s3.notes import is_young
from aiofs.backends.s3.probe import NAME
from aiofs.backends.s3.removing import remove
from aiofs.backends.s3.store import LOCKS
from aiofs.backends.s3.versions import old_versions, remove_old
from aiofs.backends.s3.writing import abort_upload, upload_exists
from aiofs.driver import Leftover
from aiofs.errors import Locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.backends.s3.elsewhere import LocksElsewhere
    from aiofs.backends.s3.store import Store

UPLOAD = "multipart upload"
LOCK = "lock object"
PROBE = "probe"
FORGOTTEN = timedelta(days=1)
"""How old an upload must be to be taken for abandoned where no lock tells."""


async def leftovers(
    store: Store, locks: LockObjects, elsewhere: LocksElsewhere | None, prefix: str
) -> AsyncIterator[Leftover]:
    """Yield the uploads, the locks and probes, then old versions; `elsewhere` has the locks if not this store."""
    async for path, upload, begun, sure in _uploads(store, prefix):
        if not sure:  # whose it is, nobody knows: it stays
            live, holder = True, None
        elif store.settings.locking == "lease" and elsewhere is None:
            found = await locks.look(path)
            live = found is not None and found.live
            holder = found.holder if found is not None else None
        else:
            live = await _is_live(path, begun, elsewhere)
            holder = None
        yield Leftover(path, UPLOAD, begun, holder, live, json.dumps({"upload": upload}))
    async for name in locks.names():
        if name.startswith(LOCKS + NAME):
            facts = await store.look(name)
            if facts is not None and not prefix:
                live = is_young(facts, store.settings.lease)
                yield Leftover(name, PROBE, facts.modified, None, live, json.dumps({"probe": facts.version}))
            continue
        found = await locks.read(name)
        if found is not None and found.path.startswith(prefix) and lock_key(found.path) == name:
            token = json.dumps({"lock": found.version})
            yield Leftover(found.path, LOCK, found.modified, found.holder, found.live, token)
    async for leftover in old_versions(store, prefix):
        yield leftover


async def sweep(store: Store, locks: LockObjects, leftover: Leftover) -> bool:
    """Remove one of them unless it is live; return whether it is gone."""
    if leftover.live:
        return False
    token: dict[str, Any] = json.loads(leftover.token)
    if "upload" in token:
        await abort_upload(store, leftover.path, token["upload"])
        return not await upload_exists(store, leftover.path, token["upload"])
    if "versions" in token:
        return await remove_old(store, token["versions"])
    if "probe" in token:
        await remove(store, [leftover.path])
        return True
    return await _sweep_lock(locks, leftover, token["lock"])


async def _sweep_lock(locks: LockObjects, leftover: Leftover, version: str) -> bool:
    found = await locks.look(leftover.path)
    if found is None:
        return True
    if found.live or found.version != version:
        return False
    return await locks.remove(leftover.path, found.version)


async def _is_live(path: str, begun: datetime | None, elsewhere: LocksElsewhere | None) -> bool:
    """Whether somebody has the path's lock in the store elsewhere; without locks, whether the upload is young."""
    if elsewhere is None:
        return begun is None or datetime.now(UTC) - begun < FORGOTTEN
    try:
        lease = await elsewhere.lock(path)
    except Locked:
        return True
    await lease.release()
    return False


async def _uploads(store: Store, prefix: str) -> AsyncIterator[tuple[str, str, datetime | None, bool]]:
    """Yield path and id of each upload, when it was begun, and whether the path is sure."""
    root = len(store.settings.prefix)
    where: dict[str, Any] = {"Prefix": store.settings.prefix + prefix, "EncodingType": "url"}
    while True:
        page = (await store.calls.send("list_multipart_uploads", None, **where)).parsed
        last = Reading(page.get("NextKeyMarker", ""), sure=False)
        for upload in page.get("Uploads", ()):
            last = await key_of(store, upload, page)
            yield last.key[root:], upload["UploadId"], upload.get("Initiated"), last.sure
        if not page.get("IsTruncated"):
            return
        where["KeyMarker"], where["UploadIdMarker"] = last.key, page["NextUploadIdMarker"]
