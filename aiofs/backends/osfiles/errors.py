"""The errors of the system as errors of aiofs, which name the path that the caller gave."""

from __future__ import annotations

import errno
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
    place,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

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


@contextmanager
def errors_about(path: str) -> Iterator[None]:
    """Make the errors of the block errors of aiofs that name `path`, not a staging file or a folder on the way."""
    try:
        yield
    except AiofsError as error:
        place(error, path)
        raise
    except OSError as error:
        kind = _ERRORS.get(error.errno or 0, AiofsError)
        raise kind(error.errno, error.strerror, path) from error


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
