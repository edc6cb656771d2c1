"""Headers, tags, storage classes and digests: settable, told by `stat`, and kept by whatever changes a file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.backends.s3 import driver, writing
from aiofs.driver import MIB
from aiofs.errors import AccessDenied, Archived
from backends.s3.front import Asked, refusal
from backends.s3.sessions import by_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server

GIVEN: dict[str, Any] = {
    "content_type": "text/csv",
    "cache_control": "no-store",
    "content_disposition": 'attachment; filename="x.csv"',
    "content_encoding": "identity",
    "content_language": "cs",
    "storage_class": "STANDARD_IA",
    "tags": {"team": "a + b=c", "empty": ""},
}
OTHERS = {name: value for name, value in GIVEN.items() if name != "content_type"}


@pytest.mark.parametrize("direct", [True, False])
async def test_properties_go_and_come_back(direct: bool, connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, direct=direct)
    await fs.write_bytes("small", b"bytes", metadata={"kind": " lead"}, **GIVEN)
    await fs.write_bytes("large", bytes(9 * MIB), metadata={"kind": " lead"}, **GIVEN)
    for name in ("small", "large"):
        told = await fs.stat(name)
        assert (told.metadata, told.content_type, told.properties) == ({"kind": " lead"}, "text/csv", OTHERS)
        seen = await by_client(s3_server, "head_object", Key=name)
        assert (seen["CacheControl"], seen["StorageClass"]) == ("no-store", "STANDARD_IA")
        tags = await by_client(s3_server, "get_object_tagging", Key=name)
        assert {tag["Key"]: tag["Value"] for tag in tags["TagSet"]} == GIVEN["tags"]


async def append(fs: S3FileSystem) -> str:
    async with fs.open("file", "a") as file:
        await file.write(b"more")
    return "file"


async def edit(fs: S3FileSystem) -> str:
    async with fs.open("file", "r+") as file:
        await file.write(b"B")
    return "file"


async def copy(fs: S3FileSystem) -> str:
    await fs.copy("file", "copy")
    return "copy"


async def move(fs: S3FileSystem) -> str:
    await fs.move("file", "moved")
    return "moved"


async def append_in_a_transaction(fs: S3FileSystem) -> str:
    async with aiofs.transaction(fs) as tfs:
        await append(tfs)
        await tfs.write_bytes("other", b"")
    return "file"


@pytest.mark.parametrize("size", [5, 6 * MIB])
@pytest.mark.parametrize("change", [append, edit, copy, move, append_in_a_transaction])
async def test_what_changes_a_file_keeps_what_it_was_written_with(
    change: Callable[[S3FileSystem], Awaitable[str]],
    size: int,
    connect: Connect,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "COPIED_WHOLE", 5 * MIB)
    monkeypatch.setattr(writing, "COPIED_AT_ONCE", 5 * MIB)
    fs = connect(s3_server, part_size=5 * MIB, storage_class="GLACIER_IR", content_type="image/x-usual")
    await fs.write_bytes("file", bytes(size), metadata={"kind": "x"}, **GIVEN)
    told = await fs.stat(await change(fs))
    assert (told.metadata, told.content_type, told.properties) == ({"kind": "x"}, "text/csv", OTHERS)


async def test_a_file_of_another_program_keeps_its_class_where_new_ones_have_another(
    connect: Connect, s3_server: S3Server
) -> None:
    await by_client(s3_server, "put_object", Key="file", Body=b"theirs", ContentType="text/html")
    fs = connect(s3_server, storage_class="STANDARD_IA")
    name = await append(fs)
    assert "StorageClass" not in await by_client(s3_server, "head_object", Key=name)
    assert (await fs.stat(name)).content_type == "text/html"


async def test_tags_that_may_not_be_read_are_not_lost_without_a_word(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"bytes", tags={"team": "a"})

    async def deny(asked: Asked) -> web.Response | None:
        return refusal(403, "AccessDenied") if "tagging" in asked.query else None

    before.meddle = deny
    assert await fs.read_bytes("file") == b"bytes"
    with pytest.raises(AccessDenied):
        await append(fs)
    before.meddle = None
    assert (await fs.stat("file")).properties == {"tags": {"team": "a"}}


async def test_reading_and_changing_what_has_no_tags_does_not_ask_for_them(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"bytes", cache_control="no-store")
    await fs.write_bytes("tagged", b"bytes", tags={"team": "a"})
    await fs.read_bytes("tagged")
    await append(fs)
    await copy(fs)
    assert not any("tagging" in asked.query for asked in before.asked)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"content_type": "text/plain\r\nx-amz-acl: public-read"}, "control character"),
        ({"tags": {"a\nb": "x"}}, "control character"),
        ({"content_disposition": " lead"}, "without space around"),
        ({"content_disposition": "filename=žluť"}, "printable ASCII"),
        ({"tags": {"": "x"}}, "names of 1 to 128"),
        ({"tags": {"a": "x" * 257}}, "values of at most 256"),
        ({"tags": {str(number): "" for number in range(11)}}, "11 tags"),
        ({"metadata": {"content-type": "text/plain"}}, "give content_type="),
        ({"metadata": {"Cache-Control": "no-store"}}, "give cache_control="),
    ],
)
async def test_what_headers_cannot_carry_is_refused(
    given: dict[str, Any], words: str, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server, locking="commit" if "tags" in given else "lease")  # how many tags there may be is S3's own
    with pytest.raises(ValueError, match=words):
        await fs.write_bytes("file", b"", **given)
    assert before.asked == []


async def test_the_digest_is_told_where_the_etag_is_one(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server)
    await fs.write_bytes("file", b"bytes")
    digest = f"md5:{hashlib.md5(b'bytes').hexdigest()}"
    assert (await fs.stat("file")).digest == digest
    await fs.write_bytes("large", bytes(9 * MIB))
    assert (await fs.stat("large")).digest is None
    await connect(s3_server, encryption="aws:kms").write_bytes("kms", b"bytes")
    assert (await fs.stat("kms")).digest is None


async def changed(fs: S3FileSystem, mode: Any) -> None:
    async with fs.open("cold", mode) as file:
        await file.write(b"more")


@pytest.mark.parametrize("direct", [True, False])
async def test_what_is_in_the_archive_must_be_restored_first(
    direct: bool, connect: Connect, s3_server: S3Server
) -> None:
    fs = connect(s3_server, direct=direct, attempts=1)
    await fs.write_bytes("cold", b"bytes", storage_class="DEEP_ARCHIVE")
    assert (await fs.stat("cold")).properties == {"storage_class": "DEEP_ARCHIVE"}
    for use in (fs.read_bytes("cold"), fs.copy("cold", "copy"), changed(fs, "r+"), changed(fs, "a")):
        with pytest.raises(Archived, match="restore it first") as caught:
            await use
        assert caught.value.filename == "cold"
    assert await fs.ls() == ["cold"]
    assert [left async for left in fs.driver.leftovers()] == []
