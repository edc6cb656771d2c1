"""The reserved names beside a file, and the numbers of the formats that a program knows.

| name | what it is |
|---|---|
| `.aiofs-stage-D` | the lock of the file; where its folder is written by one user alone, the new bytes as well |
| `.aiofs-part-D` | the new bytes, where users share the folder: in a file of the writer's own |
| `.aiofs-ready-D` | a prepared write; whether its process lives is told by a lock on this very file |
| `.aiofs-ready-shared-D` | the same where users share the folder: whether it lives is told by the lock of the file |
| `.aiofs-leased-D` | new bytes whose lock another file system keeps; when they are published, `-N` is added |
| `.aiofs-before-D` | what the file was before a transaction |

D is a digest of the file's name. Format 1 is that of 2.0.0a1, which knew neither `part` nor `ready-shared`, and wrote
no number into its tokens. A later format puts its number before the digest (`.aiofs-stage3-D`), and keeps programs out
that do not know it by a link at the old name, which leads to `aiofs-format-3`.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

from aiofs.errors import Unsupported
from aiofs.names import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 2
KNOWN = (1, 2)
STAGE = f"{RESERVED}-stage-"
PART = f"{RESERVED}-part-"
READY = f"{RESERVED}-ready-"
READY_SHARED = f"{RESERVED}-ready-shared-"
LEASED = f"{RESERVED}-leased-"
BEFORE = f"{RESERVED}-before-"
KINDS = {
    STAGE: "staging file",
    PART: "staging file",
    LEASED: "staging file",
    READY: "prepared write",
    BEFORE: "before-image",
}
_LINK = re.compile(r"aiofs-format-(\d+)")
_NUMBERED = re.compile(rf"{re.escape(RESERVED)}-(stage|part|ready|leased|before)(\d+)-")


def digest_of(leaf: str) -> str:
    """Return what the names beside the file `leaf` end with."""
    return hashlib.blake2b(os.fsencode(os.path.basename(leaf)), digest_size=16).hexdigest()


def kind_of(path: str) -> str | None:
    """Return what the file of this name is, if it is one of ours."""
    leaf = path.rpartition("/")[2]
    if numbered := _NUMBERED.match(leaf):
        return f"{numbered[1]} file of format {numbered[2]}, which this version of aiofs does not know"
    return next((kind for prefix, kind in KINDS.items() if leaf.startswith(prefix)), None)


def is_of_unknown_format(path: str) -> bool:
    """Whether this name is one of a later version."""
    return _NUMBERED.match(path.rpartition("/")[2]) is not None


def check_token(token: Mapping[str, Any]) -> None:
    """Raise `Unsupported` if the token of a prepared write has a format that this version does not know."""
    number = token.get("format", 1)
    if number not in KNOWN:
        raise unknown_format(str(token.get("path")), "a prepared write", number)


def format_of(target: str) -> str | None:
    """Return the number of the format that a link at one of our names says by where it leads."""
    said = _LINK.fullmatch(target)
    return None if said is None else said[1]


def check_link(path: str, target: str) -> None:
    """Raise `Unsupported` if a link at one of our names says that a later version locks the file."""
    if (number := format_of(target)) is not None:
        raise unknown_format(path, "the lock of this file", number)


def unknown_format(path: str, what: str, number: object) -> Unsupported:
    """Return the error that names the format."""
    known = " and ".join(map(str, KNOWN))
    return Unsupported.of(
        path, f"{what} has format {number}, and this version of aiofs knows {known}: use the version that made it"
    )


def parents_of(path: str) -> list[str]:
    """Return the folders that `path` is in, outermost first."""
    segments = path.split("/")[:-1]
    return ["/".join(segments[: depth + 1]) for depth in range(len(segments))]
