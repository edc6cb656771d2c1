"""Locks are renewed while hundreds of requests wait for their turn; behind them, a renewal would come too late."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
import redis.asyncio

import aiofs
from aiofs.backends.redis import scripts
from backends.s3.front import Front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from backends.s3.front import Asked
    from servers.azurite.server import AzureAccount
    from servers.moto import S3Server

MANY = 2000 if os.environ.get("AIOFS_TEST_FULL") else 120  # more than there are turns, of which a store has 80
RENEWALS = 2
LEASE = 15  # the shortest that Azure grants, and long enough for a busy machine
pytestmark = pytest.mark.may_block  # Azure's SDK does in its client


class Gate:
    """Holds all reads back, and counts renewals that come by."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.held = 0
        self.renewals = asyncio.Semaphore(0)

    async def hold(self) -> None:
        self.held += 1
        await self.opened.wait()


@pytest.fixture
async def front() -> AsyncIterator[Callable[[str], Awaitable[Front]]]:
    fronts: list[Front] = []

    async def before(url: str) -> Front:
        fronts.append(await Front(url).__aenter__())
        return fronts[-1]

    yield before
    for made in fronts:
        await made.__aexit__(None, None, None)


async def check(fs: aiofs.FileSystem, gate: Gate) -> None:
    """Hold a lock while more reads wait than there are turns, for some renewals, and publish under it."""
    async with fs:
        await fs.write_bytes("read", b"read")
        file = await fs.open("written", "w")
        await file.write(b"written")
        reads = [asyncio.ensure_future(fs.read_bytes("read")) for _ in range(MANY)]
        for _ in range(RENEWALS):
            await gate.renewals.acquire()
        assert 0 < gate.held < MANY  # the others wait for their turn
        assert not any(read.done() for read in reads)
        gate.opened.set()
        assert set(await asyncio.gather(*reads)) == {b"read"}
        await file.close()
        assert await fs.read_bytes("written") == b"written"


@pytest.mark.parametrize("most", ["", "?max_connections=5"])
async def test_redis(valkey_url: str, most: str) -> None:
    gate = Gate()

    class Gated(redis.asyncio.Redis):
        async def execute_command(self, *args: object, **options: object) -> object:
            if args[0] == "GETRANGE":
                connection = await self.connection_pool.get_connection()
                await gate.hold()
                await self.connection_pool.release(connection)
            answer: object = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            if scripts.RENEW.digest in args or scripts.RENEW.source in args:
                gate.renewals.release()
            return answer

    async with Gated.from_url(valkey_url + most) as client:
        await check(aiofs.RedisFileSystem(client=client, lease=LEASE), gate)


@pytest.mark.parametrize("direct", [True, False])
async def test_s3(s3_server: S3Server, front: Callable[[str], Awaitable[Front]], direct: bool) -> None:
    gate = Gate()

    async def meddle(asked: Asked) -> None:
        if asked.method == "GET" and asked.path.endswith("/read"):
            await gate.hold()
        if asked.method == "PUT" and "if-match" in asked.headers and ".aiofs-locks/" in asked.path:
            gate.renewals.release()

    made = await front(s3_server.endpoint_url)
    fs = aiofs.S3FileSystem(
        s3_server.bucket,
        endpoint_url=s3_server.through(made.port).endpoint_url,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        lease=LEASE,
        direct=direct,
    )
    await fs.write_bytes("first", b"")  # by which it is found out how the store treats conditions
    made.meddle = meddle
    await check(fs, gate)


async def test_azure(azurite: AzureAccount, front: Callable[[str], Awaitable[Front]]) -> None:
    gate = Gate()

    async def meddle(asked: Asked) -> None:
        if asked.method == "GET" and asked.path.endswith("/read"):
            await gate.hold()
        if asked.headers.get("x-ms-lease-action") == "renew":
            gate.renewals.release()

    made = await front(f"http://127.0.0.1:{azurite.port}")
    made.meddle = meddle
    account = azurite.through(made.port)
    await check(
        aiofs.AzureFileSystem(azurite.container, connection_string=account.connection_string, lease=LEASE),
        gate,
    )
