"""Requests: `send("get_object", path, Key=..., Range=...)`, by way of the SDK, or directly where they are plain."""

from __future__ import annotations

import asyncio
import io
import re
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self
from xml.etree.ElementTree import XML, ParseError

from aiofs.backends.s3.errors import FAILURES, NoSuchRange, lacking_fields, lacking_headers, translate, unproven
from aiofs.backends.s3.facts import Page, listed_entry, page_of, read_page, unquoted
from aiofs.backends.s3.signing import Request
from aiofs.errors import Conflict, NotFound, StoreMissing

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    import aiohttp

    from aiofs.backends.s3.client import Clients, Held
    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Part

_NEW = ("put_object", "create_multipart_upload", "copy_object")
_COPIES = ("copy_object", "upload_part_copy")
_WITH_KEY = (*_NEW, "get_object", "head_object", "upload_part", "upload_part_copy")
_ABOUT_THE_BUCKET = ("put_object", "create_multipart_upload", "list_objects_v2")
_PAID = (
    *_WITH_KEY,
    "abort_multipart_upload",
    "complete_multipart_upload",
    "delete_object",
    "delete_objects",
    "get_object_tagging",
    "list_multipart_uploads",
    "list_object_versions",
    "list_objects_v2",
    "list_parts",
)


class Body(Protocol):
    """The bytes of an answer, as they arrive."""

    def read(self, amt: int, /) -> Coroutine[Any, Any, bytes]:
        """Return up to `amt` bytes; b"" at the end."""
        ...

    def close(self) -> None:
        """Drop the connection, or nothing if all was read."""
        ...


@dataclass(slots=True)
class Answer:
    """What came back: headers in lower case, and the body or what the SDK made of it."""

    headers: Mapping[str, str]
    body: Body | None = None
    parsed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The ETag; `""` of what has none, such as a removal."""
        return unquoted(self.headers.get("etag") or self.parsed.get("ETag") or "")

    @property
    def version_id(self) -> str | None:
        """How a bucket that keeps versions finds this one again; "null" where it no longer keeps them."""
        return self.headers.get("x-amz-version-id")


class Watched(io.BytesIO):
    """A body that gives its request more time whenever the connection takes a piece of it."""

    def __init__(self, data: Part, patience: asyncio.Timeout, seconds: float) -> None:
        super().__init__(data)
        self._patience = patience
        self._seconds = seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next piece."""
        if not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time() + self._seconds)
        return super().read(size)


