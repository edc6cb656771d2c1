"""Clients of the SDK: whose they are, where the store is, and one of them for each event loop."""

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
    from aiofs.backends.s3.signing import Wire

VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""What is looked at in the environment, in this order, before the profile is."""


def configured_endpoint(session: Any) -> str | None:
    """Return the endpoint that a session of the SDK takes where none is given; `None` for AWS's own.

    It is found by the rules of all of AWS's tools: the environment first, then the section of services that the
    profile names, then the profile itself; and nowhere, if `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` says so.
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    for name in VARIABLES:
        if url := os.environ.get(name):
            return check_endpoint(url, name)
    profile: Mapping[str, Any] = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    for section, name in ((services.get("s3", {}), "endpoint_url of s3 in the profile's services"), (profile, "")):
        if url := section.get("endpoint_url"):
            return check_endpoint(url, name or "endpoint_url of the profile")
    return None


def endpoint_of(client: Any) -> str | None:
    """Return where a client of the SDK that was lent sends its requests; `None` for AWS."""
    url: str = client.meta.endpoint_url
    host = urlsplit(url).hostname or ""
    return None if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else url


OWN = "aiofs"
"""What the SDK calls credentials that a caller's own callable gave."""


async def session_for(settings: Settings) -> Any:
    """Return the session whose credentials and settings are to be used.

    :raises AccessDenied: if there are no credentials.
    """
    session = settings.session or await hop(_session, settings)
    if settings.anonymous:
        return session
    if settings.credentials is not None:
        session._credentials = await _given(settings)  # noqa: SLF001 -- set_credentials() takes lasting ones alone
    found = await session.get_credentials()  # asked here, where that may take the network; then they are known
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
    """Return what reads the SDK's models, the same for all sessions: a megabyte of them is then read once."""
    return create_loader(data_path)


async def _with_role(asking: Any, credentials: Any, settings: Settings) -> AioSession:
    """Return a session whose credentials are those of the role, asked for anew before they expire."""
    extra = {"RoleSessionName": settings.role_session_name}
    if settings.external_id is not None:
        extra["ExternalId"] = settings.external_id

    def client(service: str, **keys: Any) -> Any:
        region = settings.region or asking.get_config_variable("region") or "us-east-1"
        return asking.create_client(service, region_name=region, verify=settings.ca_bundle, **keys)

    fetcher = AioAssumeRoleCredentialFetcher(client, credentials, settings.role_arn, extra_args=extra)
    session: AioSession = await hop(_session, settings)
    session._credentials = AioDeferredRefreshableCredentials(  # noqa: SLF001 -- set_credentials() takes lasting ones
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
    return session


async def _given(settings: Settings) -> Any:
    """Return the credentials that the caller's callable gives, now and again when they are about to expire."""
    first = await _ask(settings)
    if first["expiry_time"] is None:
        return AioCredentials(first["access_key"], first["secret_key"], first["token"], method=OWN)
    kept: list[dict[str, Any]] = [first]

    async def fresh() -> dict[str, Any]:
        return kept.pop() if kept else await _ask(settings)

    return AioDeferredRefreshableCredentials(method=OWN, refresh_using=fresh)


async def _ask(settings: Settings) -> dict[str, Any]:
    """Return what the callable says, as the SDK wants it.

    :raises TypeError: if it is something else than credentials, which the error does not repeat.
    """
    assert settings.credentials is not None  # noqa: S101 -- or nobody would ask
    told: Any = settings.credentials()
    if inspect.isawaitable(told):
        told = await told
    try:
        return _as_sdk(told)
    except (AttributeError, KeyError, TypeError):
        raise TypeError(
            "credentials= must return a dict with access_key, secret_key, and expires where they do"
        ) from None


def _as_sdk(told: Mapping[str, Any]) -> dict[str, Any]:
    expires = told.get("expires")
    return {
        "access_key": told["access_key"],
        "secret_key": told["secret_key"],
        "token": told.get("session_token"),
        "expiry_time": expires if expires is None else expires.isoformat(),
    }


_SDK = ("aiobotocore", "botocore")


class _Hides(logging.Filter):
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
def hidden(key: bytes) -> Iterator[None]:
    """Keep a key out of what the SDK logs."""
    hides = _Hides(key)
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith(_SDK)]
    for logger in loggers:
        logger.addFilter(hides)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(hides)


