"""The contract on Azure blobs, over Azurite or the account of AIOFS_TEST_AZURE."""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import ContainerClient

from aiofs.backends.azure.driver import AzureDriver
from aiofs.backends.azure.names import check_name
from aiofs.backends.azure.writing import LARGEST_PUT
from aiofs.filesystem import FileSystem
from aiofs.stores import AzureFileSystem
from aiofs.testing import Contract, Harness
from servers.leases import lease_for
from servers.process import NOBODY

if TYPE_CHECKING:
    from servers.azurite.server import AzureAccount

SHORT = 15  # the shortest that the service grants
PART = 2 * LARGEST_PUT  # enough to take several requests
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
WRONG = base64.b64encode(b"a key that opens nothing").decode()


def connect(account: AzureAccount, lease: int) -> AzureFileSystem:
    """A file system in the account's container."""
    settings: dict[str, Any] = {"connection_string": account.connection_string, "lease": lease, "part_size": PART}
    return AzureFileSystem(account.container, **settings)


def cannot_hold(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return True
    return False


@pytest.mark.both_loops(full=True)
@pytest.mark.timeout(3600 if FULL else 600)  # several behaviours wait until a lease has expired, one counts to 3200
class TestAzure(Contract):
    declares = AzureDriver.capabilities
    server = True
    credentials = True

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, azurite: AzureAccount) -> Harness:
        lease = lease_for(request, SHORT)

        def put(path: str, data: bytes) -> None:
            with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as client:
                client.upload_blob(path, data, overwrite=True)

        async def meddle(path: str, data: bytes) -> None:
            await asyncio.to_thread(put, path, data)

        def paged(size: int) -> FileSystem:
            return FileSystem(AzureDriver(azurite.container, connection_string=azurite.connection_string, page=size))

        away = azurite.through(NOBODY)
        return Harness(
            connect=partial(connect, azurite, lease),
            lease=lease,
            fenced=True,
            cannot_hold=cannot_hold,
            paged=paged,
            unreachable=lambda: connect(away, lease),
            denied=lambda: connect(replace(azurite, key=WRONG), lease),
            secrets=[azurite.key, WRONG],
            meddle=meddle,
            model_examples=3,  # each operation is several requests
            every_moment=FULL,
        )
