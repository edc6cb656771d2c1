"""The contract of transactions on Azure blobs, over Azurite or the account of AIOFS_TEST_AZURE."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient

from aiofs.backends.azure.driver import AzureDriver
from aiofs.backends.azure.names import LOCKS
from aiofs.stores import AzureFileSystem
from aiofs.testing import Harness, TransactionContract
from aiofs.testing.harness import number_of
from servers.leases import lease_for

if TYPE_CHECKING:
    from servers.azurite.server import AzureAccount

SHORT = 15  # the shortest that the service grants


def break_leases(account: AzureAccount) -> None:
    """End the leases of all locks."""
    with account.client() as client:
        for lock in client.list_blobs(name_starts_with=LOCKS):
            with suppress(ResourceExistsError, ResourceNotFoundError):  # it is not leased, or gone by now
                BlobLeaseClient(client.get_blob_client(lock.name)).break_lease(0)


class TestAzure(TransactionContract):
    declares = AzureDriver.capabilities

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, azurite: AzureAccount) -> Harness:
        """Return the harness. In a test that waits often, leases are broken; in the others, they run out."""
        lease = lease_for(request, SHORT)
        connect = partial(AzureFileSystem, azurite.container, connection_string=azurite.connection_string, lease=lease)
        waits_often = number_of(request.function.__name__) == 88
        lapse = partial(asyncio.to_thread, break_leases, azurite) if waits_often else None
        return Harness(connect=connect, lease=lease, lapse=lapse, fenced=True)
