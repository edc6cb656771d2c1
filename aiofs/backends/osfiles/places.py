"""Places: an open folder and a name in it, what is there, how both names are brought to the disk, and errors about it.

A place stays the same folder when somebody renames or replaces the folders that led there.

After a power cut, a new file is found only if its folder was synced, and the folder only if the one above it was
synced, and so on up. POSIX promises no more, though many systems do more. This or another process may just have made a
folder on the way, so all folders on the way are synced, up to the end of the disk. This process remembers what it
synced and does not sync it again. It recognizes a folder by its number together with the time it was made, as no later
folder can have both, and by its name and the folder above.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import contextmanager, suppress
from ctypes import CDLL, byref, create_string_buffer
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from aiofs import errors
from aiofs.driver import Entry
from aiofs.errors import (
    AccessDenied,
    AiofsError,
    AlreadyExists,
    Conflict,
    IsAFolder,
    NoSpace,
    NotAFolder,
    NotFound,
    TooLarge,
    Unavailable,
)
from aiofs.kit import check_match
from aiofs.names import JOURNAL, is_in_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
NO_LINK = NO_FOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""To open a file that must not be a link."""
EXISTING = NO_LINK | getattr(os, "O_NONBLOCK", 0)
"""To open a file that is there: somebody may have put a FIFO in its place, and opening one would wait."""
NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""The errors of a name that vanished, or of a link that leads to nothing."""
FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
PASS = getattr(os, "O_PATH", os.O_RDONLY) | FOLDER
"""To open a folder only to walk through it: one of mode 0711 lets others do that, and not read it."""
MOST_NAMES = 10_000
"""How many names this process remembers as being on the disk."""
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}

_synced: dict[tuple[int, int, str], tuple[int, int]] = {}
"""The names that are on the disk: a folder and a name in it, and the file or folder that has this name."""
_EMPTY_PATH, _BIRTH = 0x1000, 0x800  # AT_EMPTY_PATH and STATX_BTIME
_ANSWER = struct.Struct("=I76xqI")
"""The parts of statx(2)'s answer that are used: which fields are set, and the time of birth (seconds, nanoseconds)."""
_ERRORS: dict[int, type[AiofsError]] = {
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: TooLarge,
    errno.ENOENT: NotFound,
    errno.ELOOP: NotFound,  # a link that leads to itself leads to nothing
    errno.ENOTDIR: NotAFolder,
    errno.EISDIR: IsAFolder,
    errno.EEXIST: AlreadyExists,
    errno.EAGAIN: Conflict,
    errno.EMFILE: Unavailable,
    errno.ENFILE: Unavailable,
}


def fold(name: str) -> str:
    """Return the name as disks see it that know no case, and one form of accents only."""
    import unicodedata  # noqa: PLC0415 -- few programs need it

    return unicodedata.normalize("NFC", name.casefold())