REQUESTS = 80
"""So many wait for an answer at the same time; others wait for their turn, however long that takes."""
CONNECTIONS = 10_000
"""As good as any number: a reader that pauses in a large file keeps its own."""
LONGEST_WAIT = 20
"""For how many seconds the SDK waits between two attempts at most."""


@dataclass
class Held:
    """What there is for one event loop."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    turns: tuple[asyncio.Semaphore, asyncio.Semaphore] = field(default_factory=partial(lanes, REQUESTS))
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    client: Any = None
    endpoint: str | None = None
    """Where the store is, given or configured; `None` for AWS. Known once there is a client."""
    wire: Wire | None = None
    """How to do without the client, where that is asked for and possible."""

    async def aclose(self) -> None:
        """Close all of it, once whoever is making it has ended."""
        async with self.lock:
            await self.stack.aclose()


class Clients:
    """Gives the client for the running loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # The SDK's own timeouts do not see a server that takes no more of a body. All its attempts, and the waits
        # between them, fit in here.
        waits = min(2 ** (settings.attempts - 1), settings.attempts * LONGEST_WAIT)
        self.patience: float = settings.attempts * settings.timeout + waits
        self._held = PerLoop(settings, Held, Held.aclose)

    async def client(self) -> Any:
        """Return the SDK's client."""
        return (await self.held()).client

    async def held(self) -> Held:
        """Return what there is for the running loop, made if need be.

        :raises ValueError: once all of it is closed.
        """
        held = self._held.get()
        if held.client is None:
            async with held.lock:
                self.check_open()
                if held.client is None:
                    held.client = await self._made(held)  # last, since it says that all is there
        return held

    def check_open(self, cause: BaseException | None = None) -> None:
        """Raise `ValueError` once all of it is closed, which then is why a request failed."""
        self._held.check_open(cause)

    async def aclose(self) -> None:
        """Close what there is, of every loop that has not ended."""
        await self._held.aclose()

    async def _made(self, held: Held) -> Any:
        """Make a client.

        :raises OSError: if the settings, here or in AWS's own files, do not allow for it.
        """
        try:
            return await self._make(held)
        except AiofsError:
            raise
        except FAILURES as error:
            kind = type(translate(error, None))
            bundle = f"; its certificates are to be in {self._settings.ca_bundle}" if self._settings.ca_bundle else ""
            raise kind.of(None, f"no client can be made for {self._settings}: {error}{bundle}") from error

    async def _make(self, held: Held) -> Any:
        settings = self._settings
        if settings.client is not None:
            held.endpoint = endpoint_of(settings.client)
            return settings.client
        if settings.ca_bundle is not None:
            await hop(os.stat, settings.ca_bundle)  # the SDK would say with each request that it cannot be made
        session = await session_for(settings)
        region = settings.region or await hop(session.get_config_variable, "region")
        endpoint = held.endpoint = settings.endpoint_url or await hop(configured_endpoint, session)
        settings.check_encryption(endpoint)
        client = _client(session, region, endpoint, settings)
        made = await hop(_run_through, client.__aenter__())
        held.stack.push_async_exit(client)
        if settings.customer_key is not None:
            held.stack.enter_context(hidden(settings.customer_key))
        made.meta.events.register_first("needs-retry.s3", _give_up)
        if settings.direct:
            held.wire = await connect(session, made, settings, held.stack)
        return made


def _client(session: Any, region: str | None, endpoint: str | None, settings: Settings) -> Any:
    """Return a client that is still to be entered."""
    if settings.session is None:  # what was lent stays as it is
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
        # A signature names a region. Stores that are not AWS's take this one where nobody says another.
        region_name=region or (endpoint and "us-east-1"),
        endpoint_url=endpoint,
        verify=settings.ca_bundle,
        config=config,
    )


def _give_up(caught_exception: BaseException | None = None, **_: Any) -> None:
    """Raise a failure that no further attempt can mend, before the SDK waits to try again."""
    if caught_exception is not None and lasting_fault(caught_exception) is not None:
        raise caught_exception


def _run_through(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run, in a thread, a coroutine that waits for nothing but reads a hundred files: the making of a client."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("the SDK waits for something while it makes a client")


def parse_timestamp(value: object) -> datetime:
    """Read a time as S3 writes it, without the search through all formats that the SDK makes."""
    if isinstance(value, str) and value.endswith("Z"):
        return datetime.fromisoformat(value)
    parsed: datetime = DEFAULT_TIMESTAMP_PARSER(value)
    return parsed
