"""What is Azure's own: blobs, blocks, conditions, URLs, and what is sent."""

from __future__ import annotations

import asyncio
import gzip
import random
import traceback
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import (
    BlobClient,
    ContainerClient,
    ContentSettings,
)

from aiofs.backends.azure.client import PART
from aiofs.backends.azure.driver import AzureDriver
from aiofs.backends.azure.writing import LARGEST_PUT
from aiofs.errors import AccessDenied, AlreadyExists, Conflict, StoreMissing
from aiofs.powers import Notes
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from servers.azurite.server import AzureAccount
    from servers.proxy import FaultProxy

LARGE = bytes(range(256)) * 4096 * 20  # 20 MiB
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


def blocks(blob: BlobClient) -> list[str]:
    return [block.id for block in blob.get_block_list("committed")[0]]


async def test_a_file_is_the_blob_of_its_name(fs: AzureFileSystem, raw: ContainerClient) -> None:
    await fs.write_bytes("folder/page.html", b"<p>")
    blob = raw.get_blob_client("folder/page.html")
    assert blob.download_blob().readall() == b"<p>"
    assert blob.get_blob_properties().content_settings.content_type == "text/html"
    assert [found.name for found in raw.list_blobs()] == ["folder/page.html"]


async def test_a_small_file_is_one_request_and_a_large_one_has_blocks(
    fs: AzureFileSystem, raw: ContainerClient
) -> None:
    await fs.write_bytes("small", b"x" * LARGEST_PUT)
    await fs.write_bytes("large", LARGE)
    assert blocks(raw.get_blob_client("small")) == []
    assert len(blocks(raw.get_blob_client("large"))) == 3
    assert raw.download_blob("large").readall() == LARGE


async def test_editing_keeps_the_blocks_that_do_not_change(fs: AzureFileSystem, raw: ContainerClient) -> None:
    await fs.write_bytes("large", LARGE)
    before = blocks(raw.get_blob_client("large"))
    async with fs.open("large", "r+") as file:
        await file.seek(9 * 1024 * 1024)
        await file.write(b"changed")
    after = blocks(raw.get_blob_client("large"))
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    async with fs.open("large", "a") as file:
        await file.write(b"tail")
    assert blocks(raw.get_blob_client("large"))[:2] == after[:2]
    expected = bytearray(LARGE + b"tail")
    expected[9 << 20 : (9 << 20) + 7] = b"changed"
    assert raw.download_blob("large").readall() == expected


@pytest.mark.parametrize(("size", "length"), [(3 << 20, 40), (3 << 20, 8), (20 << 20, 0)])
async def test_editing_what_another_program_wrote(
    fs: AzureFileSystem, raw: ContainerClient, size: int, length: int
) -> None:
    blob = raw.get_blob_client("foreign.txt")
    if length:
        names = [f"{number:0{length}}" for number in range(0, len(LARGE), size)]
        for number, name in enumerate(names):
            blob.stage_block(name, LARGE[number * size : (number + 1) * size])
        blob.commit_block_list(names)
    else:
        blob.upload_blob(LARGE)
    async with fs.open("foreign.txt", "r+") as file:
        await file.seek(10)
        await file.write(b"changed")
    assert blob.download_blob().readall() == LARGE[:10] + b"changed" + LARGE[17:]


async def test_the_type_of_the_content_survives_editing(fs: AzureFileSystem, raw: ContainerClient) -> None:
    await fs.write_bytes("page.html", b"<p>")
    async with fs.open("page.html", "a") as file:
        await file.write(b"</p>")
    assert raw.get_blob_client("page.html").get_blob_properties().content_settings.content_type == "text/html"


async def test_what_is_stored_encoded_is_read_as_it_is_stored(fs: AzureFileSystem, raw: ContainerClient) -> None:
    body = gzip.compress(random.Random(1).randbytes(PART + 10))
    raw.upload_blob("page.html", body, content_settings=ContentSettings(content_encoding="gzip"))
    assert await fs.read_bytes("page.html") == body
    async with fs.open("page.html", "a") as file:
        await file.write(b"more")
    assert await fs.read_bytes("page.html") == body + b"more"
    assert raw.get_blob_client("page.html").get_blob_properties().content_settings.content_encoding == "gzip"


