"""Partial writes, which another process continues: what `checkpoint` returns, and the token that finds them again.

`FileSystem.open(path, "w", partial="")` begins one. A store offers it with the power `aiofs.powers.KeepsPartial`. The
token that a user saves is one text: the token of the store, and what the write is to replace, with a digest, so that a
text that was cut or changed is found out before any request.
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
    """What `checkpoint` of an open file returns: the bytes that are safe now, and the token with which to go on."""

    token: str
    """Give it as `partial=` to go on with the write, also in another process. It stays the same for the whole write."""
    length: int
    """How many bytes are safe: so many bytes are there when the write is continued."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What the token of a partial write says: its base, and how the store finds it."""

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
    def of(cls, text: str) -> Begun:
        """Read a token.

        :raises ValueError: if it is none, or was cut or changed.
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
    """Return the id in the token of a driver, which names the `store` and the path of which it is. Does no I/O.

    :raises ValueError: if it is of another store or path.
    """
    if token.get("store") != store:
        raise ValueError(f"path {path!r}: the token in partial= is of another kind of store, {token.get('store')!r}")
    if token.get("path") != path:
        raise ValueError(
            f"path {path!r}: the token in partial= is of a write of {token.get('path')!r}: open that file to go on "
            f"with it; {_ANEW}"
        )
    found = token.get("id")
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise ValueError(f"path {path!r}: the token in partial= names no write: {_ANEW}")
    return found


def token_of(store: str, path: str, identity: str) -> dict[str, Any]:
    """Return the token of a driver, for `id_in`."""
    return {"store": store, "path": path, "id": identity}


def gone(
    path: str, why: str = "it was published, aborted, or removed by fsck, or was begun in another store"
) -> NotFound:
    """Return the error for a token whose partial write is not there."""
    return NotFound.of(path, f"there is no partial write of this file with this token: {why}; {_ANEW}")


def changed(path: str) -> Conflict:
    """Return the error for a file that is not the version any more that the partial write was to replace."""
    return Conflict.of(
        path,
        "the file was changed after the partial write began, so that cannot replace it any more: partial='' begins a "
        "new one; fsck removes the old one when its days are over",
    )


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
        f"resumable: open the file with its token to go on; kept until {end:%Y-%m-%d %H:%M}"
        if clock.now() < end
        else ""
    )


def _digest(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=_DIGEST // 2).hexdigest()
