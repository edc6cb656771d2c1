"""A container as aiofs sees it, and as the SDK does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import ContainerClient

from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from servers.azurite.server import AzureAccount


@pytest.fixture
async def fs(azurite: AzureAccount) -> AsyncIterator[AzureFileSystem]:
    async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as system:
        yield system


@pytest.fixture
def raw(azurite: AzureAccount) -> Iterator[ContainerClient]:
    with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as client:
        yield client