@dataclass(slots=True)
class Place:
    """Where a file is or would be: the name `leaf` in the open folder `fd`.

    Where the system has no `dir_fd`, `fd` is `None` and `leaf` is a whole path.
    """

    path: str
    fd: int | None
    leaf: str
    made: list[str] = field(default_factory=list)
    """The folders that were made for this place, outermost first, as paths below the root."""
    folders: tuple[str, ...] = ()
    """The names of the folders from the root to this one, links resolved."""

    def beside(self, name: str) -> str:
        """Return how to name another file in the folder."""
        return name if self.fd is not None else os.path.join(os.path.dirname(self.leaf), name)

    def status(self, name: str | None = None) -> os.stat_result | None:
        """Return the status of the leaf, or of another name in the folder; `None` if it is not there.

        Links are not followed.
        """
        try:
            return os.stat(self.leaf if name is None else name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def drop_other_name(self, new: Place, moved: os.stat_result) -> None:
        """Remove this name of a file after its rename to `new`, which does nothing if that is a name of it already.

        Two spellings of one name, where the disk folds case or a link leads to the same folder, are left alone.
        """
        left = self.status()
        if left is None or not os.path.samestat(left, moved):
            return
        mine, theirs = (
            os.stat(os.path.dirname(place.leaf) or ".") if place.fd is None else os.fstat(place.fd)
            for place in (self, new)
        )
        same_name = fold(os.path.basename(self.leaf)) == fold(os.path.basename(new.leaf))
        if not (same_name and os.path.samestat(mine, theirs)):
            os.unlink(self.leaf, dir_fd=self.fd)

    def check_match(self, match: str | None) -> None:
        """Raise `AlreadyExists` or `Conflict` unless `match` is the version of the file that is here."""
        if match is not None:
            status = self.status()
            check_match(self.path, match, None if status is None else version_of(status))

    def go_up(self, name: str) -> None:
        """Become the place of the open folder itself: `name` in the folder above.

        :raises NotFound: if the folder was moved meanwhile.
        """
        assert self.fd is not None  # noqa: S101 -- the caller checked that
        above = os.open("..", PASS, dir_fd=self.fd)
        here, self.fd, self.leaf = self.fd, above, name
        try:
            status = self.status()
            if status is None or not os.path.samestat(status, os.fstat(here)):
                raise NotFound.of(self.path)
        finally:
            close_folder(here)

    def sync(self) -> None:
        """Bring the names in the folder to the disk, where the system has `dir_fd`."""
        if self.fd is not None:
            sync_folder(self.fd)

    def sync_way(self) -> None:
        """Bring the names of the folders on the way to the disk, unless this process did so before."""
        if self.fd is not None:
            sync_way(self.fd, self.folders)

    def sync_name(self, file: int) -> None:
        """Bring the name of this file, which is open as `file`, and those of the folders on the way to the disk."""
        if self.fd is not None:
            self.sync_way()
            sync_name(self.fd, self.leaf, file)

    def close(self) -> None:
        """Close the folder. Harmless when done twice."""
        fd, self.fd = self.fd, None
        if fd is not None:
            close_folder(fd)


def unlink(place: Place) -> None:
    """Remove a file, or an empty folder if somebody put it among the files of a journal.

    :raises OSError: if it cannot be removed.
    """
    try:
        os.unlink(place.leaf, dir_fd=place.fd)
    except (IsADirectoryError, PermissionError):
        status = place.status()
        if status is None or not stat.S_ISDIR(status.st_mode) or not is_in_journal(place.path):
            raise
        os.rmdir(place.leaf, dir_fd=place.fd)


def remove_folder(place: Place) -> None:
    """Remove a folder that is empty, or has only the empty folder of a journal. It may be gone already."""
    try:
        os.rmdir(place.leaf, dir_fd=place.fd)
    except FileNotFoundError:
        return
    except OSError as error:
        journal = os.path.join(place.leaf, JOURNAL)
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or place.status(journal) is None or _has_others(place):
            raise
        os.rmdir(journal, dir_fd=place.fd)
        os.rmdir(place.leaf, dir_fd=place.fd)
    if place.fd is not None:
        forget_name(place.fd, place.leaf)


def _has_others(place: Place) -> bool:
    """Whether anything but the folder of a journal is in the folder at a place."""
    folder = place.leaf if place.fd is None else open_folder(place.leaf, place.fd)
    try:
        with os.scandir(folder) as children:
            return any(child.name != JOURNAL for child in children)
    finally:
        if isinstance(folder, int):
            close_folder(folder)


def close_folder(fd: int) -> None:
    """Close a folder. An error means nothing here: nothing was written through it, and it is closed all the same."""
    with suppress(OSError):
        os.close(fd)


def open_folder(name: str, folder: int) -> int:
    """Open a folder in an open one for reading; the name must not be a link."""
    return os.open(name, os.O_RDONLY | FOLDER | NO_FOLLOW, dir_fd=folder)


def version_of(status: os.stat_result) -> str:
    """Return the version of a file: it changes with every publication and every change in place."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def entry_of(path: str, status: os.stat_result) -> Entry:
    """Describe the file with this status."""
    return Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), version_of(status))


def is_file(status: os.stat_result | None) -> bool:
    """Whether this is the status of a regular file."""
    return status is not None and stat.S_ISREG(status.st_mode)


def kind_in_words(status: os.stat_result) -> str:
    """Return what has this status in words, such as "folder"."""
    kinds = {
        stat.S_IFREG: "regular file",
        stat.S_IFDIR: "folder",
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
    }
    return kinds.get(stat.S_IFMT(status.st_mode), "device")


def check_regular(path: str, status: os.stat_result) -> None:
    """Raise `IsAFolder` unless this is the status of a regular file; the error says what it is."""
    if not stat.S_ISREG(status.st_mode):
        kind = kind_in_words(status)
        raise IsAFolder.of(
            path, f"this is a {kind}" if kind == "folder" else f"this is a {kind}, and not a regular file"
        )


@contextmanager
def errors_about(path: str) -> Iterator[None]:
    """Make the errors of the block errors of aiofs that name `path`, not a staging file or a folder on the way."""
    try:
        yield
    except AiofsError as error:
        errors.place(error, path)
        raise
    except OSError as error:
        kind = _ERRORS.get(error.errno or 0, AiofsError)
        raise kind(error.errno, error.strerror, path) from error


def readable(folder: int) -> int:
    """Open for reading a folder that is open only to be walked through."""
    return os.open(".", os.O_RDONLY | FOLDER, dir_fd=folder)


def sync_folder(folder: int) -> None:
    """Bring the names in an open folder to the disk."""
    try:
        opened = readable(folder)
    except PermissionError:
        # Only an open folder can be synced by itself, so one that we may write and not read is synced with all disks.
        os.sync()
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_name(folder: int, name: str, file: int) -> None:
    """Bring the name of the open file or folder `file` to the disk, once."""
    if not _is_synced(folder, name, file):
        sync_folder(folder)
        _remember(folder, name, file)


def sync_way(folder: int, names: Sequence[str]) -> None:
    """Bring the names of an open folder and of all folders above it to the disk.

    `names` are those from the root down to it.
    """
    left = list(names)
    here = os.dup(folder)
    try:
        while True:
            try:
                above = os.open("..", PASS, dir_fd=here)
            except PermissionError:
                if left:
                    raise
                return  # this user cannot have made anything there
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
    """Forget a name that was removed: the next file with this name is another one."""
    _synced.pop(_key(folder, name), None)


def _sync_name_of_folder(above: int, name: str | None, here: int) -> bool:
    """Bring the name of an open folder to the disk. Return whether all names above it are known to be there.

    Above the root, the name is not known (`None`), and the folder's number stands for it. There, a folder that this
    user can neither read nor write is passed over, as this user made nothing in it, and so is a file system that
    cannot sync folders.
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
        if error.errno not in _NOT_SUPPORTED:
            raise
    _remember(above, name, here)
    return False


def _is_end(here: int, above: int) -> bool:
    """Whether the disk ends here: nothing is above, or another disk."""
    ours, theirs = os.fstat(here), os.fstat(above)
    return ours.st_dev != theirs.st_dev or ours.st_ino == theirs.st_ino


def _is_synced(folder: int, name: str, file: int) -> bool:
    return _synced.get(_key(folder, name)) == _mark(file)


def _remember(folder: int, name: str, file: int) -> None:
    if len(_synced) >= MOST_NAMES:
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
    fields, seconds, nanoseconds = _ANSWER.unpack_from(buffer)
    return int(seconds * 10**9 + nanoseconds) if fields & _BIRTH else 0


@cache
def _statx() -> Callable[..., Any] | None:
    try:
        return CDLL(None).statx
    except (OSError, AttributeError, TypeError):
        return None
