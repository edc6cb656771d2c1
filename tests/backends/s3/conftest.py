"""S3 file systems over the test's server, and a front that meddles with requests on their way there."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from aiofs.backends.s3 import store
from aiofs.stores import S3FileSystem
from backends.s3.front import Front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from servers.moto import S3Server

    Fronts = Callable[[S3Server], Awaitable[tuple[Front, S3Server]]]


class Connect(Protocol):
    def __call__(self, server: S3Server, /, **settings: object) -> S3FileSystem: ...


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open a file system in a server's bucket: `connect(s3_server, lease=1.0)`. Closed after the test."""
    async with AsyncExitStack() as stack:

        def opened(server: S3Server, /, **settings: object) -> S3FileSystem:
            fs = S3FileSystem(
                server.bucket,
                endpoint_url=server.endpoint_url,
                access_key=server.access_key,
                secret_key=server.secret_key,
                region=server.region,
                **settings,  # type: ignore[arg-type]
            )
            stack.push_async_callback(fs.aclose)
            return fs

        yield opened


@pytest.fixture
async def fs(connect: Connect, s3_server: S3Server) -> S3FileSystem:
    """A file system as users have it."""
    return connect(s3_server)


@pytest.fixture
async def front() -> AsyncIterator[Fronts]:
    """Set a front before a server: `front, server = await front(s3_server)`."""
    async with AsyncExitStack() as stack:

        async def before(server: S3Server) -> tuple[Front, S3Server]:
            made = await stack.enter_async_context(Front(server.endpoint_url))
            return made, server.through(made.port)

        yield before


@pytest.fixture
def nothing_probed() -> Iterator[None]:
    """Let the test probe its server by itself: other tests know nothing of it, and it knows nothing of theirs."""
    known = dict(store._PROBED)
    store._PROBED.clear()
    yield
    store._PROBED.clear()
    store._PROBED.update(known)
