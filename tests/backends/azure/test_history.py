"""Old versions of a blob: snapshots, which Azurite has, and versions, for which a server before it stands in."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobSasPermissions,
    ResourceTypes,
    StandardBlobTier,
    generate_account_sas,
)

from aiofs.backends.azure.driver import AzureDriver
from aiofs.errors import Archived, Locked, NotFound, Unsupported
from aiofs.stores import AzureFileSystem
from aiofs.transactions.fsck import fsck
from servers.azurite.versions import versioning

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from servers.azurite.server import AzureAccount

LARGE = bytes(range(256)) * 4096 * 9  # 9 MiB
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


def signature(account: AzureAccount) -> str:
    """Return an account's signature: Azurite takes those of containers for snapshots only if they name the snapshot."""
    return generate_account_sas(
        account.name,
        account.key,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions.from_string("racwdlt"),
        expiry="2099-01-01T00:00:00Z",
    )


def snapshot(raw: ContainerClient, name: str) -> str:
    return str(raw.get_blob_client(name).create_snapshot()["snapshot"])


@pytest.mark.parametrize("signs", [True, False])
async def test_snapshots_are_listed_read_and_restored(azurite: AzureAccount, raw: ContainerClient, signs: bool) -> None:
    credential = azurite.key if signs else signature(azurite)
    async with AzureFileSystem(azurite.container, account_url=azurite.url, credential=credential) as fs:
        await fs.write_bytes("file", b"first", metadata={"n": "1"}, content_type="text/first", tags={"a": "b"})
        await fs.write_bytes("file.txt", b"another file")
        snapshot(raw, "file.txt")
        assert [entry.version_id for entry in await fs.history("file")] == ["current"]
        ids = [f"snapshot:{snapshot(raw, 'file')}"]
        await fs.write_bytes("file", LARGE)
        ids.append(f"snapshot:{snapshot(raw, 'file')}")
        await fs.write_bytes("file", b"third")
        current, *entries = await fs.history("file")
        assert (current.size, current.version_id) == (5, "current")
        async with fs.open("file", version_id="current") as file:
            assert await file.read() == b"third"
        assert (await fs.restore("file", "current")).version == current.version
        assert [(entry.path, entry.version_id) for entry in entries] == [("file", ids[1]), ("file", ids[0])]
        assert [entry.size for entry in entries] == [len(LARGE), 5]
        assert (entries[1].metadata, entries[1].content_type) == ({"n": "1"}, "text/first")
        async with fs.open("file", version_id=ids[1]) as file:
            await file.seek(5)
            assert await file.read() == LARGE[5:]
        assert await fs.read_bytes("file") == b"third"
        restored = await fs.restore("file", ids[0])
        entry = await fs.stat("file")
        assert restored.version == entry.version
        assert (entry.metadata, entry.content_type) == ({"n": "1"}, "text/first")
        assert await fs.read_bytes("file") == b"first"
        await fs.restore("file", ids[1])
        assert await fs.read_bytes("file") == LARGE
        async with fs.at("").open("file", version_id=ids[0]) as file:
            assert await file.read() == b"first"


@pytest.mark.parametrize("version_id", ["snapshot:2020-01-01T00:00:00.0000000Z", "nonsense", ""])
async def test_what_is_not_there_is_not_found(fs: AzureFileSystem, version_id: str) -> None:
    await fs.write_bytes("file", b"bytes")
    with pytest.raises(NotFound) as missing:
        await fs.history("missing")
    assert missing.value.filename == "missing"
    for attempt in (fs.open("file", version_id=version_id), fs.restore("file", version_id)):
        with pytest.raises(NotFound, match="there is no version") as caught:
            await attempt
        assert caught.value.filename == "file"
    assert await fs.read_bytes("file") == b"bytes"