@pytest.mark.parametrize("signs", [True, False])
async def test_a_copy_says_of_its_content_what_the_source_says(
    azurite: AzureAccount, raw: ContainerClient, signs: bool
) -> None:
    def told(name: str) -> list[str | None]:
        said = raw.get_blob_client(name).get_blob_properties().content_settings
        return [said.content_type, said.content_encoding, said.content_language, said.cache_control]

    settings = ContentSettings("text/x-own", "br", "de", cache_control="no-cache")
    raw.upload_blob("a.bin", bytes(PART + 1), content_settings=settings)
    credential = azurite.key if signs else azurite.signature("rwdl")
    async with AzureFileSystem(azurite.container, account_url=azurite.url, credential=credential) as fs:
        await fs.write_bytes("there.txt", b"other bytes")
        for name in ("new.bin", "there.txt"):
            await fs.copy("a.bin", name)
            assert await fs.read_bytes(name) == bytes(PART + 1)
            assert told(name) == ["text/x-own", "br", "de", "no-cache"]
        await fs.move("new.bin", "moved")
        assert told("moved") == told("a.bin")


async def test_a_reader_never_mixes_versions(fs: AzureFileSystem, raw: ContainerClient) -> None:
    await fs.write_bytes("large", LARGE)
    async with fs.open("large") as file:
        assert await file.read(10) == LARGE[:10]
        raw.upload_blob("large", b"other", overwrite=True)
        await file.seek(12 << 20)
        with pytest.raises(Conflict):
            await file.read()


async def test_what_is_published_meanwhile_is_not_overwritten(fs: AzureFileSystem, raw: ContainerClient) -> None:
    for data in (b"small", LARGE):
        await fs.write_bytes("file", b"old")
        file = await fs.open("file", "w")
        await file.write(data)
        raw.upload_blob("file", b"another's", overwrite=True)
        with pytest.raises(BlockingIOError):
            await file.close()
        assert await fs.read_bytes("file") == b"another's"


async def test_who_lost_the_lock_cannot_publish(azurite: AzureAccount, fs: AzureFileSystem) -> None:
    for data in (b"small", LARGE):
        await fs.write_bytes("file", b"old")
        lease = await fs.driver.lock("file")
        late = await fs.driver.begin("file", lease)
        for start in range(0, len(data), PART):
            await late.write(data[start : start + PART])
        with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as raw:
            (lock,) = [blob.name for blob in raw.list_blobs(".aiofs/")]
            from azure.storage.blob import BlobLeaseClient  # noqa: PLC0415 -- for this look from outside alone

            BlobLeaseClient(raw.get_blob_client(lock)).break_lease(0)
        async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as other:
            await other.write_bytes("file", b"another's")
        with pytest.raises(Conflict):
            await late.commit()
        await late.abort()
        await lease.release()
        assert await fs.read_bytes("file") == b"another's"


async def test_urls(fs: AzureFileSystem) -> None:
    await fs.write_bytes("odd name/é%20.txt", b"text")

    def get(url: str, data: bytes | None = None) -> bytes:
        headers = {} if data is None else {"x-ms-blob-type": "BlockBlob"}
        request = urllib.request.Request(url, data, headers, method="GET" if data is None else "PUT")
        with urllib.request.urlopen(request) as answer:
            body: bytes = answer.read()
            return body

    assert await asyncio.to_thread(get, await fs.url("odd name/é%20.txt")) == b"text"
    await asyncio.to_thread(get, await fs.url("odd name/é%20.txt", "PUT"), b"new")
    assert await fs.read_bytes("odd name/é%20.txt") == b"new"


async def test_credentials(azurite: AzureAccount) -> None:
    ways = [
        {"credential": azurite.key},
        {"credential": AzureNamedKeyCredential(azurite.name, azurite.key)},
        {"credential": azurite.signature("racwdl")},
    ]
    for number, way in enumerate(ways):
        async with AzureFileSystem(azurite.container, account_url=azurite.url, **way) as fs:
            await fs.write_bytes(f"{number}", LARGE)
            await fs.copy(f"{number}", "copy")
            assert await fs.read_bytes("copy") == LARGE
            shown = repr(fs) + str(fs.driver)
            with pytest.raises(FileNotFoundError) as caught:
                await fs.read_bytes("missing")
            shown += str(caught.value) + repr(caught.value)
            assert azurite.key not in shown
            assert "sig=" not in shown


