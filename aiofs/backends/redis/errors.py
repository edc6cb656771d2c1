"""What the errors of redis-py mean, in one table."""

from __future__ import annotations

from redis import exceptions

from aiofs.errors import AccessDenied, AiofsError, NoSpace, TimedOut, Unavailable, Unreachable


class WrongType(AiofsError):
    """The key holds something else than the command is for."""


OF_LOOPS = (TypeError, AttributeError, RuntimeError)
"""What event loops may say of a lost connection, and bugs of all kinds too: `raised_by_the_loop` tells."""
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
    *((kind, Unreachable) for kind in OF_LOOPS),  # only as below
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


def failed(error: Exception, path: str | None) -> AiofsError:
    """Return the error to raise for one of redis-py's."""
    words = str(error).partition(", with args")[0]  # which a server may repeat, and passwords are among them
    kind = next((kind for source, kind in _BY_KIND if isinstance(error, source)), AiofsError)
    if kind is AiofsError:
        kind = _BY_CODE.get(words.partition(" ")[0].rstrip(":"), AiofsError)
    return kind.of(path, f"Redis: {words or 'no answer in time'}")


def raised_by_the_loop(error: Exception) -> bool:
    """Return whether a connection was lost.

    asyncio of Python 3.13.0 says so by a `TypeError` or an `AttributeError` when it is to send several buffers, uvloop
    by a `RuntimeError`.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    loop = "uvloop." if isinstance(error, RuntimeError) else "asyncio."
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(loop)