async def test_restoring_is_a_write(fs: AzureFileSystem, raw: ContainerClient) -> None:
    await fs.write_bytes("file", b"bytes")
    number = f"snapshot:{snapshot(raw, 'file')}"
    async with fs.open("file", "w"):
        with pytest.raises(Locked):
            await fs.restore("file", number)
    raw.get_blob_client("file").set_standard_blob_tier(StandardBlobTier.ARCHIVE)
    raw.get_blob_client("log").create_append_blob()
    with pytest.raises(Unsupported, match="append blob"):
        await fs.restore("log", f"snapshot:{snapshot(raw, 'log')}")
    with pytest.raises(Archived):
        await fs.read_bytes("file")


async def test_versions_are_listed_read_and_restored(azurite: AzureAccount) -> None:
    async with versioning(azurite.port) as port:
        account = azurite.through(port)
        async with AzureFileSystem(account.container, account_url=account.url, credential=signature(account)) as fs:
            for data in (b"first", LARGE, b"third"):
                await fs.write_bytes("file", data)
            entries = await fs.history("file")
            assert [entry.size for entry in entries] == [5, len(LARGE), 5]
            ids = [entry.version_id or "" for entry in entries]
            assert ids == sorted(ids, reverse=True)
            assert not any(number.startswith("snapshot:") for number in ids)
            for number, data in zip(ids, (b"third", LARGE, b"first"), strict=True):
                async with fs.open("file", version_id=number) as file:
                    assert await file.read() == data
            await fs.restore("file", ids[2])
            assert await fs.read_bytes("file") == b"first"
            assert len(await fs.history("file")) == 4
            for attempt in (
                fs.open("file", version_id="2020-01-01T00:00:00Z"),
                fs.restore("file", "2020-01-01T00:00:00Z"),
            ):
                with pytest.raises(NotFound, match="there is no version"):
                    await attempt


async def test_old_versions_of_hidden_blobs_are_reported_and_removed(azurite: AzureAccount) -> None:
    async with versioning(azurite.port) as port:
        account = azurite.through(port)
        async with AzureFileSystem(account.container, account_url=account.url, credential=signature(account)) as fs:
            for data in (b"first", b"second"):
                await fs.write_bytes("file", data)
            driver = fs.at("folder").driver
            for folder in ("", "folder/"):
                blob = fs.driver._container.blob(f"{folder}.aiofs-journal/unit")  # type: ignore[attr-defined]
                for number in range(3):
                    await blob.upload_blob(b"%d" % number, overwrite=True)
            for system, where in ((fs, ""), (fs.at("folder"), "folder/")):
                (found,) = await fsck(system)
                assert (found.kind, found.path, found.live) == ("old versions", ".aiofs", False)
                assert "2 old versions" in found.why
                assert f"'{account.container}/{where}.aiofs'" in found.why, "the rule to set"
                assert [left.fixed for left in await fsck(system, fix=True)] == [True]
                assert await fsck(system) == []
            assert (await driver.stat(".aiofs-journal/unit")).size == 1, "the present one stays"
            assert len(await fs.history("file")) == 2


async def test_an_old_version_has_a_url_of_its_own(azurite: AzureAccount, raw: ContainerClient) -> None:
    async with AzureFileSystem(azurite.container, account_url=azurite.url, credential=azurite.key) as fs:
        await fs.write_bytes("file", b"old")
        time = snapshot(raw, "file")
        await fs.write_bytes("file", b"new")
        driver = fs.driver
        assert isinstance(driver, AzureDriver)
        read = BlobSasPermissions(read=True)
        url = await driver._signer.url("file", read, 60, snapshot=time)
        assert url is not None

        def get() -> bytes:
            with urllib.request.urlopen(url) as answer:
                body: bytes = answer.read()
                return body

        assert await asyncio.to_thread(get) == b"old"
        url = await driver._signer.url("file", read, 60, version_id=time)
        query = parse_qs(urlsplit(url or "").query)
        assert (query["versionid"], query["sr"]) == ([time], ["bv"])
