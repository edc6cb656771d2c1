"""Copies between two containers of an account."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import ContainerClient

import aiofs
from aiofs.backends.azure.driver import AzureDriver
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.azurite.server import AzureAccount


@pytest.fixture
def other_container(azurite: AzureAccount) -> Iterator[str]:
    name = f"other-{uuid.uuid4().hex}"
    with ContainerClient.from_connection_string(azurite.connection_string, name) as client:
        client.create_container()
        yield name
        client.delete_container()


async def test_the_service_copies_between_containers(
    fs: AzureFileSystem, azurite: AzureAccount, other_container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AzureFileSystem(other_container, connection_string=azurite.connection_string) as other:
        await fs.write_bytes("file", b"bytes", metadata={"k": "v"}, content_type="text/x")

        def refuse(*_: object, **__: object) -> None:
            pytest.fail("the bytes were read here")

        monkeypatch.setattr(AzureDriver, "read", refuse)
        entry = await aiofs.copy(fs / "file", other.at("folder") / "copy")
        found = await other.stat("folder/copy")
        assert (entry.path, entry.version, entry.size) == ("copy", found.version, 5)
        assert (found.metadata, found.content_type) == ({"k": "v"}, "text/x")
        await aiofs.move(other / "folder/copy", fs / "back")
        assert await other.ls() == []
        assert await fs.ls() == ["back", "file"]
