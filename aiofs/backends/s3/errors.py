"""Failures of S3, of its SDK and of connections, as the package's errors."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from aiofs.errors import (
    AccessDenied,
    AiofsError,
    Archived,
    Conflict,
    Damaged,
    IsAFolder,
    NeverReachable,
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
    from collections.abc import Iterator, Mapping


class NoSuchRange(AiofsError):
    """The file ends before the range begins."""


class NoSuchUpload(AiofsError):
    """The multipart upload was completed or aborted before."""


FAILURES: tuple[type[BaseException], ...] = (
    sdk.BotoCoreError,
    sdk.ClientError,
    ResponseParserError,
    aiohttp.ClientError,
    OSError,
)
"""All failures that a request can raise."""
UNCLEAR = (Conflict, NotFound, Unreachable, TimedOut, Unavailable)
"""After these a conditional write may have succeeded: by an earlier attempt, or by one whose answer was lost."""

_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_BY_CODE: dict[str, type[AiofsError]] = {
    "NoSuchKey": NotFound,
    "NoSuchVersion": NotFound,
    "NoSuchBucket": StoreMissing,
    "NoSuchUpload": NoSuchUpload,
    "InvalidRange": NoSuchRange,
    "PreconditionFailed": Conflict,
    "ConditionalRequestConflict": Conflict,
    "OperationAborted": Unavailable,
    "ExistingObjectIsDirectory": IsAFolder,
    "AccessDenied": AccessDenied,
    "ExpiredToken": AccessDenied,
    "InvalidToken": AccessDenied,
    "InvalidAccessKeyId": AccessDenied,
    "InvalidObjectState": Archived,
    "ObjectNotInActiveTierError": Archived,
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
    (ResponseParserError, Unavailable),
    ((sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.CredentialRetrievalError), AccessDenied),
    (
        (sdk.ConnectionError, sdk.HTTPClientError, sdk.IncompleteReadError, aiohttp.ClientError, ConnectionError),
        Unreachable,
    ),
)


_NEEDS = {
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "delete_object_versions": "s3:DeleteObjectVersion",
    "list_object_versions": "s3:ListBucketVersions",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
}
"""The permissions that a user may lack who has the usual ones; an error names them."""


def translate(error: BaseException, path: str | None, operation: str = "") -> AiofsError:
    """Return the package's error for one of `FAILURES`; the caller raises it `from` that one."""
    if isinstance(error, AiofsError):
        return error
    if isinstance(error, sdk.ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return refused(status, answer.get("Error", {}), path, operation)
    lasting = lasting_fault(error)
    if lasting is not None:
        return NeverReachable.of(path, lasting)
    for kinds, kind in _BY_KIND:
        if isinstance(error, kinds):
            return kind.of(path, f"{error}" or type(error).__name__)
    return AiofsError.of(path, f"{type(error).__name__}: {error}")


def lasting_fault(error: BaseException) -> str | None:
    """Return why a failed request will always fail again; `None` if another attempt may succeed."""
    for found in _chain(error):
        host = getattr(found, "host", "the store")
        certificate = getattr(found, "certificate_error", None)
        if isinstance(certificate, ssl.SSLCertVerificationError):
            why = certificate.verify_message
            return f"the certificate of {host} is not trusted ({why}): give ca_bundle=, a file with its authority"
        lookup = getattr(found, "os_error", None)
        if isinstance(lookup, socket.gaierror) and lookup.errno in _NO_SUCH_HOST:
            return f"there is no host {host}: correct endpoint_url= or region="
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: BaseException | None = error
    while left is not None and id(left) not in seen:
        yield left
        seen.add(id(left))
        left = left.__cause__ or left.__context__


def refused(status: int, told: Mapping[str, str], path: str | None, operation: str = "") -> AiofsError:
    """Return the error for an answer of the store: `told` has the `Code` and the `Message` of its body."""
    code, message = str(told.get("Code", status)), told.get("Message", "")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, AiofsError)
    if kind is Archived:
        reason = f"the file is in the archive ({code}): restore it first (RestoreObject), which takes minutes to hours"
        return kind.of(path, reason)
    reason = f"{code}: {message}" if message else f"S3 answered {code}"
    if kind is AccessDenied and operation in _NEEDS:
        reason += f" (it needs the permission {_NEEDS[operation]})"
    return kind.of(path, reason)