def standing(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what the settings add to the parameters of all requests, by their operation."""
    added: dict[str, dict[str, Any]] = {operation: {} for operation in _PAID}
    if settings.requester_pays:
        for operation in _PAID:
            added[operation]["RequestPayer"] = "requester"
    if settings.encryption is not None:
        for operation in _NEW:
            added[operation]["ServerSideEncryption"] = settings.encryption
            if settings.kms_key is not None:
                added[operation]["SSEKMSKeyId"] = settings.kms_key
    if settings.customer_key is not None:
        for operation in _WITH_KEY:
            added[operation].update(SSECustomerAlgorithm="AES256", SSECustomerKey=settings.customer_key)
        for operation in _COPIES:
            added[operation].update(
                CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey=settings.customer_key
            )
    return added


class Sdk:
    """Requests made by aiobotocore, with its retries."""

    _urgent = False

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._bucket = settings.bucket
        self._standing = standing(settings)

    def urgently(self) -> Self:
        """Return the same for requests that must not wait for their turn behind thousands: those that renew locks."""
        calls = copy(self)
        calls._urgent = True  # noqa: SLF001 -- of the same class
        return calls

    async def send(self, operation: str, path: str | None, **parameters: Any) -> Answer:
        """Make a request about `path` and return the answer.

        :raises OSError: by the table in `errors`.
        :raises Unavailable: if it says "OK" without the proof that something was done.
        :raises ValueError: if the clients were closed meanwhile.
        """
        parameters = {**self._standing.get(operation, {}), **parameters}
        try:
            held = await self._clients.held()
            async with held.turns[self._urgent], asyncio.timeout(self._clients.patience) as patience:
                if parameters.get("Body") is not None:
                    parameters["Body"] = Watched(parameters["Body"], patience, self._clients.patience)
                parsed = await getattr(held.client, operation)(Bucket=self._bucket, **parameters)
        except FAILURES as error:
            self._clients.check_open(error)
            failure = translate(error, path, operation)
            if isinstance(failure, NotFound) and operation in _ABOUT_THE_BUCKET and "IfMatch" not in parameters:
                # Some servers say so in words of their own; no file can be missing here.
                failure = StoreMissing.of(path, f"there is no bucket {self._bucket!r} ({failure.strerror})")
            raise failure from error
        answer = Answer(parsed["ResponseMetadata"]["HTTPHeaders"], parsed.get("Body"), parsed)
        lacking = lacking_headers(operation, parameters, answer.headers)
        lacking = lacking or lacking_fields(operation, parameters, parsed)
        if lacking is not None:
            if answer.body is not None:
                answer.body.close()
            raise unproven(path, lacking)
        return answer

    async def page(self, *, cut: int = 0, **parameters: Any) -> Page:
        """Make one request for a listing; `cut` characters go from the front of all keys."""
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
_HOPED_FOR = {200, 204, 206}
_GONE, _OTHER_VERSION, _NO_SUCH_RANGE, _BUSY = 404, 412, 416, 500
_REGION = re.compile(r"[a-z0-9-]{1,40}")
SURPRISES = 3
"""After so many refusals in a row that the SDK did not get, requests here are not plain: it gets them all."""


class Direct(Sdk):
    """Requests made without the SDK where that is sure to be the same."""

    _surprises = 0

    async def send(self, operation: str, path: str | None, **parameters: Any) -> Answer:
        """As the SDK; its path is taken where the request, or the answer, is not plain."""
        request = plain(operation, {**self._standing.get(operation, {}), **parameters})
        held = await self._plain() if request else None
        if held is None or request is None:
            return await super().send(operation, path, **parameters)
        region = _region(held)
        response = await self._try(held, request)
        answer = await _read(response, request.method, path) if response is not None else None
        lacking = lacking_headers(operation, parameters, answer.headers) if answer is not None else None
        if answer is not None and lacking is not None:
            if answer.body is not None:
                answer.body.close()
            if operation == "put_object":  # it may have been done: who asked looks, before it is done twice
                raise unproven(path, lacking)
        elif answer is not None:
            self._surprises = 0
            return answer
        answer = await super().send(operation, path, **parameters)
        self._note(held, region, response)
        return answer

    async def page(self, *, cut: int = 0, **parameters: Any) -> Page:
        """As the SDK."""
        held = await self._plain()
        if held is None:
            return await super().page(cut=cut, **parameters)
        query = {_LISTING[name]: str(value) for name, value in parameters.items()}
        headers = {_HEADERS[name]: value for name, value in self._standing["list_objects_v2"].items()}
        region = _region(held)
        response = await self._try(
            held, Request("GET", "", {"list-type": "2", "encoding-type": "url", **query}, headers)
        )
        found = await _read_page(response, cut) if response is not None else None
        if found is not None:
            self._surprises = 0
            return found
        found = await super().page(cut=cut, **parameters)
        self._note(held, region, response)
        return found

    async def _plain(self) -> Held | None:
        """Return what there is for this loop, if plain requests may go over its wire."""
        held = await self._clients.held()
        return held if held.wire is not None and self._surprises < SURPRISES else None

    async def _try(self, held: Held, request: Request) -> aiohttp.ClientResponse | None:
        """Return the answer, `None` where there is none."""
        assert held.wire is not None  # noqa: S101 -- or it would have been another's request
        async with held.turns[self._urgent]:
            try:
                return await held.wire.send(request)
            except FAILURES:
                return None

    def _note(self, held: Held, region: str, refusal: aiohttp.ClientResponse | None) -> None:
        """Count a refusal of a request that the SDK then got answered; if it names another region, go there instead."""
        if refusal is None or refusal.status >= _BUSY:
            return
        named = refusal.headers.get("x-amz-bucket-region", region)
        if held.wire is not None and named != region and _REGION.fullmatch(named):
            if held.wire.region == region:
                held.wire.move(named)
            return
        self._surprises += 1


class RawBody:
    """The bytes of an answer, as aiohttp gives them."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def read(self, amt: int, /) -> Coroutine[Any, Any, bytes]:
        """Return up to `amt` bytes; b"" at the end."""
        return self._response.content.read(amt)

    def close(self) -> None:
        """Drop the connection, or nothing if all was read."""
        self._response.close()


def plain(operation: str, parameters: Mapping[str, Any]) -> Request | None:
    """Return the request for the SDK's parameters; `None` if it, or some of them, are not plain."""
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
    return Request(method, parameters["Key"], query, headers, parameters.get("Body"))


async def _read(response: aiohttp.ClientResponse, method: str, path: str | None) -> Answer | None:
    """Return what an answer brings, and `None` for one that the SDK is to ask for again.

    :raises NotFound, Conflict, NoSuchRange: where the answer says just that.
    """
    status = response.status
    if status in _HOPED_FOR and method == "GET":
        return Answer(_lower(response), RawBody(response))
    text = await _read_whole(response)
    if status in _HOPED_FOR and text is not None and not (method == "DELETE" and text):
        return Answer(_lower(response))  # with a body, a removal may have failed
    if status == _OTHER_VERSION:
        raise Conflict.of(path, "S3 holds another version than the request is about")
    if status == _NO_SUCH_RANGE:
        raise NoSuchRange.of(path)
    if status == _GONE and (method == "HEAD" or (method == "GET" and text and _error_code(text) == "NoSuchKey")):
        raise NotFound.of(path)
    return None


async def _read_page(response: aiohttp.ClientResponse, cut: int) -> Page | None:
    text = await _read_whole(response)
    if response.status not in _HOPED_FOR or text is None:
        return None
    try:
        return read_page(text, cut, response.headers.get("server", ""))
    except (ParseError, KeyError, ValueError):
        return None  # no listing, whatever it is


async def _read_whole(response: aiohttp.ClientResponse) -> bytes | None:
    """Read an answer to its end, which frees the connection for the next request; `None` if it breaks off."""
    try:
        return await response.read()
    except FAILURES:
        return None


def _region(held: Held) -> str:
    return "" if held.wire is None else held.wire.region


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _error_code(text: bytes) -> str | None:
    """Return the code of an error; `None` where there is none to read."""
    try:
        return XML(text).findtext("Code")
    except ParseError:
        return None
