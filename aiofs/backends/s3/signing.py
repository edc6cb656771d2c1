"""Simple requests, which are signed and sent without the SDK, and their answers.

They are signed with AWS's Signature Version 4 and sent over aiohttp, which costs a fifth of the SDK's requests:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass
from xml.etree.ElementTree import XML, ParseError

import aiohttp
from botocore.httpsession import get_cert_path
from yarl import URL

from aiofs import clock
from aiofs.backends.s3 import facts
from aiofs.backends.s3.errors import FAILURES, NoSuchRange
from aiofs.backends.s3.facts import S3Answer
from aiofs.errors import Conflict, NotFound
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Mapping
    from contextlib import AsyncExitStack

    from aiofs.backends.s3.facts import Page
    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Part
    from aiofs.errors import AiofsError

ALGORITHM = "AWS4-HMAC-SHA256"


UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""Replaces the hash of a body where the connection itself protects the body."""


EMPTY = hashlib.sha256().hexdigest()
PIECE = 1 << 18
"""How many bytes of a body are given to the connection at a time."""


_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


_ANY_KEY = "key"
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


_SUCCESS = {200, 204, 206}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request that is not signed yet."""

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Their names are in lower case."""
    body: Part | None = None


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


def listing_request(parameters: Mapping[str, Any]) -> HttpRequest:
    """Return the request for one page of a listing."""
    headers = {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS}
    query = {_LISTING[name]: str(value) for name, value in parameters.items() if name in _LISTING}
    return HttpRequest("GET", "", {"list-type": "2", "encoding-type": "url", **query}, headers)


class RequestSigner:
    """Signs requests for one region."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._derived_from: tuple[str, str] = ("", "")
        self._key = b""

    def sign(  # noqa: PLR0917 -- the parts of a request, in their order
        self, method: str, path: str, query: str, headers: Mapping[str, str], access_key: str, secret_key: str
    ) -> str:
        """Return the `Authorization` header for a request.

        `path` and `query` must be encoded, and the query sorted. All headers are signed; their names must be in lower
        case, and `host`, `x-amz-date` and `x-amz-content-sha256` must be among them.
        """
        moment = headers["x-amz-date"]
        day = moment[:8]
        names = sorted(headers)
        signed = ";".join(names)
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
        request = f"{method}\n{path}\n{query}\n{lines}\n{signed}\n{headers['x-amz-content-sha256']}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._day_key(day, secret_key), text.encode(), "sha256").hex()
        return f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"

    def _day_key(self, day: str, secret_key: str) -> bytes:
        """Return the signing key of a day; it is derived once."""
        if self._derived_from != (day, secret_key):
            key = f"AWS4{secret_key}".encode()
            for step in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._key, self._derived_from = key, (day, secret_key)
        return self._key


def encode_path(key: str) -> str:
    """Encode a key for a URL's path."""
    return quote(key, safe="/~")


def encode_query(parameters: Mapping[str, str]) -> str:
    """Encode a query, and sort it."""
    return "&".join(f"{name}={quote(parameters[name], safe='~')}" for name in sorted(parameters))


