"""What a lock object says: who holds the lock, since when and for how long, in a numbered format."""

from __future__ import annotations

import json
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiofs.errors import Damaged, Locked, Unsupported
from aiofs.locks import locked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.facts import Facts

FORMAT = 1
"""The number of the format. 2.0.0a1 wrote the same, without a number."""
_CLOCK_STEP = timedelta(seconds=1)  # HTTP tells times in whole seconds
_WHO = f"process {os.getpid()} on {socket.gethostname()}"


def new_note(path: str, lease: float) -> dict[str, Any]:
    """Return what the lock of somebody says who takes it now."""
    return {
        "format": FORMAT,
        "path": path,
        "token": uuid.uuid4().hex,
        "holder": _WHO,
        "since": datetime.now(UTC).isoformat(),
        "ttl": lease,
        "turn": 0,
    }


def free(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the same lock says once it is given back by somebody who may not remove it."""
    return {**note, "ttl": 0, "free": True}


@dataclass(frozen=True)
class Found:
    """A lock object as it is."""

    note: Mapping[str, Any]
    version: str
    version_id: str | None
    modified: datetime
    live: bool
    """Whether the lock is held, as far as the store's clock tells; one in a format of the future is."""

    @property
    def path(self) -> str:
        """What is locked."""
        return str(self.note.get("path", ""))

    @property
    def holder(self) -> str | None:
        """Who holds the lock; `None` if it was given back."""
        return None if self.note.get("free") else str(self.note.get("holder", "somebody"))

    def refusal(self, path: str) -> Locked | Unsupported:
        """Return the error for somebody else who wants the lock."""
        if not is_known(self.note):
            return Unsupported.of(
                path,
                f"its lock has the format {self.note['format']!r}, and this aiofs knows {FORMAT}: "
                "use the aiofs that wrote it, or a newer one",
            )
        since = self.note.get("since")
        return locked(path, self.holder, None if since is None else datetime.fromisoformat(since))


def found(data: bytes, facts: Facts, version_id: str | None, path: str) -> Found:
    """Return the lock object that was read.

    :raises Damaged: if somebody else has put something else there.
    """
    note = _read(data, path)
    now = facts.now or datetime.now(UTC)
    live = not is_known(note) or (not note.get("free") and is_young(facts, float(note.get("ttl", 0))))
    return Found(note, facts.version, version_id, facts.modified or now, live)


def is_known(note: Mapping[str, Any]) -> bool:
    """Whether this program knows the format of what a lock object says."""
    number = note.get("format", FORMAT)
    return isinstance(number, int) and number == FORMAT


def is_young(facts: Facts, seconds: float) -> bool:
    """Return whether an object was written no longer ago than that, by the store's own clock."""
    if facts.modified is None:
        return True
    return (facts.now or datetime.now(UTC)) - facts.modified < timedelta(seconds=seconds) + _CLOCK_STEP


def _read(data: bytes, path: str) -> dict[str, Any]:
    try:
        note = json.loads(data)
    except ValueError as error:
        raise Damaged.of(path, "the object that is its lock is none of this package's") from error
    if not isinstance(note, dict):
        raise Damaged.of(path, "the object that is its lock is none of this package's")
    return note
