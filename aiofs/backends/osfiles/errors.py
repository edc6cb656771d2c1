"""What the system's errors become: about the user's path, and of aiofs's family."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiofs.errors import AccessDenied, AiofsError, NoSpace, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERRORS: dict[int, type[AiofsError]] = {
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: TooLarge,
}


@contextmanager
def told_of(path: str) -> Iterator[None]:
    """Make errors in the block tell of `path`, not of the staging file or segment where they arose."""
    try:
        yield
    except AiofsError:
        raise
    except OSError as error:
        kind = _ERRORS.get(error.errno or 0)
        if kind is not None:
            raise kind(error.errno, error.strerror, path) from error
        error.filename = path
        raise
