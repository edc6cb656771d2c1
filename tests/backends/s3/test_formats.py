"""What other versions of aiofs left or will leave in a bucket: finished, undone, or refused by its format."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.s3.locks import lock_key
from aiofs.errors import Locked, Unsupported
from aiofs.stores import S3FileSystem
from backends.s3.sessions import fed, keys, put

if TYPE_CHECKING:
    from backends.s3.conftest import Connect
    from servers.moto import S3Server

LEFT = Path(__file__).with_name("left_by_2_0_0a1")  # written by that version
PATH = "folder/file"


def prepare_again(server: S3Server) -> dict[str, Any]:
    """Bring the upload of the dump, which was in another server, into this one."""
    token: dict[str, Any] = json.loads((LEFT / "token.json").read_text())
    client = server.client()
    about = {"aiofs-writer": token["writer"]}
    upload = client.create_multipart_upload(Bucket=server.bucket, Key=PATH, Metadata=about)["UploadId"]
    part = client.upload_part(
        Bucket=server.bucket, Key=PATH, UploadId=upload, PartNumber=1, Body=b"prepared by 2.0.0a1"
    )
    client.close()
    return {**token, "upload": upload, "parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_an_upload_that_2_0_0a1_prepared_is_finished_or_undone(
    end: str, connect: Connect, s3_server: S3Server
) -> None:
    token = await asyncio.to_thread(prepare_again, s3_server)
    fs = connect(s3_server)
    await getattr(await fs.driver.resume(token), end)()
    assert await fs.ls() == ([PATH] if end == "commit" else [])
    if end == "commit":
        assert await fs.read_bytes(PATH) == b"prepared by 2.0.0a1"
    assert [left async for left in fs.driver.leftovers()] == []


async def test_a_lock_of_2_0_0a1_keeps_us_out_until_it_has_run_out(connect: Connect, s3_server: S3Server) -> None:
    left = json.loads((LEFT / "lock.json").read_text())
    await put(s3_server, lock_key(PATH), json.dumps({**left, "ttl": 2}).encode())
    fs = connect(s3_server)
    with pytest.raises(Locked, match=left["holder"]):
        await fs.write_bytes(PATH, b"ours")
    while [left async for left in fs.driver.leftovers() if left.live]:
        pass
    await fs.write_bytes(PATH, b"ours")
    assert [left async for left in fs.driver.leftovers()] == []


async def test_our_lock_says_all_that_2_0_0a1_reads(connect: Connect, s3_server: S3Server) -> None:
    """It takes over what is older than `ttl`, and tells its own by `token`: so a lock of ours keeps it out too."""
    lease = await connect(s3_server).driver.lock(PATH)
    client = s3_server.client()
    body = client.get_object(Bucket=s3_server.bucket, Key=lock_key(PATH))["Body"].read()
    client.close()
    ours, left = json.loads(body), json.loads((LEFT / "lock.json").read_text())
    assert ours.keys() - left.keys() == {"format"}
    assert {name: type(ours[name]) for name in left} == {name: type(value) for name, value in left.items()}
    await lease.release()


async def test_what_was_prepared_in_a_format_of_the_future_is_refused_by_its_number(
    connect: Connect, s3_server: S3Server
) -> None:
    session = await fed(connect(s3_server), b"prepared")
    token = await session.prepare()
    assert token["format"] == 1
    await session._publication._lease.release()
    for number in (2, "1", None, True):
        with pytest.raises(Unsupported, match="has format"):
            await connect(s3_server).driver.resume({**token, "format": number})
    await (await connect(s3_server).driver.resume(token)).abort()


async def test_a_lock_in_a_format_of_the_future_is_refused_by_its_number(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server)
    lease = await fs.driver.lock("file")
    (key,) = await keys(s3_server)
    await lease.release()
    note = {"format": 7, "path": "file"}
    await put(s3_server, key, json.dumps(note).encode())
    with pytest.raises(Unsupported, match=r"format 7.*knows 1"):
        await fs.write_bytes("file", b"bytes")
    with pytest.raises(Unsupported, match="format 7"):
        await fs.rm("file", missing_ok=True)
    assert [(left.path, left.live) async for left in fs.driver.leftovers()] == [("file", True)]


def test_directory_buckets_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"photos--use1-az4--x-s3.*directory buckets"):
        S3FileSystem("photos--use1-az4--x-s3")
