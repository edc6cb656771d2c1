"""The errors that aiofs raises: one small family; each is also the builtin error that a caller would catch.

Every failure of a store leaves as an `OSError` with `errno`, `filename` and the store's own error as `__cause__`.
`retryable` says whether the same call may succeed later without anything else having changed, and `http_status` what a
web server that serves files of the store would answer.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

Raised = TypeVar("Raised", bound=BaseException)


class AiofsError(OSError):
    """The class of all these errors. Made like any `OSError`, or shorter with `of`."""

    code: ClassVar[int] = errno.EIO
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500
    others: tuple[BaseException, ...] = ()
    """What else went wrong in the same call, of a transaction for instance; each is in the notes too."""

    @classmethod
    def of(cls, path: str | None, reason: str | None = None) -> Self:
        """Make an error about `path`, with this class's errno and `reason` in place of the system's words."""
        words = reason or os.strerror(cls.code)
        return cls(cls.code, words) if path is None else cls(cls.code, words, path)


class NotFound(AiofsError, FileNotFoundError, KeyError):
    """There is no file of this name."""

    code: ClassVar[int] = errno.ENOENT
    http_status: ClassVar[int] = 404


class StoreMissing(AiofsError, FileNotFoundError):
    """The bucket, container, group or root folder itself does not exist."""

    code: ClassVar[int] = errno.ENOENT


class AlreadyExists(AiofsError, FileExistsError):
    """Exclusive creation found a file of this name."""

    code: ClassVar[int] = errno.EEXIST
    http_status: ClassVar[int] = 409


class Locked(AiofsError, BlockingIOError):
    """Somebody else is writing this file. Trying again later may help."""

    code: ClassVar[int] = errno.EAGAIN
    retryable: ClassVar[bool] = True
    http_status: ClassVar[int] = 423
    holder: str | None = None
    """Who has the file or lock, if the store knows: a process, perhaps with its machine, or a task."""
    since: datetime | None = None
    """Since when they have it, if the store knows."""


class Conflict(AiofsError, BlockingIOError):
    """The file changed under a handle, or a writer lost its lock: publishing would overwrite another's work."""

    code: ClassVar[int] = errno.EAGAIN
    http_status: ClassVar[int] = 409


class AccessDenied(AiofsError, PermissionError):
    """The store, or a policy over it, refuses."""

    code: ClassVar[int] = errno.EACCES
    http_status: ClassVar[int] = 403


class IsAFolder(AiofsError, IsADirectoryError):
    """The name is a folder where a file is needed."""

    code: ClassVar[int] = errno.EISDIR
    http_status: ClassVar[int] = 409


class NotAFolder(AiofsError, NotADirectoryError):
    """A part of the path in front of the name is a file, not a folder."""

    code: ClassVar[int] = errno.ENOTDIR
    http_status: ClassVar[int] = 409


class Unreachable(AiofsError, ConnectionError):
    """The store cannot be reached, or the connection broke."""

    code: ClassVar[int] = errno.ECONNREFUSED
    retryable: ClassVar[bool] = True
    http_status: ClassVar[int] = 503


class NeverReachable(Unreachable):
    """The store cannot be reached with these settings (address, certificate ...): trying again does not help."""

    retryable: ClassVar[bool] = False


class TimedOut(AiofsError, TimeoutError):
    """The store did not answer in time."""

    code: ClassVar[int] = errno.ETIMEDOUT
    retryable: ClassVar[bool] = True
    http_status: ClassVar[int] = 504


class Unavailable(AiofsError):
    """The store is there, but busy or failing for the moment."""

    code: ClassVar[int] = errno.EBUSY
    retryable: ClassVar[bool] = True
    http_status: ClassVar[int] = 503


class TooLarge(AiofsError):
    """The file has more bytes than the store, or a policy over it, takes."""

    code: ClassVar[int] = errno.EFBIG
    http_status: ClassVar[int] = 413


class NoSpace(AiofsError):
    """The store is full."""

    code: ClassVar[int] = errno.ENOSPC
    http_status: ClassVar[int] = 507


class Damaged(AiofsError):
    """The bytes are not those that were written: some are missing, or the checksum is wrong."""

    code: ClassVar[int] = errno.EIO


class Spoiled(AiofsError):
    """An earlier write to the handle, or a part of the transaction, failed: publishing would publish half of it."""

    code: ClassVar[int] = errno.EIO


class Archived(AiofsError):
    """The bytes are in an archive, which the store must be asked to restore before they can be read."""

    code: ClassVar[int] = errno.ENODATA
    http_status: ClassVar[int] = 409


class RootIsAFile(AiofsError, NotADirectoryError):
    """The root of local files is a file, not a folder, so there can be no files below it."""

    code: ClassVar[int] = errno.ENOTDIR


class WrongType(AiofsError):
    """Redis has something else than a file under this key: a list, a set ..."""


class NotAccepted(AiofsError):
    """FastDFS refuses the request: it does not work with this kind of file, or with this version of the server."""

    code: ClassVar[int] = errno.EINVAL


class Unsupported(AiofsError):
    """The store, as it is set up, cannot do this."""

    code: ClassVar[int] = errno.ENOTSUP
    http_status: ClassVar[int] = 501


class Unfinished(AiofsError):
    """A transaction could be neither finished nor undone now. Its journal stays, and `recover` ends it."""

    code: ClassVar[int] = errno.EIO
    retryable: ClassVar[bool] = True


class LeftBehind(AiofsError):
    """A transaction is committed, and all of it is there; but its traces could not be removed. `recover` does that."""

    code: ClassVar[int] = errno.EIO


class Overtaken(Conflict):
    """A file could not be put back, because somebody else changed it since. It stays as it is."""


class Unreadable(AccessDenied):
    """This user may not read a log. No transaction with the same journal can begin."""


class StillOpen(Locked):
    """The transaction cannot be committed: one of its own handles is still writing this file."""

    retryable: ClassVar[bool] = False


def place(error: OSError, path: str) -> OSError:
    """Name the file `path` in an error that names none, and return the error."""
    if error.filename is None:
        error.filename = path
    return error


@contextmanager
def placed(path: str | None) -> Iterator[None]:
    """Name the file `path`, if it is not `None`, in an error of the block that names none."""
    try:
        yield
    except OSError as error:
        if path:
            place(error, path)
        raise


def one_of(errors: Sequence[Exception]) -> Exception:
    """Return one error for several: the first, with the others in its notes.

    If there is a `BlockingIOError`, that is returned instead of the first: somebody else was quicker, so the caller
    tries again, and then gets the other errors if they still occur.
    """
    first = next((error for error in errors if isinstance(error, BlockingIOError)), errors[0])
    return with_others(first, [error for error in errors if error is not first])


def with_others(error: Raised, others: Sequence[BaseException], when: str = "also") -> Raised:
    """Return `error` with the others in its notes and in its `others`; never a group of exceptions."""
    known = [*vars(error).get("others", ())]
    for other in (one for each in others for one in (each, *vars(each).get("others", ()))):
        if other is not error and other not in known:
            known.append(other)
            error.add_note(f"{when}: {type(other).__name__}: {other}")
    vars(error)["others"] = tuple(known)
    return error
