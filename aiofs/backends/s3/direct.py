"""The direct path: reads, writes and listings that are plain go over the wire; everything else through the SDK.

The direct path decides nothing alone. It returns what was hoped for, and raises what an answer says beyond doubt: there
is no such object, it is another version, it ends before the range. Whatever else happens, a busy or failing server, a
broken connection, a redirect, a refusal, the same request is made again by the SDK, whose word counts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from aiofs.backends.s3.calls import Answer, Page, Sdk, unproven
from aiofs.backends.s3.errors import FAILURES, NoSuchRange
from aiofs.backends.s3.proof import lacking_headers
from aiofs.backends.s3.wire import Request
from aiofs.backends.s3.xml import read_code, read_page
from aiofs.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    import aiohttp

    from aiofs.backends.s3.clients import Held

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
    if status == _GONE and (method == "HEAD" or (method == "GET" and text and read_code(text) == "NoSuchKey")):
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
