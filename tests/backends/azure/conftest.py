"""A container as aiofs sees it, and as the SDK does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.storage.blob import ContainerClient

from aiofs.backends.azure.client import Container
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from servers.azurite.server import AzureAccount


@pytest.fixture
async def fs(azurite: AzureAccount) -> AsyncIterator[AzureFileSystem]:
    async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as system:
        yield system


@pytest.fixture
def raw(azurite: AzureAccount) -> Iterator[ContainerClient]:
    with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as client:
        yield client


@pytest.fixture
def answers_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer of each request that publishes something is lost."""
    asked = Container.ask

    async def lossy(self: Container, path: str | None, call: Callable[[], Awaitable[object]], **rest: Any) -> object:
        lost = False

        async def once() -> object:
            nonlocal lost
            answer = await call()
            if not lost and rest.get("settled"):
                lost = True
                raise ServiceResponseError("the answer was lost")
            return answer

        return await asked(self, path, once, **rest)

    monkeypatch.setattr(Container, "ask", lossy)