@pytest.mark.parametrize(
    ("container", "settings", "words"),
    [
        ("container", {"connection_string": None}, "connection_string"),
        ("container", {"lease": 5}, "15 to 60 whole seconds, not 5"),
        ("container", {"lease": 30.0}, "15 to 60 whole seconds, not 30.0"),
        ("container", {"timeout": 0}, "timeout must be greater than 0, not 0"),
        ("No_pe!", {}, "container 'No_pe!': Azure takes"),
        ("a--b", {}, "single hyphens"),
        ("", {}, "container ''"),
        (None, {}, "container None"),
    ],
)
def test_settings_that_cannot_be(azurite: AzureAccount, container: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AzureFileSystem(container, **{"connection_string": azurite.connection_string, **settings})


def test_a_key_that_is_none_is_refused_and_not_shown(azurite: AzureAccount) -> None:
    for credential in ("no!key", AzureNamedKeyCredential(azurite.name, "no!key")):
        with pytest.raises(ValueError, match="base64") as caught:
            AzureFileSystem("container", account_url=azurite.url, credential=credential)
        assert "no!key" not in "".join(traceback.format_exception(caught.value))


async def test_urls_are_good_for_a_second_at_least(fs: AzureFileSystem) -> None:
    before = datetime.now(UTC)
    (end,) = parse_qs((await fs.url("file", expires=0.001)).partition("?")[2])["se"]
    assert datetime.fromisoformat(end) > before
    with pytest.raises(ValueError, match="after all dates"):
        await fs.url("file", expires=1e15)


async def test_a_missing_container_is_not_a_missing_file(azurite: AzureAccount) -> None:
    async with AzureFileSystem("missing", connection_string=azurite.connection_string) as fs:
        for attempt in (fs.stat("file"), fs.read_bytes("file"), fs.write_bytes("file", b"x")):
            with pytest.raises(StoreMissing):
                await attempt
        with pytest.raises(StoreMissing):
            await fs.ls()


async def test_a_signature_that_allows_reading_alone(azurite: AzureAccount, fs: AzureFileSystem) -> None:
    await fs.write_bytes("file", b"x")
    async with AzureFileSystem(azurite.container, account_url=azurite.url, credential=azurite.signature("r")) as reader:
        assert await reader.read_bytes("file") == b"x"
        with pytest.raises(AccessDenied) as denied:
            await reader.write_bytes("file", b"y")
        assert "sig=" not in str(denied.value)


async def test_copying_sends_no_bytes(
    azurite: AzureAccount, fault_proxy: Callable[[int], Awaitable[FaultProxy]]
) -> None:
    proxy = await fault_proxy(azurite.port)
    through = azurite.through(proxy.port)
    async with AzureFileSystem(azurite.container, connection_string=through.connection_string) as fs:
        async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as other:
            await other.write_bytes("large", LARGE)
        before = proxy.to_client.passed + proxy.to_server.passed
        await fs.copy("large", "copy")
        assert proxy.to_client.passed + proxy.to_server.passed - before < 20_000


async def test_removing_many(fs: AzureFileSystem) -> None:
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        await fs.write_bytes(name, b"")
    with pytest.raises(FileNotFoundError) as missing:
        await fs.rm(*names, "missing")
    assert missing.value.filename == "missing"
    async with fs.open("13", "w"):
        with pytest.raises(BlockingIOError) as locked:
            await fs.rm(*names)
        assert locked.value.filename == "13"
    assert await fs.ls() == names
    await fs.rm(*names)
    assert await fs.ls() == []


async def test_what_was_staged_and_left_is_swept(azurite: AzureAccount, fs: AzureFileSystem) -> None:
    driver = fs.driver
    assert isinstance(driver, AzureDriver)
    await fs.write_bytes("there", b"x")
    with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as raw:
        for name in ("dead", "there", "\U0001f600"):
            raw.get_blob_client(name).stage_block("0", b"staged")
        raw.upload_blob(".aiofs/locks/dead", b"", metadata={"path": "dead"})
        async with fs.open("alive", "w") as file:
            await file.write(LARGE)
            found = {(left.path, left.kind): left for left in [left async for left in driver.leftovers()]}
            assert found["alive", "lock"].live
            assert not found["dead", "lock"].live
            assert not await driver.sweep(found["alive", "lock"])
            assert found["dead", "uncommitted blocks"].path == "dead"
            for left in found.values():
                assert await driver.sweep(left) is (left.path != "alive")
        assert [left async for left in driver.leftovers()] == []
        assert [blob.name for blob in raw.list_blobs(include=["uncommittedblobs"])] == ["alive", "there"]


async def test_names_come_in_the_order_of_utf8(fs: AzureFileSystem) -> None:
    names = ["a", "a\ue000", "a\ufffd", "a\U0001f600", "b/\ue000x", "b/\U0001f600/y"]
    for name in reversed(names):
        await fs.write_bytes(name, b"")
    assert await fs.ls() == names
    assert await fs.ls("b", recursive=False) == ["b/\ue000x", "b/\U0001f600/"]


async def test_notes(fs: AzureFileSystem) -> None:
    notes = fs.driver.offers(Notes)
    assert notes is not None
    await notes.note(".aiofs/note", b"line")
    with pytest.raises(AlreadyExists):
        await notes.note(".aiofs/note", b"another")
    assert await (await fs.driver.read(".aiofs/note")).chunk(10) == b"line"
    await notes.erase([".aiofs/note", ".aiofs/never"])
    assert [entry.path async for entry in fs.driver.list()] == []
