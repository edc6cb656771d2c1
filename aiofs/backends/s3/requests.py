"""Requests: `send("get_object", path, Key=..., Range=...)`, through the SDK, or directly where that is the same.

`DirectRequests` signs and sends simple reads, writes and listings itself, which is much cheaper. It never decides alone
that something failed. It returns a success, and it raises what an answer says without doubt: there is no such object,
it is another version, it ends before the range. In all other cases (a server that is busy or fails, a broken
connection, a redirect, a refusal) the SDK makes the same request again, and its result counts.

Proxies and failing servers say "200 OK" to requests that were not carried out. So an answer of success must contain
what only a server can know that has done the work, such as the ETag of what was written.
"""

from __future__ import annotations

import asyncio
import io
import re
from copy import copy
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, Self
from xml.etree.ElementTree import XML, ParseError

from aiofs.backends.s3.client import HttpRequest
from aiofs.backends.s3.errors import FAILURES, NoSuchRange, translate
from aiofs.backends.s3.facts import Page, listed_entry, page_of, read_page, unquoted
from aiofs.backends.s3.settings import default_parameters
from aiofs.errors import AiofsError, Conflict, NotFound, StoreMissing, Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    import aiohttp

    from aiofs.backends.s3.client import LoopClient, S3Clients
    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Part

