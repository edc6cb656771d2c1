"""What a transaction reports beside the errors of its stores."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, NoReturn

from aiofs.errors import AiofsError, Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence


class Unfinished(AiofsError):
    """A transaction could neither be finished nor undone for now. Its journal stays; `recover` goes on from there."""

    code: ClassVar[int] = errno.EIO
    retryable = True


class LeftBehind(AiofsError):
    """A transaction is committed, all of it is there; but its traces could not be removed. `recover` will do that."""

    code: ClassVar[int] = errno.EIO


class Overtaken(Conflict):
    """A file could not be put back, because somebody else changed it since. It stays as they left it."""


class Spoiled(AiofsError):
    """A part of the transaction failed before, so that committing it would commit half of it."""

    code: ClassVar[int] = errno.EIO


def one_of(message: str, errors: list[Exception]) -> Exception:
    """Return the only error as it is, several as a group."""
    return errors[0] if len(errors) == 1 else ExceptionGroup(message, errors)


def fail(message: str, cause: BaseException, failures: Sequence[Exception]) -> NoReturn:
    """Raise `cause`, together with what failed while it was dealt with.

    A cancellation stays one, so that whoever cancelled sees it; the failures then are its cause.
    """
    if not failures:
        raise cause
    if isinstance(cause, Exception):
        raise ExceptionGroup(message, [cause, *failures])
    raise cause from ExceptionGroup(message, failures)
