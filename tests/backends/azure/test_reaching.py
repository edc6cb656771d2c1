"""Accounts that cannot be reached as they are set up, and containers that are gone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NoReturn

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobClient

import aiofs
from aiofs.backends.azure.client import PART
from aiofs.driver import MIB
from aiofs.errors import StoreMissing
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from azure.storage.blob import ContainerClient

    from servers.azurite.server import AzureAccount
    from servers.proxy import FaultProxy

pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


async def test_a_certificate_that_is_not_trusted_is_refused_at_once(
    azurite_with_tokens: AzureAccount, fault_proxy: Callable[[int], Awaitable[FaultProxy]]
) -> None:
    proxy = await fault_proxy(azurite_with_tokens.port)
    account = azurite_with_tokens.through(proxy.port)
    async with AzureFileSystem(account.container, connection_string=account.connection_string) as fs:
        with pytest.raises(ConnectionError, match=r"certificate of 127\.0\.0\.1 is not trusted") as caught:
            await fs.read_bytes("file")
    assert not caught.value.retryable  # type: ignore[attr-defined]
    assert proxy.connections == 1, "tried again, though it cannot be otherwise"


async def test_a_host_that_does_not_exist_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []

    def unknown(host: str, *_: object, **__: object) -> NoReturn:
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with AzureFileSystem("container", account_url="https://nobody.blob.nowhere.invalid") as fs:
        with pytest.raises(ConnectionError, match=r"there is no host nobody\.blob\.nowhere\.invalid") as caught:
            await fs.read_bytes("file")
    assert not caught.value.retryable  # type: ignore[attr-defined]
    assert looked_up == ["nobody.blob.nowhere.invalid"]


async def transact(fs: AzureFileSystem, size: int) -> None:
    async with aiofs.transaction(fs) as tx:
        await tx.write_bytes("one", bytes(size))
        await tx.write_bytes("other", bytes(size))


@pytest.mark.parametrize("says", ["ContainerNotFound", None])
async def test_a_container_that_is_gone_is_no_missing_file(
    fs: AzureFileSystem, monkeypatch: pytest.MonkeyPatch, says: str | None
) -> None:
    """Some servers, and what stands before them, only say that something is not found."""

    async def gone(*_: object, **__: object) -> NoReturn:
        error = ResourceNotFoundError("not found")
        error.status_code, error.error_code = 404, says  # type: ignore[attr-defined]
        raise error

    for name in ("upload_blob", "stage_block", "commit_block_list", "get_blob_properties"):
        monkeypatch.setattr(BlobClient, name, gone)
    for attempt in (
        lambda: fs.write_bytes("file", b"small"),
        lambda: fs.write_bytes("file", bytes(PART + 1)),
        lambda: transact(fs, 10),
        lambda: transact(fs, MIB),
    ):
        with pytest.raises(StoreMissing):
            await attempt()


@pytest.mark.parametrize("size", [10, 2 * PART + 1])
async def test_a_container_that_goes_while_a_file_is_written_is_no_missing_file(
    azurite: AzureAccount, raw: ContainerClient, size: int
) -> None:
    async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as fs:
        try:
            with pytest.raises(StoreMissing) as caught:
                async with fs.open("file", "w") as file:
                    await file.write(bytes(size))
                    raw.delete_container()
            assert caught.value.filename == "file"
        finally:
            raw.create_container()
