"""Errors of the service and its SDK, and which errors of aiofs they become."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from azure.core import exceptions

from aiofs.errors import (
    AccessDenied,
    AiofsError,
    AlreadyExists,
    Archived,
    Conflict,
    Locked,
    NeverReachable,
    NotFound,
    StoreMissing,
    TimedOut,
    TooLarge,
    Unavailable,
    Unreachable,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_ADVICE: dict[type[AiofsError], str] = {
    Archived: ": the blob is in the archive tier; set its tier to hot, cool or cold, and wait until that is done",
}
FAILURES = (exceptions.AzureError, OSError)


class InvalidRange(AiofsError):
    """The blob ends before the range begins."""


class BlocksGone(Conflict):
    """Staged blocks are not there any more, because another writer published."""


class NotPermitted(AccessDenied):
    """The credentials are valid, but do not allow this request."""


_BY_CODE: dict[str, type[AiofsError]] = {
    "BlobAlreadyExists": AlreadyExists,
    "BlobArchived": Archived,
    "BlobBeingRehydrated": Archived,
    "BlobNotFound": NotFound,
    "ResourceNotFound": NotFound,
    "CannotVerifyCopySource": NotFound,
    "ContainerNotFound": StoreMissing,
    "ContainerBeingDeleted": StoreMissing,
    "AppendPositionConditionNotMet": Conflict,
    "AuthorizationFailure": NotPermitted,
    "AuthorizationPermissionMismatch": NotPermitted,
    "AuthorizationResourceTypeMismatch": NotPermitted,
    "ConditionNotMet": Conflict,
    "TargetConditionNotMet": Conflict,
    "SourceConditionNotMet": Conflict,
    "InvalidBlockList": BlocksGone,
    "InvalidBlobType": Unsupported,
    "InvalidRange": InvalidRange,
    "LeaseAlreadyPresent": Locked,
    "LeaseIdMissing": Locked,
    "LeaseIdMismatchWithBlobOperation": Locked,
    "LeaseIdMismatchWithLeaseOperation": Conflict,
    "LeaseLost": Conflict,
    "LeaseNotPresentWithBlobOperation": Conflict,
    "LeaseNotPresentWithLeaseOperation": Conflict,
    "RequestBodyTooLarge": TooLarge,
    "BlockCountExceedsLimit": TooLarge,
    "MetadataTooLarge": TooLarge,
    "OperationTimedOut": TimedOut,
    "ServerBusy": Unavailable,
    "InternalError": Unavailable,
}
_BY_STATUS: dict[int, type[AiofsError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    408: TimedOut,
    409: Conflict,
    412: Conflict,
    413: TooLarge,
    416: InvalidRange,
    429: Unavailable,
    500: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: TimedOut,
}
_BY_KIND: tuple[tuple[type[Exception], type[AiofsError]], ...] = (
    (exceptions.ServiceRequestTimeoutError, TimedOut),
    (exceptions.ServiceResponseTimeoutError, TimedOut),
    (exceptions.ServiceRequestError, Unreachable),
    (exceptions.ServiceResponseError, Unreachable),
    (exceptions.IncompleteReadError, Unreachable),
    (exceptions.ClientAuthenticationError, AccessDenied),
    (TimeoutError, TimedOut),
    (OSError, Unreachable),
)


def failed(error: Exception, path: str | None) -> AiofsError:
    """Return the error to raise for one that a request raised."""
    if isinstance(error, exceptions.HttpResponseError) and error.status_code is not None:
        code = getattr(error, "error_code", None)
        name = str(getattr(code, "value", code) or "")
        kind = _BY_CODE.get(name) or _BY_STATUS.get(error.status_code, AiofsError)
        words = f"Azure: {name or error.reason or 'an error'} ({error.status_code}){_ADVICE.get(kind, '')}"
        return kind.of(path, words)
    lasting = _lasting_fault(error)
    if lasting is not None:
        return NeverReachable.of(path, f"Azure: {lasting}")
    kind = next((kind for source, kind in _BY_KIND if isinstance(error, source)), AiofsError)
    return kind.of(path, f"Azure: {_words(error)}")


@contextmanager
def creating(path: str) -> Iterator[None]:
    """Turn "not found" into `StoreMissing`: creating a blob only needs the container to exist."""
    try:
        yield
    except NotFound as error:
        raise StoreMissing.of(path, f"the container does not exist ({error.strerror})") from error.__cause__


def _lasting_fault(error: BaseException | None) -> str | None:
    """Return why every new attempt would fail too; `None` if one may succeed."""
    while error is not None:
        host = getattr(error, "host", "the store")
        certificate = getattr(error, "certificate_error", None)
        if isinstance(certificate, ssl.SSLCertVerificationError):
            return f"the certificate of {host} is not trusted ({certificate.verify_message})"
        lookup = getattr(error, "os_error", None)
        if isinstance(lookup, socket.gaierror) and lookup.errno in _NO_SUCH_HOST:
            return f"there is no host {host}: correct account_url= or connection_string="
        error = error.__cause__ or error.__context__
    return None


def _words(error: Exception) -> str:
    """Return the first line of an error's message, without the query of a URL, which may be a signature."""
    return (str(error) or type(error).__name__).partition("\n")[0].partition("?")[0]
