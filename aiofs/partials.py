"""Partial writes, which another process can continue: what `checkpoint` returns, and the token that a user saves.

`FileSystem.open(path, "w", partial="")` begins one. A store offers it with the power `aiofs.powers.KeepsPartial`. The
token is one text: it has the token of the store, the version that the write is to replace, and a digest. So a text that
was cut or changed is refused before any request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

FORMAT = 1
KIND = "partial write"
"""What a partial write is called where leftovers are listed."""
DAYS = 7.0
"""For how many days a partial write is kept, if the file system does not say it."""
_BEGINNING = f"aiofs{FORMAT}-"
_DIGEST = 12
_ID = re.compile("[0-9a-f]{32}")
_ANEW = "partial='' begins a new one"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `checkpoint` of an open file returns: the token of the write, and how many bytes are safe."""

    token: str
    """Give it as `partial=` to continue the write, also in another process. It is the same for the whole write."""
    length: int
    """How many bytes are safe. If no later checkpoint follows, the write continues behind them."""


@dataclass(frozen=True, slots=True)
class PartialToken:
    """The token of a partial write: what it replaces, and how the store finds it."""

    match: str
    """The version that the write replaces, or `ABSENT`."""
    exclusive: bool
    """Whether the user said that there must be no such file."""
    where: Mapping[str, Any]
    """The token of the driver."""

    def text(self) -> str:
        """Return the token for users: letters, digits, `-` and `_`."""
        fields = {"match": str(self.match), "exclusive": self.exclusive, "where": dict(self.where)}
        body = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")
        return f"{_BEGINNING}{_digest(body)}{body}"

    @classmethod
    def of(cls, text: str) -> PartialToken:
        """Read a token.

        :raises ValueError: if the text is no token, or was cut or changed.
        """
        body = text[len(_BEGINNING) + _DIGEST :]
        if not text.startswith(_BEGINNING) or text[len(_BEGINNING) : len(_BEGINNING) + _DIGEST] != _digest(body):
            shown = f"{text[:24]}..." if len(text) > 24 else text  # noqa: PLR2004 -- enough to know it by
            raise ValueError(
                f"partial={shown!r} is no token of checkpoint(), or was cut or changed: give the whole text; {_ANEW}"
            )
        fields = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return cls(fields["match"], fields["exclusive"], fields["where"])


def id_in(token: Mapping[str, Any], store: str, path: str) -> str:
    """Return the id in the token of a driver, which must be of this kind of store and this path. Does no I/O.

    :raises ValueError: if it is of another store or path.
    """
    if token.get("store") != store:
        raise ValueError(f"path {path!r}: the token in partial= is of another kind of store, {token.get('store')!r}")
    if token.get("path") != path:
        raise ValueError(
            f"path {path!r}: the token in partial= is of a write of {token.get('path')!r}: open that file to "
            f"continue it; {_ANEW}"
        )
    found = token.get("id")
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise ValueError(f"path {path!r}: the token in partial= names no write: {_ANEW}")
    return found


def token_of(store: str, path: str, identity: str) -> dict[str, Any]:
    """Return the token of a driver, which `id_in` reads."""
    return {"store": store, "path": path, "id": identity}


def partial_gone(
    path: str, why: str = "it was published, aborted, or removed by fsck, or was begun in another store"
) -> NotFound:
    """Return the error for a token whose partial write is not there."""
    return NotFound.of(path, f"there is no partial write of this file with this token: {why}; {_ANEW}")


def partial_outdated(path: str) -> Conflict:
    """Return the error for a file that others changed after the partial write began."""
    return Conflict.of(
        path,
        "the file was changed after the partial write began, so the write cannot replace it any more: partial='' "
        "begins a new one; fsck removes the old one when its days are over",
    )


def partial_taken(path: str) -> Conflict:
    """Return the error for a session whose partial write another session continued or removed."""
    return Conflict.of(path, "somebody else continued this partial write, or removed it")


def check_days(days: float) -> timedelta:
    """Return for how long partial writes are kept.

    :raises ValueError: for a number of days that is not greater than 0.
    """
    if not days > 0:
        raise ValueError(f"keep_partial={days!r}: give a number of days greater than 0")
    return timedelta(days=days)


def why_kept(modified: datetime | None, kept: timedelta) -> str:
    """Return why `fsck` must leave a partial write alone, or "" if it is too old."""
    if modified is None:
        return ""
    end = modified + kept
    return (
        f"resumable: open the file with its token to continue it; kept until {end:%Y-%m-%d %H:%M}"
        if clock.now() < end
        else ""
    )


def _digest(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=_DIGEST // 2).hexdigest()
