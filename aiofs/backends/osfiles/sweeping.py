"""What killed writers and unfinished transactions left in a folder, found by its reserved names."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.flock import holder_of, try_lock
from aiofs.backends.osfiles.listing import walk
from aiofs.backends.osfiles.snapshots import BEFORE
from aiofs.backends.osfiles.staging import READY, STAGE, parents_of
from aiofs.driver import Leftover
from aiofs.errors import NotAFolder, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.backends.osfiles.root import Place, Root

KINDS = {STAGE: "staging file", READY: "prepared write", BEFORE: "before-image"}
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def leftovers(root: Root, prefix: str) -> Iterator[Leftover]:
    """Yield all staging files, prepared writes and before-images in the folder that the prefix names, and below."""
    for entry in walk(root, prefix[: prefix.rfind("/") + 1], "", one_level=False):
        kind = kind_of(entry.path)
        if kind is not None:
            live, holder = _look(root, entry.path)
            yield Leftover(entry.path, kind, entry.modified or datetime.now(UTC), holder, live, entry.path)


def sweep(root: Root, path: str) -> bool:
    """Remove a leftover unless somebody holds it; return whether it is gone."""
    try:
        with root.place(path, follow=False) as place:
            fd = _open(place)
            try:
                if not try_lock(fd):
                    return False
                os.unlink(place.leaf, dir_fd=place.fd)
            finally:
                os.close(fd)
    except (NotFound, NotAFolder, FileNotFoundError):
        return True
    root.prune(parents_of(path))
    return True


def kind_of(path: str) -> str | None:
    """Return what the file of this name is, if it is one of ours."""
    leaf = path.rpartition("/")[2]
    return next((kind for prefix, kind in KINDS.items() if leaf.startswith(prefix)), None)


def _open(place: Place) -> int:
    """Open a leftover for its lock."""
    try:
        return os.open(place.leaf, os.O_RDWR | _FLAGS, dir_fd=place.fd)
    except PermissionError:  # it has the mode of a file that may not be written
        return os.open(place.leaf, os.O_RDONLY | _FLAGS, dir_fd=place.fd)


def _look(root: Root, path: str) -> tuple[bool, str | None]:
    """Return whether somebody holds the file, and who."""
    try:
        with root.place(path, follow=False) as place:
            fd = _open(place)
    except (NotFound, NotAFolder, FileNotFoundError):
        return False, None
    try:
        live = not try_lock(fd)
        return live, holder_of(fd) if live else None
    finally:
        os.close(fd)
