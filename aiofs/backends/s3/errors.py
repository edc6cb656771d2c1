"""What S3, its SDK and the connections to it report, as the package's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from botocore import exceptions as sdk

from aiofs.errors import (
    AccessDenied,
    AiofsError,
    Conflict,
    Damaged,
    NoSpace,
    NotFound,
    StoreMissing,
    TimedOut,
    TooLarge,
    Unavailable,
    Unreachable,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class NoSuchRange(AiofsError):
    """The file ends before the range begins."""


class NoSuchUpload(AiofsError):
    """The multipart upload was completed or aborted before."""


FAILURES: tuple[type[BaseException], ...] = (sdk.BotoCoreError, sdk.ClientError, aiohttp.ClientError, OSError)
"""All that a request can raise."""
UNCLEAR = (Conflict, NotFound, Unreachable, TimedOut, Unavailable)
"""After these a conditional write may have succeeded all the same: an earlier attempt, or one whose answer was lost."""

_BY_CODE: dict[str, type[AiofsError]] = {
    "NoSuchKey": NotFound,
    "NoSuchVersion": NotFound,
    "NoSuchBucket": StoreMissing,
    "NoSuchUpload": NoSuchUpload,
    "InvalidRange": NoSuchRange,
    "PreconditionFailed": Conflict,
    "ConditionalRequestConflict": Conflict,
    "OperationAborted": Unavailable,
    "AccessDenied": AccessDenied,
    "ExpiredToken": AccessDenied,
    "InvalidToken": AccessDenied,
    "InvalidAccessKeyId": AccessDenied,
    "InvalidObjectState": AccessDenied,
    "SignatureDoesNotMatch": AccessDenied,
    "AuthorizationHeaderMalformed": AccessDenied,
    "EntityTooLarge": TooLarge,
    "BadDigest": Damaged,
    "InvalidDigest": Damaged,
    "XAmzContentChecksumMismatch": Damaged,
    "XAmzContentSHA256Mismatch": Damaged,
    "IncompleteBody": Unreachable,
    "RequestTimeout": TimedOut,
    "SlowDown": Unavailable,
    "InternalError": Unavailable,
    "ServiceUnavailable": Unavailable,
    "QuotaExceeded": NoSpace,
    "XMinioStorageFull": NoSpace,
    "NotImplemented": Unsupported,
}
_BY_STATUS: dict[int, type[AiofsError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    405: Unsupported,
    409: Conflict,
    412: Conflict,
    413: TooLarge,
    416: NoSuchRange,
    429: Unavailable,
    500: Unavailable,
    501: Unsupported,
    502: Unavailable,
    503: Unavailable,
    504: TimedOut,
    507: NoSpace,
}
_BY_KIND: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], type[AiofsError]], ...] = (
    ((sdk.ConnectTimeoutError, sdk.ReadTimeoutError, TimeoutError), TimedOut),
    ((sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.CredentialRetrievalError), AccessDenied),
    (
        (sdk.ConnectionError, sdk.HTTPClientError, sdk.IncompleteReadError, aiohttp.ClientError, ConnectionError),
        Unreachable,
    ),
)


def translate(error: BaseException, path: str | None) -> AiofsError:
    """Return the package's error for one of `FAILURES`; raise it from the one it is for."""
    if isinstance(error, AiofsError):
        return error
    if isinstance(error, sdk.ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return refused(status, answer.get("Error", {}), path)
    for kinds, kind in _BY_KIND:
        if isinstance(error, kinds):
            return kind.of(path, f"{error}" or type(error).__name__)
    return AiofsError.of(path, f"{type(error).__name__}: {error}")


def refused(status: int, told: Mapping[str, str], path: str | None) -> AiofsError:
    """Return the error for an answer of the store: its status, and the `Code` and `Message` in its body."""
    code, message = str(told.get("Code", status)), told.get("Message", "")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, AiofsError)
    return kind.of(path, f"{code}: {message}" if message else f"S3 answered {code}")
