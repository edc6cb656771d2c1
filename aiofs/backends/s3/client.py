"""The SDK's client, one for each event loop; and requests: `send("get_object", path, Key=..., Range=...)`.

`SdkRequests` makes them through the SDK. `DirectRequests` signs and sends simple reads, writes and listings without it
(`signing`), which costs much less. It handles only clear answers: a success, no such object, another version, or an
object that ends before the range. In all other cases (a server that is busy or fails, a broken connection, a redirect,
a refusal) the SDK makes the same request again, and its result counts.

Proxies and failing servers say "200 OK" to requests that were not carried out. So an answer of success must contain
something that only a server that did the work can know, such as the ETag of what was written.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
from contextlib import AsyncExitStack
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aiobotocore.config import AioConfig
from botocore import UNSIGNED
from botocore.parsers import DEFAULT_TIMESTAMP_PARSER

from aiofs.backends.s3.errors import FAILURES, lasting_fault, translate
from aiofs.backends.s3.facts import Page, S3Answer, listed_entry, page_of, unquoted
from aiofs.backends.s3.settings import configured_endpoint, default_parameters, endpoint_of, hide_key, session_for
from aiofs.backends.s3.signing import connect, listing_request, page_in, read_answer, simple_request
from aiofs.errors import AiofsError, NotFound, StoreMissing, Unavailable
from aiofs.kit import lanes
from aiofs.lifetimes import PerLoop
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    import aiohttp

    from aiofs.backends.s3.settings import Settings
    from aiofs.backends.s3.signing import HttpRequest, SignedHttp
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


_ABOUT_THE_BUCKET = ("put_object", "create_multipart_upload", "list_objects_v2")
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
_BUSY = 500
_REGION = re.compile(r"[a-z0-9-]{1,40}")
MOST_REFUSALS = 3
"""After so many direct requests in a row that the store refused, and granted to the SDK, the SDK makes all requests."""


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
        answer = await read_answer(response, request.method, path) if response is not None else None
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
        request = listing_request({**self._defaults["list_objects_v2"], **parameters})
        region = _region(current)
        response = await self._try(current, request)
        found = await page_in(response, cut) if response is not None else None
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


def _region(current: LoopClient) -> str:
    return "" if current.http is None else current.http.region


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
