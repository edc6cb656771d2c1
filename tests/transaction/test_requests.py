"""What a transaction costs on S3, in requests beside those of plain writes."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.stores import S3FileSystem
from backends.s3.front import Front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servers.moto import S3Server


@pytest.fixture
async def counted(s3_server: S3Server) -> AsyncIterator[tuple[S3FileSystem, Front]]:
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(Front(s3_server.endpoint_url))
        server = s3_server.through(front.port)
        fs = S3FileSystem(
            server.bucket,
            endpoint_url=server.endpoint_url,
            access_key=server.access_key,
            secret_key=server.secret_key,
            region=server.region,
        )
        yield await stack.enter_async_context(fs), front


async def test_ten_small_files(counted: tuple[S3FileSystem, Front]) -> None:
    fs, front = counted
    async with aiofs.transaction(fs) as tx:  # the first one looks for unfinished ones
        await tx.write_bytes("warm", b"up")
    for what in ("new", "overwritten"):
        front.asked.clear()
        for number in range(10):
            await fs.write_bytes(f"plain/{number}", b"x")
        plain = Counter(front.verbs)
        plain["HEAD"] -= plain["HEAD"] - 10  # the first write of all looks for the bucket as well
        front.asked.clear()
        async with aiofs.transaction(fs) as tx:
            for number in range(10):
                await tx.write_bytes(f"tx/{number}", b"x" + what.encode())
        assert front.verbs.count("GET") == 10  # what is to be replaced, in place of the plain write's HEAD
        assert len(front.verbs) == sum(plain.values()) + 2  # the decision, and its removal


async def test_reading_costs_nothing_extra(counted: tuple[S3FileSystem, Front]) -> None:
    fs, front = counted
    await fs.write_bytes("file", b"x")
    async with aiofs.transaction(fs):
        pass
    front.asked.clear()
    async with aiofs.transaction(fs) as tx:
        assert await tx.read_bytes("file") == b"x"
        assert await fs.read_bytes("file") == b"x"
    assert front.verbs == ["GET", "GET"]
