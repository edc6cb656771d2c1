"""Six hundred blobs in pages of thirty; with `AIOFS_TEST_FULL=1` ten thousand in pages of five hundred."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob.aio import ContainerClient

from aiofs.backends.azure.driver import AzureDriver
from aiofs.filesystem import FileSystem

if TYPE_CHECKING:
    from servers.azurite.server import AzureAccount

COUNT = 10_000 if os.environ.get("AIOFS_TEST_FULL") else 600
PAGE = COUNT // 20
NAMES = [f"folder/{number:05}" for number in range(COUNT)]
AT_ONCE = 16


@pytest.mark.timeout(300)
@pytest.mark.may_block  # the SDK does in its client
async def test_they_are_listed_in_pages_with_flat_memory(azurite: AzureAccount) -> None:
    async with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as client:

        async def upload(names: list[str]) -> None:
            for name in names:
                await client.upload_blob(name, b"")

        await asyncio.gather(*(upload(NAMES[first::AT_ONCE]) for first in range(AT_ONCE)))
    driver = AzureDriver(azurite.container, connection_string=azurite.connection_string, page=PAGE)
    kept = []
    async with FileSystem(driver) as fs:
        assert await fs.ls("folder") == NAMES
        tracemalloc.start()
        try:
            listed = 0
            async for _ in fs.ls():
                listed += 1
                if listed in {COUNT // 5, COUNT}:
                    gc.collect()  # the SDK's answers hold themselves in cycles
                    kept.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert listed == COUNT
    assert kept[1] < 2 * kept[0], "pages are kept: five times as many take that much more"