_ABOUT_THE_BUCKET = ("put_object", "create_multipart_upload", "list_objects_v2")
_METHODS = {
    "get_object": "GET",
    "head_object": "HEAD",
    "put_object": "PUT",
    "upload_part": "PUT",
    "delete_object": "DELETE",
}
_HEADERS = {
    "Range": "range",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentType": "content-type",
    "StorageClass": "x-amz-storage-class",
    "ChecksumAlgorithm": "x-amz-sdk-checksum-algorithm",
    "ChecksumMode": "x-amz-checksum-mode",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ChecksumSHA1": "x-amz-checksum-sha1",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "RequestPayer": "x-amz-request-payer",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "Tagging": "x-amz-tagging",
}
_QUERY = {"UploadId": "uploadId", "PartNumber": "partNumber", "VersionId": "versionId"}
_LISTING = {
    "Prefix": "prefix",
    "MaxKeys": "max-keys",
    "Delimiter": "delimiter",
    "StartAfter": "start-after",
    "ContinuationToken": "continuation-token",
}
_VERSION, _LENGTH = "etag", "content-length"
_PROVING_HEADERS = {
    "put_object": (_VERSION,),
    "upload_part": (_VERSION,),
    "head_object": (_VERSION, _LENGTH),
    "get_object": (_VERSION, _LENGTH),
}
_PROVING_FIELDS = {
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
_SUCCESS = {200, 204, 206}
_BUSY = 500
_REGION = re.compile(r"[a-z0-9-]{1,40}")
MOST_REFUSALS = 3
"""After so many direct requests in a row that the store refused, and granted to the SDK, the SDK makes all requests."""


class Body(Protocol):
    """The bytes of an answer, as they arrive."""

    def read(self, amt: int, /) -> Coroutine[Any, Any, bytes]:
        """Return up to `amt` bytes; b"" at the end."""
        ...

    def close(self) -> None:
        """Close the connection, unless all was read."""
        ...


class RawBody:
    """The body of an answer to a direct request."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def read(self, amt: int, /) -> Coroutine[Any, Any, bytes]:
        """Return up to `amt` bytes; b"" at the end."""
        return self._response.content.read(amt)

    def close(self) -> None:
        """Close the connection, unless all was read."""
        self._response.close()


@dataclass(slots=True)
class S3Answer:
    """An answer of the store: headers in lower case, and the body, or what the SDK has parsed of it."""

    headers: Mapping[str, str]
    body: Body | None = None
    parsed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The ETag; `""` for an answer without one, such as to a removal."""
        return unquoted(self.headers.get("etag") or self.parsed.get("ETag") or "")

    @property
    def version_id(self) -> str | None:
        """The id of this version in a bucket that keeps versions; "null" if it has stopped to keep them."""
        return self.headers.get("x-amz-version-id")


class TimedBody(io.BytesIO):
    """A body that extends the time limit of its request when the connection takes a piece of it."""

    def __init__(self, data: Part, time_limit: asyncio.Timeout, seconds: float) -> None:
        super().__init__(data)
        self._time_limit = time_limit
        self._seconds = seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next piece."""
        if not self._time_limit.expired():
            self._time_limit.reschedule(asyncio.get_running_loop().time() + self._seconds)
        return super().read(size)


class SdkRequests:
    """Requests made by aiobotocore, with its retries."""

    _urgent = False

    def __init__(self, clients: S3Clients, settings: Settings) -> None:
        self._clients = clients
        self._bucket = settings.bucket
        self._defaults = default_parameters(settings)

    def urgently(self) -> Self:
        """Return the same for requests that renew locks, which must not wait for their turn behind thousands."""
        urgent = copy(self)
        urgent._urgent = True  # noqa: SLF001 -- of the same class
        return urgent

    async def send(self, operation: str, path: str | None, **parameters: Any) -> S3Answer:
        """Make a request about `path`, with the operation and the parameters of the SDK, and return the answer.

        :raises OSError: as the tables in `errors` say.
        :raises Unavailable: if the answer says "OK" but does not prove that anything was done.
        :raises ValueError: if the clients were closed meanwhile.
        """
        parameters = {**self._defaults.get(operation, {}), **parameters}
        try:
            current = await self._clients.current()
            async with current.turns[self._urgent], asyncio.timeout(self._clients.time_limit) as time_limit:
                if parameters.get("Body") is not None:
                    parameters["Body"] = TimedBody(parameters["Body"], time_limit, self._clients.time_limit)
                parsed = await getattr(current.client, operation)(Bucket=self._bucket, **parameters)
        except FAILURES as error:
            self._clients.check_open(error)
            failure = translate(error, path, operation)
            if isinstance(failure, NotFound) and operation in _ABOUT_THE_BUCKET and "IfMatch" not in parameters:
                # Some servers have other codes for it; but no file can be missing here, so it is the bucket.
                failure = StoreMissing.of(path, f"there is no bucket {self._bucket!r} ({failure.strerror})")
            raise failure from error
        answer = S3Answer(parsed["ResponseMetadata"]["HTTPHeaders"], parsed.get("Body"), parsed)
        missing = missing_in_headers(operation, parameters, answer.headers)
        missing = missing or missing_in_body(operation, parameters, parsed)
        if missing is not None:
            if answer.body is not None:
                answer.body.close()
            raise unproven(path, missing)
        return answer

    async def page(self, *, cut: int = 0, **parameters: Any) -> Page:
        """Ask for one page of a listing; the first `cut` characters are removed from all keys."""
        answer = await self.send("list_objects_v2", None, **parameters)
        listed = answer.parsed
        try:
            entries = [
                listed_entry(found["Key"][cut:], found["Size"], found["LastModified"], found["ETag"])
                for found in listed.get("Contents", ())
            ]
            folders = [found["Prefix"][cut:] for found in listed.get("CommonPrefixes", ())]
        except KeyError as error:
            raise unproven(None, f"no {error.args[0]} of a file that it lists") from error
        more = listed.get("NextContinuationToken") if listed.get("IsTruncated") else None
        return page_of(entries, folders, more, answer.headers.get("server", ""))


class DirectRequests(SdkRequests):
    """Requests made without the SDK where the result is sure to be the same."""

    _refusals = 0

    async def send(self, operation: str, path: str | None, **parameters: Any) -> S3Answer:
        """Make a request directly, or through the SDK if the request, or the answer, is not a simple one."""
        request = simple_request(operation, {**self._defaults.get(operation, {}), **parameters})
        current = await self._direct_client() if request else None
        if current is None or request is None:
            return await super().send(operation, path, **parameters)
        region = _region(current)
        response = await self._try(current, request)
        answer = await _read(response, request.method, path) if response is not None else None
        missing = missing_in_headers(operation, parameters, answer.headers) if answer is not None else None
        if answer is not None and missing is not None:
            if answer.body is not None:
                answer.body.close()
            if operation == "put_object":  # it may have been done: the caller looks before it is done twice
                raise unproven(path, missing)
        elif answer is not None:
            self._refusals = 0
            return answer
        answer = await super().send(operation, path, **parameters)
        self._count_refusal(current, region, response)
        return answer

    async def page(self, *, cut: int = 0, **parameters: Any) -> Page:
        """Ask for one page of a listing directly, or through the SDK if the answer is not a listing."""
        current = await self._direct_client()
        if current is None:
            return await super().page(cut=cut, **parameters)
        query = {_LISTING[name]: str(value) for name, value in parameters.items()}
        headers = {_HEADERS[name]: value for name, value in self._defaults["list_objects_v2"].items()}
        region = _region(current)
        response = await self._try(
            current, HttpRequest("GET", "", {"list-type": "2", "encoding-type": "url", **query}, headers)
        )
        found = await _read_page(response, cut) if response is not None else None
        if found is not None:
            self._refusals = 0
            return found
        found = await super().page(cut=cut, **parameters)
        self._count_refusal(current, region, response)
        return found

    async def _direct_client(self) -> LoopClient | None:
        """Return the client of this loop, if requests may be sent without the SDK."""
        current = await self._clients.current()
        return current if current.http is not None and self._refusals < MOST_REFUSALS else None

    async def _try(self, current: LoopClient, request: HttpRequest) -> aiohttp.ClientResponse | None:
        """Return the answer; `None` if none came."""
        assert current.http is not None  # noqa: S101 -- checked by `_direct_client`
        async with current.turns[self._urgent]:
            try:
                return await current.http.send(request)
            except FAILURES:
                return None

    def _count_refusal(self, current: LoopClient, region: str, refusal: aiohttp.ClientResponse | None) -> None:
        """Count a refusal of a request that the store then granted to the SDK.

        A refusal that names another region is not counted: later requests are sent to that region.
        """
        if refusal is None or refusal.status >= _BUSY:
            return
        named = refusal.headers.get("x-amz-bucket-region", region)
        if current.http is not None and named != region and _REGION.fullmatch(named):
            if current.http.region == region:
                current.http.move(named)
            return
        self._refusals += 1


def simple_request(operation: str, parameters: Mapping[str, Any]) -> HttpRequest | None:
    """Return the request for the SDK's parameters; `None` if only the SDK can make it."""
    method = _METHODS.get(operation)
    if method is None:
        return None
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    for name, value in parameters.items():
        if name in _HEADERS:
            headers[_HEADERS[name]] = value
        elif name in _QUERY:
            query[_QUERY[name]] = str(value)
        elif name == "Metadata":
            headers.update({f"x-amz-meta-{key}": text for key, text in value.items()})
        elif name not in {"Key", "Body"}:
            return None
    return HttpRequest(method, parameters["Key"], query, headers, parameters.get("Body"))


async def _read(response: aiohttp.ClientResponse, method: str, path: str | None) -> S3Answer | None:
    """Return the answer of a success; `None` if the SDK must make the request again.

    :raises NotFound, Conflict, NoSuchRange: if the answer says exactly that.
    """
    status = response.status
    if status in _SUCCESS and method == "GET":
        return S3Answer(_lower(response), RawBody(response))
    text = await _read_whole(response)
    if status in _SUCCESS and text is not None and not (method == "DELETE" and text):
        return S3Answer(_lower(response))  # a removal whose answer has a body may have failed
    refusal = _certain(status, method, _error_code(text) if text else None, path)
    if refusal is not None:
        raise refusal
    return None


async def _read_page(response: aiohttp.ClientResponse, cut: int) -> Page | None:
    """Return the page in an answer; `None` if there is none, or it is damaged."""
    text = await _read_whole(response)
    if response.status not in _SUCCESS or text is None:
        return None
    try:
        return read_page(text, cut, response.headers.get("server", ""))
    except (ParseError, KeyError, ValueError):
        return None


async def _read_whole(response: aiohttp.ClientResponse) -> bytes | None:
    """Read an answer to its end, so that the next request can use the connection; `None` if the answer breaks off."""
    try:
        return await response.read()
    except FAILURES:
        return None


def _error_code(text: bytes) -> str | None:
    """Return the code in the XML of an error; `None` if there is none."""
    try:
        return XML(text).findtext("Code")
    except ParseError:
        return None


def _region(current: LoopClient) -> str:
    return "" if current.http is None else current.http.region


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _certain(status: int, method: str, code: str | None, path: str | None) -> AiofsError | None:
    """Return the error of an answer whose status alone is clear; `None` if the SDK must ask again to find out."""
    if status == HTTPStatus.PRECONDITION_FAILED:
        return Conflict.of(path, "S3 has another version of the file than this request is about")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return NoSuchRange.of(path)
    if status == HTTPStatus.NOT_FOUND and (method == "HEAD" or (method == "GET" and code == "NoSuchKey")):
        return NotFound.of(path)
    return None


def missing_in_headers(operation: str, asked: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Return what is missing in the headers, in lower case, of an answer of success; `None` if nothing is.

    `asked` has the parameters of the request.
    """
    for name in _PROVING_HEADERS.get(operation, ()):
        if not unquoted(headers.get(name, "")):
            return f"no {name}"
    if operation == "delete_object" and headers.get(_LENGTH, "0") != "0":
        return "a body, which the answer to a removal does not have"
    wanted = _WANTED.fullmatch(asked.get("Range", "")) if operation == "get_object" else None
    return _wrong_range(wanted, headers) if wanted is not None else None


def missing_in_body(operation: str, asked: Mapping[str, Any], parsed: Mapping[str, Any]) -> str | None:
    """Return what is missing in the parsed body of an answer of success; `None` if nothing is."""
    found: Any = parsed
    for name in _PROVING_FIELDS.get(operation, ()):
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
