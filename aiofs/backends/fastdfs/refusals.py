"""What the status of an answer means to the caller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.wire import Status
from aiofs.errors import AccessDenied, AiofsError, AlreadyExists, IsAFolder, NoSpace, NotAccepted, NotFound, Unavailable

if TYPE_CHECKING:
    from aiofs.backends.fastdfs.pool import RefusedError


_KINDS: dict[int, type[AiofsError]] = {
    Status.NOT_FOUND: NotFound,
    Status.NO_MEMORY: Unavailable,
    Status.DENIED: AccessDenied,
    Status.BUSY: Unavailable,
    Status.EXISTS: AlreadyExists,
    Status.NO_FILE: IsAFolder,
    Status.INVALID: NotAccepted,
    Status.NO_SPACE: NoSpace,
}
_WORDS: dict[int, str] = {
    Status.DISK_ERROR: "the storage cannot read or write its disk",
    Status.NO_MEMORY: "the server is out of memory",
    Status.BUSY: "the storage found no free name",
    Status.INVALID: "the server does not accept the request for this file",
    Status.NO_SPACE: "the storages have no space above their reserve",
}


def by_storage(refused: RefusedError, file: str | None) -> AiofsError:
    """Return the error that a storage's refusal amounts to."""
    kind = _KINDS.get(refused.status, AiofsError)
    words = _WORDS.get(refused.status) or (os.strerror(kind.code) if kind is not AiofsError else "it refuses")
    return kind.of(file, f"{refused.address}: {words} (status {refused.status})")


def by_tracker(refused: RefusedError, group: str | None) -> AiofsError:
    """Return the error that a tracker's refusal amounts to. Trackers know no files: 2 never means a missing one."""
    if refused.status == Status.NOT_FOUND:
        which = "no group has" if group is None else f"there is no group {group!r}, or it does not have"
        return Unavailable.of(None, f"{refused.address}: {which} a storage that is up")
    if refused.status == Status.INVALID:
        return NotAccepted.of(
            None,
            f"{refused.address} does not understand what a tracker is asked: it may be a storage. Name trackers, which"
            " listen on port 22122 unless their tracker.conf says otherwise",
        )
    return by_storage(refused, None)
