"""Places: an open folder and a name in it, which stay together whatever becomes of the way that led there."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiofs.backends.osfiles import synced
from aiofs.backends.osfiles.synced import PASS
from aiofs.driver import Entry
from aiofs.errors import NotFound
from aiofs.kit import check_match
from aiofs.names import is_in_journal

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""The errors that say that something vanished, or that a link leads to nothing."""


@dataclass(slots=True)
class Place:
    """Where a file is or would be: `leaf` in the open folder `fd` (without `dir_fd`: `leaf` is a whole path)."""

    path: str
    fd: int | None
    leaf: str
    made: list[str] = field(default_factory=list)
    """The folders that were made on the way, outermost first, as paths below the root."""
    folders: tuple[str, ...] = ()
    """The names of the folders on the way, links resolved."""

    def beside(self, name: str) -> str:
        """Return what to call a neighbour of the leaf."""
        return name if self.fd is not None else os.path.join(os.path.dirname(self.leaf), name)

    def status(self, name: str | None = None) -> os.stat_result | None:
        """Return the status of the leaf or a neighbour, links not followed, or `None` if it is not there."""
        try:
            return os.stat(self.leaf if name is None else name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def check_match(self, match: str | None) -> None:
        """Raise `AlreadyExists` or `Conflict` unless `match` is the version of the file that is here."""
        if match is not None:
            status = self.status()
            check_match(self.path, match, None if status is None else version_of(status))

    def go_up(self, name: str) -> None:
        """Become the place of the folder that this one is in, which has this name.

        :raises NotFound: if that was moved meanwhile.
        """
        assert self.fd is not None  # noqa: S101 -- the caller looked
        above = os.open("..", PASS, dir_fd=self.fd)
        here, self.fd, self.leaf = self.fd, above, name
        try:
            status = self.status()
            if status is None or not os.path.samestat(status, os.fstat(here)):
                raise NotFound.of(self.path)
        finally:
            close_folder(here)

    def sync(self) -> None:
        """Bring the names in the folder to the disk, where the system can."""
        if self.fd is not None:
            synced.sync(self.fd)

    def bring_way(self) -> None:
        """Bring the names of the folders on the way to the disk, as far as the system can and they may be new."""
        if self.fd is not None:
            synced.bring_way(self.fd, self.folders)

    def bring(self, file: int) -> None:
        """Bring the name of the open file that is here to the disk, with those of the folders on the way."""
        if self.fd is not None:
            self.bring_way()
            synced.bring(self.fd, self.leaf, file)

    def close(self) -> None:
        """Close the folder. Harmless when done twice."""
        fd, self.fd = self.fd, None
        if fd is not None:
            close_folder(fd)


def unlink(place: Place) -> None:
    """Remove a file, or an empty folder where somebody put one among the files of a journal.

    :raises OSError: if it cannot be removed.
    """
    try:
        os.unlink(place.leaf, dir_fd=place.fd)
    except (IsADirectoryError, PermissionError):
        status = place.status()
        if status is None or not stat.S_ISDIR(status.st_mode) or not is_in_journal(place.path):
            raise
        os.rmdir(place.leaf, dir_fd=place.fd)


def close_folder(fd: int) -> None:
    """Close a folder. Nothing was written through it, so an error says nothing; and it is closed all the same."""
    with suppress(OSError):
        os.close(fd)


def open_folder(name: str, folder: int) -> int:
    """Return the folder of this name in an open one, opened to be read; it must not be a link."""
    return os.open(name, os.O_RDONLY | synced.FOLDER | NO_FOLLOW, dir_fd=folder)


def version_of(status: os.stat_result) -> str:
    """Return a version that changes with every publication and every change in place."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def entry_of(path: str, status: os.stat_result) -> Entry:
    """Describe the file with this status."""
    return Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), version_of(status))


def is_file(status: os.stat_result | None) -> bool:
    """Whether this is the status of a regular file."""
    return status is not None and stat.S_ISREG(status.st_mode)
