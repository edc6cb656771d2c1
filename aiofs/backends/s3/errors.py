"""Failures of S3, of its SDK and of connections as the package's errors; and answers of success that are not believed.

Proxies and failing servers say "200 OK" to requests that were not carried out. So an answer must contain what only a
server can know that has done the work, such as the ETag of what was written.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from aiofs.backends.s3.facts import unquoted
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
_OTHER_VERSION = 412
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


def certain(status: int, method: str, code: str | None, path: str | None) -> AiofsError | None:
    """Return the error of an answer whose status alone is clear; `None` if the SDK must ask again to find out."""
    kind = _BY_STATUS.get(status)
    if kind is Conflict and status == _OTHER_VERSION:
        return Conflict.of(path, "S3 has another version of the file than this request is about")
    if kind is NoSuchRange or (kind is NotFound and (method == "HEAD" or (method == "GET" and code == "NoSuchKey"))):
        return kind.of(path)
    return None


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


_VERSION, _LENGTH = "etag", "content-length"
_HEADERS = {
    "put_object": (_VERSION,),
    "upload_part": (_VERSION,),
    "head_object": (_VERSION, _LENGTH),
    "get_object": (_VERSION, _LENGTH),
}
_FIELDS = {
    "create_multipart_upload": ("UploadId",),
    "complete_multipart_upload": ("ETag",),
    "copy_object": ("CopyObjectResult", "ETag"),
    "upload_part_copy": ("CopyPartResult", "ETag"),
}
_PRESENT = {
    "list_objects_v2": "IsTruncated",
    "list_object_versions": "IsTruncated",
    "list_multipart_uploads": "IsTruncated",
    "list_parts": "IsTruncated",
    "get_object_tagging": "TagSet",
}
_NEXT = {
    "list_objects_v2": "NextContinuationToken",
    "list_object_versions": "NextKeyMarker",
    "list_multipart_uploads": "NextUploadIdMarker",
}
_WANTED = re.compile(r"bytes=(\d+)-(\d*)")
_GIVEN = re.compile(r"bytes (\d+)-(\d+)/\d+")


def missing_in_headers(operation: str, asked: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Return what is missing in the headers, in lower case, of an answer of success; `None` if nothing is.

    `asked` has the parameters of the request.
    """
    for name in _HEADERS.get(operation, ()):
        if not unquoted(headers.get(name, "")):
            return f"no {name}"
    if operation == "delete_object" and headers.get(_LENGTH, "0") != "0":
        return "a body, which the answer to a removal does not have"
    wanted = _WANTED.fullmatch(asked.get("Range", "")) if operation == "get_object" else None
    return _wrong_range(wanted, headers) if wanted is not None else None


def missing_in_body(operation: str, asked: Mapping[str, Any], parsed: Mapping[str, Any]) -> str | None:
    """Return what is missing in the parsed body of an answer of success; `None` if nothing is."""
    found: Any = parsed
    for name in _FIELDS.get(operation, ()):
        found = found.get(name)
        if not found or (name == "ETag" and not unquoted(found)):
            return f"no {name}"
    needed = _PRESENT.get(operation)
    if needed is not None and needed not in parsed:
        return f"no {needed}"
    if parsed.get("IsTruncated") and operation in _NEXT and not parsed.get(_NEXT[operation]):
        return f"no {_NEXT[operation]} though there is more"
    if operation == "delete_objects":
        results = len(parsed.get("Deleted", ())) + len(parsed.get("Errors", ()))
        if results < len(asked["Delete"]["Objects"]):
            return "less than one result for each file"
    return None


def _wrong_range(wanted: re.Match[str], headers: Mapping[str, str]) -> str | None:
    """Return what is wrong with the range in an answer: its bytes would be taken for those at another place."""
    start = int(wanted[1])
    if "content-range" not in headers:
        return None if start == 0 else "no content-range"  # the server sends the whole file, from its beginning on
    given = _GIVEN.fullmatch(headers["content-range"])
    if given is None or int(given[1]) != start or int(given[2]) - start + 1 != int(headers[_LENGTH]):
        return f"another range, {headers['content-range']}"
    return None


def unproven(path: str | None, missing: str) -> Unavailable:
    """Return the error for an answer of success in which something is missing."""
    return Unavailable.of(path, f"the server answered 'OK' with {missing}, so it may have done nothing: try again")
