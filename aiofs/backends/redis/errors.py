"""Errors of redis-py, and which errors of aiofs they become."""

from __future__ import annotations

import re

from redis import exceptions

from aiofs.backends.redis.names import PARTS_FORMAT
from aiofs.errors import AccessDenied, AiofsError, NoSpace, TimedOut, Unavailable, Unreachable, Unsupported, WrongType
from aiofs.kit import unknown_format


class NotInScript(AccessDenied):
    """A script runs a command that the user may not run, and the server does not say which one."""


class Undigested(AiofsError):
    """Scripts of this server cannot compute the digest that is a version."""


OF_LOOPS = (TypeError, AttributeError, RuntimeError)
"""Event loops may raise these when a connection is lost, and so may bugs: `raised_by_the_loop` tells them apart."""
_BY_KIND: tuple[tuple[type[Exception], type[AiofsError]], ...] = (
    (exceptions.AuthenticationError, AccessDenied),
    (exceptions.AuthorizationError, AccessDenied),
    (exceptions.NoPermissionError, AccessDenied),
    (exceptions.BusyLoadingError, Unavailable),
    (exceptions.ConnectionError, Unreachable),
    (exceptions.TimeoutError, TimedOut),
    (exceptions.OutOfMemoryError, NoSpace),
    (exceptions.ReadOnlyError, Unavailable),
    (exceptions.ClusterError, Unavailable),
    (exceptions.TryAgainError, Unavailable),
    (exceptions.RedisClusterException, Unreachable),
    (TimeoutError, TimedOut),
    (OSError, Unreachable),
    *((kind, Unreachable) for kind in OF_LOOPS),  # only if `raised_by_the_loop`
)
_BY_CODE: dict[str, type[AiofsError]] = {
    "ACL": AccessDenied,  # within a script
    "NOAUTH": AccessDenied,
    "NOPERM": AccessDenied,
    "WRONGPASS": AccessDenied,
    "WRONGTYPE": WrongType,
    "OOM": NoSpace,
    "MISCONF": NoSpace,
    "BUSY": Unavailable,
    "LOADING": Unavailable,
    "READONLY": Unavailable,
    "MASTERDOWN": Unavailable,
    "NOREPLICAS": Unavailable,
    "CLUSTERDOWN": Unavailable,
    "TRYAGAIN": Unavailable,
}


_WITHIN_SCRIPT = re.compile(r"Error running script .*?@user_script: ?\d+: (?:@user_script: ?\d+: )?-?")
"""What Redis before 7.0 puts before the error of a command within a script."""
_NOT_ALLOWED = "The user executing the script can't "
"""How Redis 6.2 and 7.0 begin to say, without a code, that a user may not do what a script does."""
_UNKNOWN_FORMAT = re.compile(r"AIOFS-FORMAT (\w{1,20})")
_UNKNOWN_COMMAND = re.compile(r"unknown command [`'](\w+)", re.IGNORECASE)
_NO_DIGEST = "value is not an integer or out of range"
"""Our own scripts raise these: for a file of an unknown format, and for a digest that the server cannot compute."""


def failed(error: Exception, path: str | None) -> AiofsError:
    """Return the error to raise for one that a request raised."""
    words = str(error).partition(", with args")[0]  # a server may repeat the arguments, and passwords are among them
    number = _UNKNOWN_FORMAT.search(words)
    if number is not None:
        return unknown_format(path, "this file, in several keys,", number[1], PARTS_FORMAT)
    if _NO_DIGEST in words:
        return Undigested.of(path, "Redis: scripts of this server compute no digests")
    words = _WITHIN_SCRIPT.sub("", words)
    unknown = _UNKNOWN_COMMAND.match(words)
    if unknown is not None:
        advice = (
            "; fakeredis knows scripts once lupa is there: pip install 'fakeredis[lua]'"
            if "EVAL" in words.upper()
            else ""
        )
        return Unsupported.of(path, f"Redis: this server has no command {unknown[1].upper()}, which is needed{advice}")
    kind = next((kind for source, kind in _BY_KIND if isinstance(error, source)), AiofsError)
    if kind is AiofsError and words.startswith(_NOT_ALLOWED):
        kind = NotInScript
    if kind is AiofsError:
        kind = _BY_CODE.get(words.partition(" ")[0].rstrip(":"), AiofsError)
    return kind.of(path, f"Redis: {words or 'no answer in time'}")


def raised_by_the_loop(error: Exception) -> bool:
    """Whether the event loop raised an error because the connection was lost.

    When it sends several buffers, asyncio of Python 3.13.0 raises a `TypeError` or an `AttributeError` then, and uvloop
    a `RuntimeError`.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    loop = "uvloop." if isinstance(error, RuntimeError) else "asyncio."
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(loop)
