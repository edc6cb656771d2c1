"""The SDK's client, one for each event loop; and simple requests, signed and sent without it.

Requests that are signed here, with AWS's Signature Version 4, and sent over aiohttp cost a fifth of the SDK's:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiobotocore.config import AioConfig
from botocore import UNSIGNED
from botocore.httpsession import get_cert_path
from botocore.parsers import DEFAULT_TIMESTAMP_PARSER
from yarl import URL

from aiofs import clock
from aiofs.backends.s3.errors import FAILURES, lasting_fault, translate
from aiofs.backends.s3.settings import configured_endpoint, endpoint_of, hide_key, session_for
from aiofs.errors import AiofsError
from aiofs.kit import lanes
from aiofs.lifetimes import PerLoop
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Mapping

    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Part

REQUESTS = 80
"""How many requests wait for their answer at the same time. All others wait for their turn, without a time limit."""
CONNECTIONS = 10_000
"""More than are ever open. There is no real limit, as a reader that pauses in a large file keeps its connection."""
LONGEST_WAIT = 20
"""For how many seconds, at most, the SDK waits between two attempts."""


@dataclass
class LoopClient:
    """The client of one event loop, and what belongs to it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    turns: tuple[asyncio.Semaphore, asyncio.Semaphore] = field(default_factory=partial(lanes, REQUESTS))
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    client: Any = None
    endpoint: str | None = None
    """The URL of the store, given or configured; `None` for AWS. It is known once there is a client."""
    http: SignedHttp | None = None
    """Sends simple requests without the client; `None` where that is not wanted or not possible."""

    async def aclose(self) -> None:
        """Close the client and the connections, once the task that makes them has ended."""
        async with self.lock:
            await self.stack.aclose()


class S3Clients:
    """Makes the clients, one for each event loop, when they are first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # The SDK's own timeouts do not notice a server that stops to receive a body. All attempts of the SDK, and the
        # waits between them, fit into this limit.
        waits = min(2 ** (settings.attempts - 1), settings.attempts * LONGEST_WAIT)
        self.time_limit: float = settings.attempts * settings.timeout + waits
        self._by_loop = PerLoop(settings, LoopClient, LoopClient.aclose)

    async def client(self) -> Any:
        """Return the SDK's client for the running loop."""
        return (await self.current()).client

    async def current(self) -> LoopClient:
        """Return the client of the running loop, and what belongs to it. The first call makes it.

        :raises ValueError: after `aclose`.
        """
        current = self._by_loop.get()
        if current.client is None:
            async with current.lock:
                self.check_open()
                if current.client is None:
                    current.client = await self._made(current)  # set last, as it means that the others are set
        return current

    def check_open(self, cause: BaseException | None = None) -> None:
        """Raise `ValueError` after `aclose`; `cause` is the failure of a request that closing broke off."""
        self._by_loop.check_open(cause)

    async def aclose(self) -> None:
        """Close the clients of all loops that have not ended."""
        await self._by_loop.aclose()

    async def _made(self, current: LoopClient) -> Any:
        """Make a client.

        :raises OSError: if it cannot be made from the settings, given here or in AWS's own files.
        """
        try:
            return await self._make(current)
        except AiofsError:
            raise
        except FAILURES as error:
            kind = type(translate(error, None))
            bundle = self._settings.ca_bundle
            advice = f"; its certificates must be in ca_bundle={bundle!r}" if bundle else ""
            raise kind.of(None, f"no client can be made for {self._settings}: {error}{advice}") from error

    async def _make(self, current: LoopClient) -> Any:
        settings = self._settings
        if settings.client is not None:
            current.endpoint = endpoint_of(settings.client)
            return settings.client
        if settings.ca_bundle is not None:
            await hop(os.stat, settings.ca_bundle)  # without this, each request would fail as not sent
        session = await session_for(settings)
        region = settings.region or await hop(session.get_config_variable, "region")
        endpoint = current.endpoint = settings.endpoint_url or await hop(configured_endpoint, session)
        settings.check_encryption(endpoint)
        client = _client(session, region, endpoint, settings)
        made = await hop(_run_through, client.__aenter__())
        current.stack.push_async_exit(client)
        if settings.customer_key is not None:
            current.stack.enter_context(hide_key(settings.customer_key))
        made.meta.events.register_first("needs-retry.s3", _give_up)
        if settings.direct:
            current.http = await connect(session, made, settings, current.stack)
        return made


def _client(session: Any, region: str | None, endpoint: str | None, settings: Settings) -> Any:
    """Return a client that the caller must enter."""
    if settings.session is None:  # a session that was lent is not changed
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_timestamp)
    style = settings.addressing or ("path" if endpoint else "auto")
    config = AioConfig(
        connect_timeout=settings.timeout,
        read_timeout=settings.timeout,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        s3={"addressing_style": style},
        parameter_validation=False,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version=UNSIGNED if settings.anonymous else "s3v4",
        user_agent="aiofs",
    )
    return session.create_client(
        "s3",
        # A signature names a region. Stores other than AWS accept this one if no region is set.
        region_name=region or (endpoint and "us-east-1"),
        endpoint_url=endpoint,
        verify=settings.ca_bundle,
        config=config,
    )


def _give_up(caught_exception: BaseException | None = None, **_: Any) -> None:
    """Raise a failure at once that another attempt cannot mend, before the SDK waits to try again."""
    if caught_exception is not None and lasting_fault(caught_exception) is not None:
        raise caught_exception


def _run_through(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run, in a thread, the coroutine that makes a client: it reads a hundred files, and never waits for the loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("the SDK waits for something while it makes a client")


def parse_timestamp(value: object) -> datetime:
    """Read a time in S3's format, without the SDK's slow search through all formats."""
    if isinstance(value, str) and value.endswith("Z"):
        return datetime.fromisoformat(value)
    parsed: datetime = DEFAULT_TIMESTAMP_PARSER(value)
    return parsed


ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""Replaces the hash of a body where the connection itself protects the body."""
EMPTY = hashlib.sha256().hexdigest()


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


PIECE = 1 << 18
"""How many bytes of a body are given to the connection at a time."""
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_ANY_KEY = "key"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request that is not signed yet."""

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Their names are in lower case."""
    body: Part | None = None


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
