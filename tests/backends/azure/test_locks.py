"""Locks that are taken over from writers who died."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient
from azure.storage.blob.aio import BlobClient

from aiofs.backends.azure.locks import lock_name
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from servers.azurite.server import AzureAccount


@pytest.mark.may_block  # it looks from outside with a client that blocks
async def test_a_lock_that_cannot_be_labelled_is_given_back(
    azurite: AzureAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as outside:
        outside.upload_blob(lock_name("file"), b"")  # what a writer who died left of the lock
    async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as fs:

        async def refuse(self: BlobClient, *_: object, **__: object) -> None:
            raise HttpResponseError(f"no label for {self.blob_name}")

        with monkeypatch.context() as patch:
            patch.setattr(BlobClient, "set_blob_metadata", refuse)
            with pytest.raises(OSError, match="no label"):
                await fs.write_bytes("file", b"refused")
        await fs.write_bytes("file", b"written")
        assert await fs.read_bytes("file") == b"written"
