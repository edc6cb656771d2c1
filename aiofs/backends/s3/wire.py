"""Plain requests to the store, signed here and sent over aiohttp: a fifth of what they cost by way of the SDK."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from botocore.httpsession import get_cert_path
from yarl import URL

from aiofs.backends.s3.sign import EMPTY, UNSIGNED, Signer, encode_path, encode_query
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextlib import AsyncExitStack

    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Part

PIECE = 1 << 18
"""How much of a body is given to the connection at a time."""
_SENT_BY_US = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_ANY_KEY = "key"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, before it is signed."""

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """In lower case."""
    body: Part | None = None


class Wire:
    """The connections of one event loop to the store; without credentials, requests are not signed."""

    def __init__(self, http: aiohttp.ClientSession, base: str, region: str, credentials: Any, timeout: float) -> None:
        where = urlsplit(base)
        self._http = http
        self.region: str = region
        """The region in which the bucket is believed to be."""
        self._origin = f"{where.scheme}://{where.netloc}"
        self._host = where.netloc
        self._root = where.path
        self._secure = where.scheme == "https"
        self._signer = Signer(region)
        self._credentials = credentials
        self._timeout = timeout

    def move(self, region: str) -> None:
        """Send all later requests to another region, which the store has named. AWS has a host for each region."""
        host = rf"(?<=[./])s3(\.{re.escape(self.region)})?\.amazonaws\.com"
        self._origin = re.sub(host, f"s3.{region}.amazonaws.com", self._origin)
        self._host = urlsplit(self._origin).netloc
        self.region = region
        self._signer = Signer(region)

    async def send(self, request: Request) -> aiohttp.ClientResponse:
        """Sign the request, send it, and return the answer once its headers are there."""
        path = self._root + encode_path(request.key)
        query = encode_query(request.query) if request.query else ""
        headers = {"host": self._host, **request.headers}
        if self._credentials is not None:
            await self._sign(request, path, query, headers)
        url = URL(f"{self._origin}{path}?{query}" if query else self._origin + path, encoded=True)
        async with asyncio.timeout(self._timeout) as patience:
            body = request.body
            if body is not None:
                headers["content-length"] = str(len(body))
            if body is not None and len(body) > PIECE:
                data: Any = self._pieces(body, patience)
            else:
                data = body
            if self._http.closed:
                raise aiohttp.ClientConnectionError("the connections were closed")
            return await self._http.request(request.method, url, headers=headers, data=data, allow_redirects=False)

    async def _sign(self, request: Request, path: str, query: str, headers: dict[str, str]) -> None:
        keys = await self._credentials.get_frozen_credentials()
        headers["x-amz-date"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers["x-amz-content-sha256"] = EMPTY if not request.body else await self._hash(request.body)
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        headers["authorization"] = self._signer.sign(
            request.method, path, query, headers, keys.access_key, keys.secret_key
        )

    async def _hash(self, body: Part) -> str:
        if self._secure:
            return UNSIGNED
        if len(body) > PIECE:
            return await hop(_sha256, body)
        return _sha256(body)

    async def _pieces(self, body: Part, patience: asyncio.Timeout) -> AsyncGenerator[memoryview, None]:
        """Yield the body; each piece that the connection takes gives it time for another."""
        now = asyncio.get_running_loop().time
        view = memoryview(body)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]
            patience.reschedule(now() + self._timeout)


async def connect(session: Any, client: Any, settings: Settings, stack: AsyncExitStack) -> Wire | None:
    """Return a wire to where the SDK's client would send plain requests; `None` where they would not be plain."""
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
        connector=aiohttp.TCPConnector(limit=0, ssl=trust),  # requests take turns, and who reads keeps a connection
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout, sock_read=settings.timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_SENT_BY_US,
        read_bufsize=PIECE,
    )
    await stack.enter_async_context(http)
    return Wire(http, base, region, credentials, settings.timeout)


def _trust(bundle: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=bundle or get_cert_path(True))


def _sha256(body: Part) -> str:
    return hashlib.sha256(body).hexdigest()
