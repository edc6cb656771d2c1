"""What a transaction reports beside the errors of its stores."""

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
    """A transaction could neither be finished nor undone for now. Its journal stays; `recover` goes on from there."""

    code: ClassVar[int] = errno.EIO
    retryable = True


class LeftBehind(AiofsError):
    """A transaction is committed, all of it is there; but its traces could not be removed. `recover` will do that."""

    code: ClassVar[int] = errno.EIO


class Overtaken(Conflict):
    """A file could not be put back, because somebody else changed it since. It stays as they left it."""


class Unreadable(AccessDenied):
    """The user may not read a log; it stops all transactions with the same journal."""


class StillOpen(Locked):
    """The transaction cannot be committed: one of its own handles is still writing this file."""

    retryable: ClassVar[bool] = False


def name_file(error: OSError, path: str) -> OSError:
    """Give `error` the name `path` where it names no file of the user's, and return it; a note keeps a hidden name."""
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
    """Have `error` name the file system of the journal, unless it names a file of the user's; return the error."""
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
    """Have errors that leave the block name a file of the user's: `path`, if it is one, where they name none."""
    try:
        yield
    except OSError as error:
        if path is not None:
            name_file(error, path)
        raise


def one_of(errors: Sequence[Exception]) -> Exception:
    """Return one error for several: the first, with the others in its notes.

    The first that says that somebody else was quicker, a `BlockingIOError`, goes before all others: the whole is to be
    tried again then, and what else is wrong is raised if it still is.
    """
    first = next((error for error in errors if isinstance(error, BlockingIOError)), errors[0])
    return with_others(first, [error for error in errors if error is not first])


def with_others(error: Raised, others: Sequence[BaseException], when: str = "also") -> Raised:
    """Return `error`, with what else went wrong in its notes and in `others`; never as a group of exceptions."""
    known = [*vars(error).get("others", ())]
    for other in (one for each in others for one in (each, *vars(each).get("others", ()))):
        if other is not error and other not in known:
            known.append(other)
            error.add_note(f"{when}: {type(other).__name__}: {other}")
    vars(error)["others"] = tuple(known)
    return error
