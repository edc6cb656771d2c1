"""The contract of transactions on Azure blobs, over Azurite or the account of AIOFS_TEST_AZURE."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.azure.driver import AzureDriver
from aiofs.stores import AzureFileSystem
from aiofs.testing import Harness, TransactionContract
from servers.leases import lease_for

if TYPE_CHECKING:
    from servers.azurite.server import AzureAccount

SHORT = 15  # the shortest that the service grants


class TestAzure(TransactionContract):
    declares = AzureDriver.capabilities

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, azurite: AzureAccount) -> Harness:
        lease = lease_for(request, SHORT)
        connect = partial(AzureFileSystem, azurite.container, connection_string=azurite.connection_string, lease=lease)
        return Harness(connect=connect, lease=lease, fenced=True)
