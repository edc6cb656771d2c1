"""Clients of the SDK: the credentials and the endpoint that they use, and one client for each event loop."""

from __future__ import annotations

import asyncio
import base64
import inspect
import logging
import os
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioCredentials, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.loaders import create_loader
from botocore.parsers import DEFAULT_TIMESTAMP_PARSER

from aiofs.backends.s3.errors import FAILURES, lasting_fault, translate
from aiofs.backends.s3.settings import check_endpoint
from aiofs.backends.s3.signing import connect
from aiofs.errors import AccessDenied, AiofsError
from aiofs.kit import lanes
from aiofs.lifetimes import PerLoop
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    from aiofs.backends.s3.settings import Settings
    from aiofs.backends.s3.signing import SignedHttp

REQUESTS = 80
"""How many requests wait for their answer at the same time. All others wait for their turn, without a time limit."""
CONNECTIONS = 10_000
"""More than are ever open. There is no real limit, as a reader that pauses in a large file keeps its connection."""
LONGEST_WAIT = 20
"""For how many seconds, at most, the SDK waits between two attempts."""
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""The environment variables that may name the endpoint, in the order of their rank."""
OWN = "aiofs"
"""The name under which the SDK knows credentials that `credentials=` returned."""
_SDK = ("aiobotocore", "botocore")


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


def configured_endpoint(session: Any) -> str | None:
    """Return the endpoint that a session of the SDK uses if none is given; `None` for AWS's own.

    The rules are those of all of AWS's tools: first the environment, then the section of services that the profile
    names, then the profile itself; none of them if `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` is true. A store that is
    configured there may be another than AWS, so its promises are probed like those of one that is given.
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    for name in ENDPOINT_VARIABLES:
        if url := os.environ.get(name):
            return check_endpoint(url, name)
    profile: Mapping[str, Any] = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    for section, name in (
        (services.get("s3", {}), "endpoint_url of s3 in the profile's services"),
        (profile, "endpoint_url of the profile"),
    ):
        if url := section.get("endpoint_url"):
            return check_endpoint(url, name)
    return None


def endpoint_of(client: Any) -> str | None:
    """Return the URL to which a client that was lent sends its requests; `None` for AWS."""
    url: str = client.meta.endpoint_url
    host = urlsplit(url).hostname or ""
    return None if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else url


async def session_for(settings: Settings) -> Any:
    """Return the session whose credentials and settings the client uses.

    :raises AccessDenied: if there are no credentials.
    """
    session = settings.session or await hop(_session, settings)
    if settings.anonymous:
        return session
    if settings.credentials is not None:
        session._credentials = await _given(settings)  # noqa: SLF001 -- set_credentials() takes no expiring ones
    # This may need the network. It is done here, where a failure is reported as one; later calls are answered at once.
    found = await session.get_credentials()
    if found is None:
        raise AccessDenied.of(settings.bucket, "no credentials: set them in the environment, or pass access_key=")
    if settings.role_arn is not None:
        return await _with_role(session, found, settings)
    return session


def _session(settings: Settings) -> AioSession:
    """Make a session, which reads AWS's own settings."""
    session = AioSession(profile=settings.profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    if settings.access_key is not None:
        session.set_credentials(settings.access_key, settings.secret_key, settings.session_token)
    return session


@cache
def _loader(data_path: str | None) -> Any:
    """Return the loader of the SDK's models, one for all sessions: they have a megabyte, which is then read once."""
    return create_loader(data_path)


async def _with_role(asking: Any, credentials: Any, settings: Settings) -> AioSession:
    """Return a session with the credentials of the role, which are asked for again before they expire."""
    extra = {"RoleSessionName": settings.role_session_name}
    if settings.external_id is not None:
        extra["ExternalId"] = settings.external_id

    def client(service: str, **keys: Any) -> Any:
        region = settings.region or asking.get_config_variable("region") or "us-east-1"
        return asking.create_client(service, region_name=region, verify=settings.ca_bundle, **keys)

    fetcher = AioAssumeRoleCredentialFetcher(client, credentials, settings.role_arn, extra_args=extra)
    session: AioSession = await hop(_session, settings)
    session._credentials = AioDeferredRefreshableCredentials(  # noqa: SLF001 -- set_credentials() takes no expiring ones
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
    return session


async def _given(settings: Settings) -> Any:
    """Return the credentials from `credentials=`, which is called again when they are about to expire."""
    first = await _ask(settings)
    if first["expiry_time"] is None:
        return AioCredentials(first["access_key"], first["secret_key"], first["token"], method=OWN)
    kept: list[dict[str, Any]] = [first]

    async def fresh() -> dict[str, Any]:
        return kept.pop() if kept else await _ask(settings)

    return AioDeferredRefreshableCredentials(method=OWN, refresh_using=fresh)


async def _ask(settings: Settings) -> dict[str, Any]:
    """Call `credentials=` and return its result in the form that the SDK takes.

    :raises TypeError: if the result is not credentials; the message does not show it.
    """
    assert settings.credentials is not None  # noqa: S101 -- checked by the caller
    keys: Any = settings.credentials()
    if inspect.isawaitable(keys):
        keys = await keys
    try:
        return _as_sdk(keys)
    except (AttributeError, KeyError, TypeError):
        raise TypeError(
            "credentials= must return a dict with access_key and secret_key, and expires if they expire"
        ) from None


def _as_sdk(keys: Mapping[str, Any]) -> dict[str, Any]:
    expires = keys.get("expires")
    return {
        "access_key": keys["access_key"],
        "secret_key": keys["secret_key"],
        "token": keys.get("session_token"),
        "expiry_time": expires if expires is None else expires.isoformat(),
    }


class _KeyFilter(logging.Filter):
    """Replaces a key in messages: at the level DEBUG the SDK logs the headers of its requests."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._shown = (base64.b64encode(key).decode(), repr(key))

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if any(shown in message for shown in self._shown):
            for shown in self._shown:
                message = message.replace(shown, "***")
            record.msg, record.args = message, ()
        return True


@contextmanager
def hide_key(key: bytes) -> Iterator[None]:
    """Keep `key` out of the SDK's log while the context lasts."""
    key_filter = _KeyFilter(key)
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith(_SDK)]
    for logger in loggers:
        logger.addFilter(key_filter)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(key_filter)
