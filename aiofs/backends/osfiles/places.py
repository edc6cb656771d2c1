"""Places: an open folder and a name in it; and how both are brought to the disk."""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import suppress
from ctypes import CDLL, byref, create_string_buffer
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from aiofs.driver import Entry
from aiofs.errors import NotFound
from aiofs.kit import check_match
from aiofs.names import is_in_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
NO_LINK = NO_FOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""To open a file that must not be a link."""
EXISTING = NO_LINK | getattr(os, "O_NONBLOCK", 0)
"""To open a file that is there: somebody may have put a FIFO in its place, and opening one would wait."""
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
            sync_folder(self.fd)

    def sync_way(self) -> None:
        """Bring the names of the folders on the way to the disk, as far as the system can and they may be new."""
        if self.fd is not None:
            sync_way(self.fd, self.folders)

    def sync_name(self, file: int) -> None:
        """Bring the name of the open file that is here to the disk, with those of the folders on the way."""
        if self.fd is not None:
            self.sync_way()
            sync_name(self.fd, self.leaf, file)

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
    return os.open(name, os.O_RDONLY | FOLDER | NO_FOLLOW, dir_fd=folder)


def version_of(status: os.stat_result) -> str:
    """Return a version that changes with every publication and every change in place."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def entry_of(path: str, status: os.stat_result) -> Entry:
    """Describe the file with this status."""
    return Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), version_of(status))


def is_file(status: os.stat_result | None) -> bool:
    """Whether this is the status of a regular file."""
    return status is not None and stat.S_ISREG(status.st_mode)


FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
PASS = getattr(os, "O_PATH", os.O_RDONLY) | FOLDER
"""To walk through a folder takes less than to read it: one of mode 0711 lets others pass."""
_EMPTY_PATH, _BIRTH = 0x1000, 0x800
_ANSWER = struct.Struct("=I76xqI")
"""In what statx(2) fills: which fields are set, and the time of birth in seconds and nanoseconds."""
MOST = 10_000
"""So many names are remembered."""
_CANNOT = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}

_synced: dict[tuple[int, int, str], tuple[int, int]] = {}
"""What is on the disk: for a folder and a name in it, which file or folder."""


def readable(folder: int) -> int:
    """Return the folder that is open to be walked through, opened to be read as well."""
    return os.open(".", os.O_RDONLY | FOLDER, dir_fd=folder)


def sync_folder(folder: int) -> None:
    """Bring the names in an open folder to the disk."""
    try:
        opened = readable(folder)
    except PermissionError:
        os.sync()  # a folder that may be written but not read is synced with everything else
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_name(folder: int, name: str, file: int) -> None:
    """Bring the name of an open file to the disk, once."""
    if not _is_synced(folder, name, file):
        sync_folder(folder)
        _remember(folder, name, file)


def sync_way(folder: int, names: Sequence[str]) -> None:
    """Bring the names of an open folder, and of all above it, to the disk: `names` are those from the root down."""
    left = list(names)
    here = os.dup(folder)
    try:
        while True:
            try:
                above = os.open("..", PASS, dir_fd=here)
            except PermissionError:
                if left:
                    raise
                return  # what this user may not walk through holds no names of theirs
            try:
                done = _is_end(here, above) or _sync_name_of_folder(above, left.pop() if left else None, here)
            except BaseException:
                os.close(above)
                raise
            here, below = above, here
            os.close(below)
            if done:
                return
    finally:
        os.close(here)


def forget_name(folder: int, name: str) -> None:
    """Forget a name that was removed: what has it next is something else."""
    _synced.pop(_key(folder, name), None)


def _sync_name_of_folder(above: int, name: str | None, here: int) -> bool:
    """Bring the name of an open folder to the disk. Return whether all names above it are there, too.

    The name of one above the root is not known. One that this user can neither read nor write holds no names of theirs,
    and a file system that syncs no folders is not ours to refuse up there.
    """
    if name is not None:
        sync_name(above, name, here)
        return False
    name = str(os.fstat(here).st_ino)
    if _is_synced(above, name, here):
        return True
    try:
        if os.access(".", os.R_OK, dir_fd=above) or os.access(".", os.W_OK, dir_fd=above):
            sync_folder(above)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    _remember(above, name, here)
    return False


def _is_end(here: int, above: int) -> bool:
    """Whether the disk ends here: there is nothing above, or that is another disk."""
    ours, theirs = os.fstat(here), os.fstat(above)
    return ours.st_dev != theirs.st_dev or ours.st_ino == theirs.st_ino


def _is_synced(folder: int, name: str, file: int) -> bool:
    return _synced.get(_key(folder, name)) == _mark(file)


def _remember(folder: int, name: str, file: int) -> None:
    if len(_synced) >= MOST:
        _synced.clear()
    _synced[_key(folder, name)] = _mark(file)


def _key(folder: int, name: str) -> tuple[int, int, str]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino, name


def _mark(file: int) -> tuple[int, int]:
    return os.fstat(file).st_ino, birth_of(file)


def birth_of(descriptor: int) -> int:
    """Return when the open file or folder was made, in nanoseconds; 0 where the system does not tell."""
    statx = _statx()
    if statx is None:
        return int(getattr(os.fstat(descriptor), "st_birthtime", 0) * 10**9)
    buffer = create_string_buffer(256)
    if statx(descriptor, b"", _EMPTY_PATH, _BIRTH, byref(buffer)) != 0:
        return 0
    told, seconds, nanoseconds = _ANSWER.unpack_from(buffer)
    return int(seconds * 10**9 + nanoseconds) if told & _BIRTH else 0


@cache
def _statx() -> Callable[..., Any] | None:
    try:
        return CDLL(None).statx
    except (OSError, AttributeError, TypeError):
        return None
