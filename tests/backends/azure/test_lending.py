"""A client of the SDK that the user lends, and the size of parts."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobClient, ContainerClient

from aiofs.backends.azure.client import PART
from aiofs.driver import MIB
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient as BlockingClient

    from servers.azurite.server import AzureAccount

pytestmark = pytest.mark.may_block  # the SDK does in its client


def lent_by(account: AzureAccount, **settings: Any) -> ContainerClient:
    return ContainerClient.from_connection_string(account.connection_string, account.container, **settings)


async def test_a_lent_client_is_not_closed(azurite: AzureAccount) -> None:
    async with lent_by(azurite) as client:
        for _ in range(2):
            async with AzureFileSystem(azurite.container, client=client) as fs:
                await fs.write_bytes("file", bytes(PART + 1))
                await fs.copy("file", "copy")
                async with fs.open("copy", "a") as file:
                    await file.write(b"end")
                assert await fs.read_bytes("copy") == bytes(PART + 1) + b"end"
                assert await fs.ls() == ["copy", "file"]
                assert str(fs.driver) == f"Azure container {azurite.container} at {client.primary_hostname}"
            with pytest.raises(ValueError, match="closed"):
                await fs.ls()
        assert (await client.get_blob_client("file").get_blob_properties()).size == PART + 1


class LosesAnswers(AioHttpTransport):
    """Loses the first answer to a request that publishes or uploads bytes, of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []

    async def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
        answer = await super().send(request, **options)
        kind = f"{request.method} {request.query.get('comp', '')}"
        if "/file" in request.url and request.method in {"PUT", "DELETE"} and kind not in self.lost:
            self.lost.append(kind)
            raise ServiceResponseError("the answer was lost")
        return answer


@pytest.mark.parametrize("size", [10, MIB + 1])
async def test_a_lent_client_repeats_no_request_by_itself(azurite: AzureAccount, size: int) -> None:
    """Its own new attempts would find the file that the first one wrote, and report a conflict."""
    transport = LosesAnswers()
    async with (
        lent_by(azurite, transport=transport, initial_backoff=0, increment_base=0) as client,
        AzureFileSystem(azurite.container, client=client, part_size=MIB) as fs,
    ):
        async with fs.open("file", "x") as file:
            await file.write(bytes(size))
        assert await fs.read_bytes("file") == bytes(size)
        await fs.rm("file")
    assert transport.lost == (["PUT ", "DELETE "] if size == 10 else ["PUT block", "PUT blocklist", "DELETE "])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"account_url": "https://name.blob.core.windows.net"}, "or lend a client="),
        ({"credential": "a2V5"}, "leave out credential="),
        ({"container": "another"}, "is for the container 'container', not 'another'"),
    ],
)
async def test_what_a_lent_client_excludes(settings: dict[str, Any], words: str) -> None:
    async with ContainerClient("https://name.blob.core.windows.net", "container") as client:
        with pytest.raises(ValueError, match=words):
            AzureFileSystem(**{"container": "container", "client": client, **settings})
        fs = AzureFileSystem("container", client=client)
        with pytest.raises(TypeError, match="lent cannot be pickled: give account_url="):
            pickle.dumps(fs.driver)


def test_a_blocking_client_cannot_be_lent(raw: BlockingClient) -> None:
    with pytest.raises(TypeError, match=r"takes a ContainerClient of azure\.storage\.blob\.aio"):
        AzureFileSystem(raw.container_name, client=raw)  # type: ignore[arg-type]


async def test_large_files_are_uploaded_in_parts(azurite: AzureAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    stage = BlobClient.stage_block

    async def counted(self: BlobClient, *given: Any, length: int, **rest: Any) -> Any:
        sizes.append(length)
        return await stage(self, *given, length=length, **rest)

    monkeypatch.setattr(BlobClient, "stage_block", counted)
    async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string, part_size=3 * MIB) as fs:
        await fs.write_bytes("file", bytes(7 * MIB))
        assert await fs.read_bytes("file") == bytes(7 * MIB)
    assert sorted(sizes) == [MIB, 3 * MIB, 3 * MIB]


@pytest.mark.parametrize("size", [MIB - 1, 100 * MIB + 1, 8.5])
def test_sizes_that_parts_cannot_have(size: Any) -> None:
    with pytest.raises(ValueError, match="part_size must be a whole number from 1048576 to 104857600"):
        AzureFileSystem("container", account_url="https://name.blob.core.windows.net", part_size=size)
