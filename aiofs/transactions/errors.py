"""The errors of transactions, and how several errors become one."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, TypeVar

from aiofs.errors import AccessDenied, AiofsError, Conflict, Locked
from aiofs.names import JOURNAL, is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Raised = TypeVar("Raised", bound=BaseException)


class Unfinished(AiofsError):
    """A transaction could be neither finished nor undone now. Its journal stays, and `recover` ends it."""

    code: ClassVar[int] = errno.EIO
    retryable = True


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


def name_file(error: OSError, path: str) -> OSError:
    """Have `error` name `path` if it names no file of the user, and return it; a note keeps a hidden name."""
    hidden = error.filename
    if isinstance(hidden, str) and not is_reserved(hidden):
        return error
    error.filename = path
    if isinstance(hidden, str):
        error.add_note(
            f"the error arose at {hidden!r}, which aiofs uses for transactions: give it rights and space there, "
            "or give journal= another file system"
        )
    return error


def name_journal(error: OSError, where: object) -> OSError:
    """Have `error` name the file system of the journal, unless it names a file of the user, and return it."""
    hidden = error.filename
    if isinstance(hidden, str) and hidden and not is_reserved(hidden):
        return error
    error.strerror = (
        f"{error.strerror or type(error).__name__}; {hidden or JOURNAL!r} is the journal of transactions in this file "
        "system, and aiofs must read and write it to begin or recover one: make that possible, or give journal= "
        "another file system"
    )
    error.filename = str(where)
    return error


@contextmanager
def named(path: str | None) -> Iterator[None]:
    """Have errors that leave the block name a file of the user: `path`, where they name none."""
    try:
        yield
    except OSError as error:
        if path is not None:
            name_file(error, path)
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