class SignedHttp:
    """Signs requests and sends them, over connections of one event loop. Without credentials it does not sign."""

    def __init__(self, http: aiohttp.ClientSession, base: str, region: str, credentials: Any, timeout: float) -> None:
        where = urlsplit(base)
        self._http = http
        self.region: str = region
        """The region of the bucket, as far as it is known."""
        self._origin = f"{where.scheme}://{where.netloc}"
        self._host = where.netloc
        self._root = where.path
        self._secure = where.scheme == "https"
        self._signer = RequestSigner(region)
        self._credentials = credentials
        self._timeout = timeout

    def move(self, region: str) -> None:
        """Send all later requests to another region, which the store has named. AWS has a host for each region."""
        host = rf"(?<=[./])s3(\.{re.escape(self.region)})?\.amazonaws\.com"
        self._origin = re.sub(host, f"s3.{region}.amazonaws.com", self._origin)
        self._host = urlsplit(self._origin).netloc
        self.region = region
        self._signer = RequestSigner(region)

    async def send(self, request: HttpRequest) -> aiohttp.ClientResponse:
        """Sign the request, send it, and return the answer when its headers have arrived.

        :raises TimeoutError: if they did not arrive in time.
        :raises aiohttp.ClientError: if the connection failed.
        """
        path = self._root + encode_path(request.key)
        query = encode_query(request.query) if request.query else ""
        headers = {"host": self._host, **request.headers}
        if self._credentials is not None:
            await self._sign(request, path, query, headers)
        url = URL(f"{self._origin}{path}?{query}" if query else self._origin + path, encoded=True)
        async with asyncio.timeout(self._timeout) as time_limit:
            body = request.body
            if body is not None:
                headers["content-length"] = str(len(body))
            if body is not None and len(body) > PIECE:
                data: Any = self._pieces(body, time_limit)
            else:
                data = body
            if self._http.closed:
                raise aiohttp.ClientConnectionError("the connections were closed")
            return await self._http.request(request.method, url, headers=headers, data=data, allow_redirects=False)

    async def _sign(self, request: HttpRequest, path: str, query: str, headers: dict[str, str]) -> None:
        keys = await self._credentials.get_frozen_credentials()
        headers["x-amz-date"] = clock.now().strftime("%Y%m%dT%H%M%SZ")
        headers["x-amz-content-sha256"] = EMPTY if not request.body else await self._hash(request.body)
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        headers["authorization"] = self._signer.sign(
            request.method, path, query, headers, keys.access_key, keys.secret_key
        )

    async def _hash(self, body: Part) -> str:
        if self._secure:
            return UNSIGNED_PAYLOAD
        if len(body) > PIECE:
            return await hop(_sha256, body)
        return _sha256(body)

    async def _pieces(self, body: Part, time_limit: asyncio.Timeout) -> AsyncGenerator[memoryview, None]:
        """Yield the body in pieces, and extend the time limit after each piece that the connection has taken."""
        now = asyncio.get_running_loop().time
        view = memoryview(body)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]
            time_limit.reschedule(now() + self._timeout)


async def connect(session: Any, client: Any, settings: Settings, stack: AsyncExitStack) -> SignedHttp | None:
    """Return what sends simple requests to the same host as the SDK's client.

    Returns `None` where only the SDK can do that: without a region, by an access point, or through a proxy.
    """
    credentials = None if settings.anonymous else await session.get_credentials()
    region = client.meta.region_name
    bucket = settings.bucket
    if region in {None, "aws-global"} or bucket.startswith("arn:") or bucket.endswith("-s3"):
        return None
    url = await client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _ANY_KEY})
    base = url.partition("?")[0].removesuffix(_ANY_KEY)
    where = urlsplit(base)
    if where.scheme in getproxies() and not proxy_bypass(where.hostname or ""):
        return None
    secure = where.scheme == "https"
    trust = await hop(_trust, settings.ca_bundle or session.get_config_variable("ca_bundle")) if secure else False
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=trust),  # requests take turns already, and readers keep theirs
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout, sock_read=settings.timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_ADDED,
        read_bufsize=PIECE,
    )
    await stack.enter_async_context(http)
    return SignedHttp(http, base, region, credentials, settings.timeout)


def _trust(bundle: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=bundle or get_cert_path(True))


def _sha256(body: Part) -> str:
    return hashlib.sha256(body).hexdigest()


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


async def read_answer(response: aiohttp.ClientResponse, method: str, path: str | None) -> S3Answer | None:
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


async def page_in(response: aiohttp.ClientResponse, cut: int) -> Page | None:
    """Return the page in an answer; `None` if there is none, or it is damaged."""
    text = await _read_whole(response)
    if response.status not in _SUCCESS or text is None:
        return None
    try:
        return facts.read_page(text, cut, response.headers.get("server", ""))
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
