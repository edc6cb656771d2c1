"""What the status of a file says: its version, its entry, and whether it is what a caller expects."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiofs.driver import ABSENT, Entry
from aiofs.errors import AlreadyExists, Conflict, IsAFolder

if TYPE_CHECKING:
    import os

    from aiofs.backends.osfiles.place import Place


def version_of(status: os.stat_result) -> str:
    """Return a version that changes with every publication and every change in place."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def entry_of(path: str, status: os.stat_result) -> Entry:
    """Describe the file with this status."""
    return Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), version_of(status))


def kind_in_words(status: os.stat_result) -> str:
    """Return the word for what has this status, such as "folder"."""
    kinds = {
        stat.S_IFREG: "regular file",
        stat.S_IFDIR: "folder",
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
    }
    return kinds.get(stat.S_IFMT(status.st_mode), "device")


def check_regular(path: str, status: os.stat_result) -> None:
    """Raise `IsAFolder`, which says what there is instead, unless this is the status of a regular file."""
    if not stat.S_ISREG(status.st_mode):
        kind = kind_in_words(status)
        raise IsAFolder.of(
            path, f"this is a {kind}" if kind == "folder" else f"this is a {kind}, and not a regular file"
        )


def check_match(place: Place, match: str | None) -> None:
    """Raise `AlreadyExists` or `Conflict` unless `match` is the version of the file at `place`."""
    if match is None:
        return
    status = place.status()
    if match == ABSENT:
        if status is not None:
            raise AlreadyExists.of(place.path)
    elif status is None or version_of(status) != match:
        raise Conflict.of(place.path, "the file was changed meanwhile")


def parents_of(path: str) -> list[str]:
    """Return the folders that `path` is in, outermost first."""
    segments = path.split("/")[:-1]
    return ["/".join(segments[: depth + 1]) for depth in range(len(segments))]
