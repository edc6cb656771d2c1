"""Versions that a bucket keeps: listed, read and restored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest
from aiohttp import web

from aiofs.backends.s3 import driver, writing
from aiofs.driver import MIB
from aiofs.transactions.fsck import fsck
from backends.s3.front import refusal
from backends.s3.sessions import by_client

if TYPE_CHECKING:
    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from backends.s3.front import Asked
    from servers.moto import S3Server

NAME = "a folder/100%25 + more"


@pytest.fixture
async def versioned(s3_server: S3Server) -> S3Server:
    """A server with a bucket that keeps versions."""
    await by_client(s3_server, "put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    return s3_server


async def ids(fs: S3FileSystem, name: str) -> list[str | None]:
    return [entry.version_id async for entry in fs.history(name)]


@pytest.mark.parametrize("direct", [True, False])
async def test_versions_of_one_file_are_listed_read_and_restored(
    direct: bool, connect: Connect, versioned: S3Server
) -> None:
    fs = connect(versioned, direct=direct, prefix="in", page_size=2)
    for name in (NAME, NAME + ".txt", NAME + "/below"):
        await fs.write_bytes(name, b"other")
    await fs.write_bytes(NAME, b"first", metadata={"kind": "x"}, content_type="text/csv", tags={"team": "a"})
    await fs.rm(NAME)
    await fs.write_bytes(NAME, b"second!")
    found = [entry async for entry in fs.history(NAME)]
    assert [entry.size for entry in found] == [7, 5, 5]
    assert {entry.path for entry in found} == {NAME}
    assert len({entry.version_id for entry in found}) == 3
    first = found[1].version_id
    assert first is not None
    async with fs.open(NAME, version_id=first) as file:
        assert await file.read() == b"first"
    async with fs.open(NAME, "rt", version_id=first) as text:
        assert await text.read() == "first"
    await fs.restore(NAME, first)
    assert await fs.read_bytes(NAME) == b"first"
    told = await fs.stat(NAME)
    assert (told.metadata, told.content_type, told.properties) == ({"kind": "x"}, "text/csv", {"tags": {"team": "a"}})
    assert (await ids(fs, NAME))[1:] == [entry.version_id for entry in found]
    assert (await ids(fs, NAME))[0] == told.version_id


async def test_what_was_removed_can_be_restored(connect: Connect, versioned: S3Server) -> None:
    fs = connect(versioned)
    await fs.write_bytes("file", b"bytes")
    (kept,) = await ids(fs, "file")
    await fs.rm("file")
    assert kept is not None
    assert await ids(fs, "file") == [kept], "that it was removed is no version"
    await fs.restore("file", kept)
    assert await fs.read_bytes("file") == b"bytes"


async def test_a_version_that_is_not_there_is_a_missing_file(connect: Connect, versioned: S3Server) -> None:
    fs = connect(versioned)
    await fs.write_bytes("file", b"bytes")
    await fs.rm("file")
    listed = await by_client(versioned, "list_object_versions", Prefix="file")
    marker = listed["DeleteMarkers"][0]["VersionId"]
    for version_id in ("no such version", marker):
        with pytest.raises(FileNotFoundError) as caught:
            await fs.open("file", version_id=version_id)
        assert caught.value.filename == "file"
        with pytest.raises(FileNotFoundError):
            await fs.restore("file", version_id)
    with pytest.raises(FileNotFoundError):
        await ids(fs, "missing")


async def test_a_large_version_is_restored_in_pieces(
    connect: Connect, versioned: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "COPIED_WHOLE", 8 * MIB)
    monkeypatch.setattr(writing, "COPIED_AT_ONCE", 8 * MIB)
    fs = connect(versioned)
    await fs.write_bytes("file", bytes(9 * MIB), tags={"team": "a"}, cache_control="no-store")
    (kept,) = await ids(fs, "file")
    await fs.write_bytes("file", b"small")
    assert kept is not None
    await fs.restore("file", kept)
    assert await fs.read_bytes("file") == bytes(9 * MIB)
    assert (await fs.stat("file")).properties == {"cache_control": "no-store", "tags": {"team": "a"}}


async def test_a_restore_waits_for_no_writer(connect: Connect, versioned: S3Server) -> None:
    fs = connect(versioned)
    await fs.write_bytes("file", b"bytes")
    (kept,) = await ids(fs, "file")
    assert kept is not None
    async with connect(versioned).open("file", "w") as file:
        await file.write(b"new")
        with pytest.raises(BlockingIOError):
            await fs.restore("file", kept)


async def test_old_versions_of_hidden_objects_are_reported_and_removed(connect: Connect, versioned: S3Server) -> None:
    fs = connect(versioned, prefix="in")
    await fs.write_bytes("file", b"first")
    await fs.write_bytes("file", b"second")
    for name in ("probe-0", "100%25 + more"):
        key = f"in/.aiofs-locks/{name}"
        for _ in range(2):
            await by_client(versioned, "put_object", Key=key, Body=b"")
        await by_client(versioned, "delete_object", Key=key)
    await by_client(versioned, "put_object", Key="in/folder/.aiofs-journal/unit", Body=b"old")
    await by_client(versioned, "put_object", Key="in/folder/.aiofs-journal/unit", Body=b"present")
    before = await by_client(versioned, "list_object_versions", Prefix="in/.aiofs-locks/")
    (found,) = await fsck(fs)
    assert (found.kind, found.path, found.live, found.fixed) == ("old versions", ".aiofs", False, False)
    assert f"{len(before['Versions'])} old versions and {len(before['DeleteMarkers'])} delete markers" in found.why
    assert "lifecycle rule for the prefix 'in/.aiofs'" in found.why
    assert [(left.kind, left.fixed) for left in await fsck(fs, fix=True)] == [("old versions", True)]
    assert await fsck(fs) == []
    (found,) = await fsck(fs.at("folder"), fix=True)
    assert (found.path, found.fixed) == (".aiofs", True)
    left = await by_client(versioned, "list_object_versions", Prefix="in/")
    assert sorted(each["Key"] for each in left["Versions"]) == ["in/file", "in/file", "in/folder/.aiofs-journal/unit"]


async def test_old_versions_that_may_not_be_removed_or_listed(
    front: Fronts, connect: Connect, versioned: S3Server
) -> None:
    before, server = await front(versioned)
    for _ in range(2):
        await by_client(versioned, "put_object", Key=".aiofs-locks/probe-0", Body=b"")
    refused = "delete"

    async def refuse(asked: Asked) -> web.Response | None:
        if "delete" in asked.query and refused == "delete":
            text = (
                "<DeleteResult><Error><Key>.aiofs-locks/probe-0</Key><Code>AccessDenied</Code></Error></DeleteResult>"
            )
            return web.Response(text=text, content_type="application/xml")
        return refusal(403, "AccessDenied") if refused in asked.query else None

    before.meddle = refuse
    fs = connect(
        server
    )  # with its usual lease, the probe is too young to be removed, which would leave a delete marker
    (found,) = [left for left in await fsck(fs, fix=True) if left.kind == "old versions"]
    assert not found.fixed
    assert "s3:DeleteObjectVersion" in found.why
    assert "lifecycle rule" in found.why
    refused = "versions"
    (found,) = [left for left in await fsck(fs, fix=True) if left.kind == "old versions"]
    assert not found.fixed
    assert "s3:ListBucketVersions" in found.why


@pytest.mark.parametrize("name", [NAME, "100%25", "a+b", "100%"])
async def test_a_server_that_encodes_keys_without_saying_so(
    name: str, front: Fronts, connect: Connect, versioned: S3Server
) -> None:
    before, server = await front(versioned)

    async def encode(asked: Asked, answer: web.Response) -> web.Response | None:
        if "versions" in asked.query:
            assert isinstance(answer.body, bytes)
            text = answer.body.decode().replace("<EncodingType>url</EncodingType>", "")
            answer.text = re.sub("<Key>(.*?)</Key>", lambda found: f"<Key>{quote_plus(found[1])}</Key>", text)
        return None

    fs = connect(server)
    await fs.write_bytes(name, b"bytes")
    await fs.write_bytes(quote_plus(name), b"others")  # what an encoded key would be, if it were not
    raw = await ids(fs, name)
    before.afterwards = encode
    assert await ids(fs, name) == raw
    assert len(raw) == 1
    assert [entry.size for entry in [entry async for entry in fs.history(quote_plus(name))]] == [6]
