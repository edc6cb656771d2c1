"""What the system's errors become: about the user's path, and of aiofs's family."""

from __future__ import annotations

import errno
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
def told_of(path: str) -> Iterator[None]:
    """Make errors in the block tell of `path`, not of the staging file or segment where they arose."""
    try:
        yield
    except AiofsError as error:
        place(error, path)
        raise
    except OSError as error:
        kind = _ERRORS.get(error.errno or 0, AiofsError)
        raise kind(error.errno, error.strerror, path) from error
