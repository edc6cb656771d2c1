"""What can go wrong with a server: the client's own exceptions, and the errors of aiofs that they become."""

from __future__ import annotations

import os
from enum import IntEnum

from aiofs.errors import (
    AccessDenied,
    AiofsError,
    AlreadyExists,
    IsAFolder,
    NoSpace,
    NotAccepted,
    NotFound,
    Unavailable,
    Unreachable,
)


class FastDFSStatus(IntEnum):
    """Why a server refuses. The numbers are those of Linux, on every system."""

    NOT_FOUND = 2
    DISK_ERROR = 5
    NO_MEMORY = 12
    DENIED = 13
    BUSY = 16
    EXISTS = 17
    NO_FILE = 21
    INVALID = 22
    NO_SPACE = 28


class ProtocolError(Exception):
    """A server sent what the protocol does not allow."""


class BrokenError(Exception):
    """The connection broke, or the server closed it."""


class StalledError(Exception):
    """No byte was sent or received for too long."""


EXCHANGE_ERRORS = (BrokenError, StalledError, ProtocolError)
"""How an exchange with a server fails after it was connected."""


class RefusedError(Exception):
    """A server answered with a status other than 0."""

    def __init__(self, status: int, command: int, server: str) -> None:
        super().__init__(f"{server} answered command {int(command)} with status {status}")
        self.status = status
        self.server = server


class NotConnected(Unreachable):
    """There is no connection to the server, so nothing was sent."""


_KINDS: dict[int, type[AiofsError]] = {
    FastDFSStatus.NOT_FOUND: NotFound,
    FastDFSStatus.NO_MEMORY: Unavailable,
    FastDFSStatus.DENIED: AccessDenied,
    FastDFSStatus.BUSY: Unavailable,
    FastDFSStatus.EXISTS: AlreadyExists,
    FastDFSStatus.NO_FILE: IsAFolder,
    FastDFSStatus.INVALID: NotAccepted,
    FastDFSStatus.NO_SPACE: NoSpace,
}
_WORDS: dict[int, str] = {
    FastDFSStatus.DISK_ERROR: "the storage cannot read or write its disk",
    FastDFSStatus.NO_MEMORY: "the server is out of memory",
    FastDFSStatus.BUSY: "the storage found no free name",
    FastDFSStatus.INVALID: "the server does not accept the request for this file",
    FastDFSStatus.NO_SPACE: "the storages have no space above their reserve",
}


def by_storage(refused: RefusedError, file: str | None) -> AiofsError:
    """Return the error for the refusal of a storage."""
    kind = _KINDS.get(refused.status, AiofsError)
    words = _WORDS.get(refused.status) or (os.strerror(kind.code) if kind is not AiofsError else "it refuses")
    return kind.of(file, f"{refused.server}: {words} (status {refused.status})")


def by_tracker(refused: RefusedError, group: str | None) -> AiofsError:
    """Return the error for the refusal of a tracker.

    Trackers do not know files: their status 2 means that no storage is there, never that a file is missing.
    """
    if refused.status == FastDFSStatus.NOT_FOUND:
        which = "no group has" if group is None else f"there is no group {group!r}, or it does not have"
        return Unavailable.of(None, f"{refused.server}: {which} a storage that is up")
    if refused.status == FastDFSStatus.INVALID:
        return NotAccepted.of(
            None,
            f"{refused.server} does not understand what a tracker is asked: it may be a storage. Name trackers, which"
            " listen on port 22122 unless their tracker.conf says otherwise",
        )
    return by_storage(refused, None)
