"""What a blob says of itself: settable per file, told by `stat` and listings, and kept by changes and copies."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import (
    BlobBlock,
    ContentSettings,
    StandardBlobTier,
)

import aiofs
from aiofs.errors import AccessDenied, Archived
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from aiofs.driver import Entry
    from aiofs.properties import Properties
    from servers.azurite.server import AzureAccount

PROPERTIES: Properties = {
    "content_type": "text/csv; charset=utf-8",
    "cache_control": "max-age=60",
    "content_disposition": 'attachment; filename="may.csv"',
    "content_encoding": "br",
    "content_language": "de",
    "storage_class": "Cool",
    "tags": {"project": "a b", "state": "1/2"},
}
METADATA = {"by": " é "}
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


def said(entry: Entry, *, without: str = "") -> dict[str, object]:
    told = {"content_type": entry.content_type, **(entry.properties or {})}
    return {name: value for name, value in told.items() if name != without}


@pytest.mark.parametrize("size", [4, 3 << 20], ids=["one request", "blocks"])
@pytest.mark.parametrize("signs", [True, False])
async def test_they_are_set_told_and_kept(azurite: AzureAccount, size: int, signs: bool) -> None:
    credential = azurite.key if signs else azurite.signature("racwdlt")
    async with AzureFileSystem(azurite.container, account_url=azurite.url, credential=credential) as fs:
        await fs.write_bytes("file", bytes(size), metadata=METADATA, **PROPERTIES)
        for mode in ("a", "r+"):
            async with fs.open("file", mode) as file:
                await file.write(b"more")
            assert said(await fs.stat("file")) == PROPERTIES
        await fs.copy("file", "copy")
        await fs.move("copy", "moved")
        async with aiofs.transaction(fs) as tx:
            async with tx.open("moved", "a") as file:
                await file.write(b"more")
            await tx.copy("file", "copy")
        for name in ("file", "moved"):
            entry = await fs.stat(name)
            assert (said(entry), entry.metadata) == (PROPERTIES, METADATA)
        entries = {entry.path: entry async for entry in fs.scan()}
        assert list(entries) == ["copy", "file", "moved"]
        for entry in entries.values():
            assert said(entry) == {name: value for name, value in PROPERTIES.items() if name != "tags"}
            assert entry.metadata == METADATA
        async with fs.open("file", "w") as file:
            await file.write(b"new")
        entry = await fs.stat("file")
        assert (said(entry), entry.metadata) == ({"content_type": "application/octet-stream"}, {})


async def test_tags_that_may_not_be_read_are_not_lost(azurite: AzureAccount, fs: AzureFileSystem) -> None:
    await fs.write_bytes("file", b"bytes", tags={"a": "b"})
    credential = azurite.signature("racwdl")
    async with AzureFileSystem(azurite.container, account_url=azurite.url, credential=credential) as other:
        assert (await other.stat("file")).properties is None
        assert await other.read_bytes("file") == b"bytes"
        for mode in ("a", "r+"):
            with pytest.raises(AccessDenied, match="permission for tags"):
                async with other.open("file", mode) as file:
                    await file.write(b"more")
        with pytest.raises(AccessDenied, match="permission for tags"):
            await other.copy("file", "copy")
        await other.write_bytes("file", b"new")
    assert (await fs.stat("file")).properties is None


async def test_a_digest_is_told_where_the_service_knows_it(fs: AzureFileSystem, raw: ContainerClient) -> None:
    await fs.write_bytes("file", b"bytes")
    expected = f"md5:{hashlib.md5(b'bytes', usedforsecurity=False).hexdigest()}"
    assert (await fs.stat("file")).digest == expected
    assert [entry.digest async for entry in fs.scan()] == [expected]
    stream = await fs.driver.read("file", 1, 3)  # it is that of the whole file
    assert stream.entry.digest == expected
    await stream.aclose()
    raw.get_blob_client("blocks").stage_block("0", b"bytes")
    raw.get_blob_client("blocks").commit_block_list([BlobBlock("0")])
    raw.get_blob_client("log").create_append_blob(ContentSettings(content_md5=bytearray(16)))
    assert [(await fs.stat(name)).digest for name in ("blocks", "log")] == [None, None]


async def test_another_tier_is_refused(fs: AzureFileSystem) -> None:
    with pytest.raises(ValueError, match="use Hot, Cool, Cold or Archive"):
        await fs.write_bytes("file", b"bytes", storage_class="GLACIER")
    await fs.write_bytes("file", b"bytes", storage_class="cold")
    assert said(await fs.stat("file"))["storage_class"] == "Cold"


async def test_an_archived_blob_says_what_to_do(fs: AzureFileSystem, raw: ContainerClient) -> None:
    await fs.write_bytes("file", b"bytes", storage_class="Archive")
    attempts = [fs.read_bytes("file"), fs.copy("file", "copy"), fs.move("file", "copy"), fs.write_bytes("file", b"x")]
    attempts += [fs.open("file", mode).__aenter__() for mode in ("r", "r+", "a", "w")]
    for attempt in attempts:
        with pytest.raises(Archived, match="set its tier to hot, cool or cold") as caught:
            await attempt
        assert caught.value.filename == "file"
    assert said(await fs.stat("file"))["storage_class"] == "Archive"
    assert await fs.ls() == ["file"]
    raw.get_blob_client("file").set_standard_blob_tier(StandardBlobTier.HOT)
    assert await fs.read_bytes("file") == b"bytes"
    await fs.rm("file")


@pytest.mark.parametrize("name", ["content_type", "cache_control", "storage_class"])
@pytest.mark.parametrize("value", ["a\nb", "é", " a", "a "])
async def test_what_headers_cannot_carry_is_refused_before_anything_is_asked(
    azurite: AzureAccount, name: str, value: str
) -> None:
    fs = AzureFileSystem("nowhere", account_url="http://127.0.0.1:9/account", credential=azurite.key)
    with pytest.raises(ValueError, match=r"control character|printable ASCII"):
        await fs.write_bytes("file", b"", **{name: value})  # type: ignore[arg-type]
