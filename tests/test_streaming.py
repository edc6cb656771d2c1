"""Large files pass through with little memory: of 96 MiB, in a full run of 256.

S3's own test takes more, to a server that keeps nothing.
"""

from __future__ import annotations

import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import aiofs

if TYPE_CHECKING:
    from servers.azurite.server import AzureAccount

MIB = 1 << 20
PIECES = 256 if os.environ.get("AIOFS_TEST_FULL") else 96
MUCH = 64 * MIB
pytestmark = pytest.mark.may_block  # it measures


async def check(fs: aiofs.FileSystem) -> None:
    async with fs:
        piece = bytes(MIB)
        await fs.write_bytes("warm", piece)
        tracemalloc.start()
        try:
            async with fs.open("large", "w") as file:
                for _ in range(PIECES):
                    await file.write(piece)
            size = 0
            async with fs.open("large") as file:
                while data := await file.read(MIB):
                    size += len(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert size == PIECES * MIB
        assert peak < MUCH
        await fs.rm("large")


@pytest.mark.parametrize("chunked", [False, True])
async def test_redis(valkey_url: str, chunked: bool) -> None:
    await check(aiofs.RedisFileSystem(valkey_url, chunked=chunked))


async def test_azure(azurite: AzureAccount) -> None:
    await check(aiofs.AzureFileSystem(azurite.container, connection_string=azurite.connection_string))
