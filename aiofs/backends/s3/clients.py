"""The SDK's clients: made when first needed, one for each event loop, shared by all that goes on there."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from botocore import UNSIGNED
from botocore.parsers import DEFAULT_TIMESTAMP_PARSER

from aiofs.backends.s3.credentials import session_for
from aiofs.backends.s3.endpoint import configured_endpoint, endpoint_of
from aiofs.backends.s3.errors import FAILURES, lasting_fault, translate
from aiofs.backends.s3.hiding import hidden
from aiofs.backends.s3.wire import connect
from aiofs.errors import AiofsError
from aiofs.kit import lanes
from aiofs.lifetimes import PerLoop
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiofs.backends.s3.settings import Settings
    from aiofs.backends.s3.wire import Wire

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
