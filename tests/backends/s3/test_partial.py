"""Partial writes: what the store lists decides which parts count, and nobody else's parts do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.s3.writing import S3Write
from aiofs.driver import MIB
from aiofs.errors import Conflict, Damaged, NotFound
from aiofs.partials import KIND
from aiofs.transactions.fsck import fsck

if TYPE_CHECKING:
    from aiofs.driver import Entry
    from aiofs.filesystem import FileSystem
    from aiofs.partials import Checkpoint
    from backends.s3.conftest import Connect
    from servers.moto import S3Server

PART = 5 * MIB


async def kept(fs: FileSystem, size: int) -> Checkpoint:
    """A write that nobody has open."""
    async with fs.open("file", "w", partial="") as file:
        await file.write(b"o" * size)
        checkpoint = await file.checkpoint()
        await file.leave()
    return checkpoint


def uploads(server: S3Server) -> list[dict[str, Any]]:
    client = server.client()
    try:
        found: list[dict[str, Any]] = client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", [])
        return found
    finally:
        client.close()


async def test_a_part_that_somebody_else_sent_since_is_found_out(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, part_size=PART)
    checkpoint = await kept(fs, PART + 9)
    (upload,) = await asyncio.to_thread(uploads, s3_server)
    client = s3_server.client()
    where = {"Bucket": s3_server.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    await asyncio.to_thread(lambda: client.upload_part(**where, PartNumber=1, Body=b"x" * PART))
    client.close()
    with pytest.raises(Damaged, match="another process"):
        await fs.open("file", "w", partial=checkpoint.token)
    assert not await fs.exists("file")


async def test_a_process_that_slept_makes_no_checkpoint_any_more(connect: Connect, s3_server: S3Server) -> None:
    """Its lease is taken away without its knowing, as if it had been suspended for long."""
    slow, quick = connect(s3_server, part_size=PART), connect(s3_server, part_size=PART)
    checkpoint = await kept(slow, 9)
    sleeper: Any = await slow.open("file", "w", partial=checkpoint.token)
    await sleeper._lease.release()
    async with quick.open("file", "w", partial=checkpoint.token) as file:
        await sleeper.write(b"s" * PART)
        with pytest.raises(Conflict):
            await sleeper.checkpoint()
        await sleeper.abort()  # which takes nothing away from the one that goes on
        await file.write(b"end")
    assert await quick.read_bytes("file") == b"o" * 9 + b"end"
    assert await asyncio.to_thread(uploads, s3_server) == []


async def test_fsck_keeps_it_for_days_and_then_removes_the_upload_too(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, part_size=PART)
    checkpoint = await kept(fs, PART + 9)
    (found,) = await fsck(fs, fix=True)
    assert (found.kind, found.path, found.fixed) == (KIND, "file", False)
    assert found.why.startswith("resumable")
    assert len(await asyncio.to_thread(uploads, s3_server)) == 1
    (found,) = await fsck(connect(s3_server, keep_partial=1e-9), fix=True)
    assert (found.kind, found.fixed) == (KIND, True)
    assert await asyncio.to_thread(uploads, s3_server) == []
    with pytest.raises(NotFound, match="partial"):
        await fs.open("file", "w", partial=checkpoint.token)
    assert await fsck(fs) == []


async def test_an_upload_that_a_rule_of_the_bucket_removed(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, part_size=PART)
    checkpoint = await kept(fs, PART + 9)
    (upload,) = await asyncio.to_thread(uploads, s3_server)
    client = s3_server.client()
    where = {"Bucket": s3_server.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    await asyncio.to_thread(lambda: client.abort_multipart_upload(**where))
    client.close()
    with pytest.raises(NotFound, match="a rule of the bucket"):
        await fs.open("file", "w", partial=checkpoint.token)


async def test_a_process_killed_between_publishing_and_tidying_up(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, part_size=PART)
    checkpoint = await kept(fs, PART + 9)
    file: Any = await fs.open("file", "w", partial=checkpoint.token)
    file._partial._name = ".aiofs-partial/another"  # so that the object is not removed
    await file.close()
    with pytest.raises(NotFound, match="it was published"):
        await fs.open("file", "w", partial=checkpoint.token)
    assert await fsck(fs) == []
    assert (await fs.stat("file")).size == PART + 9


async def test_a_part_of_another_size_goes_on(connect: Connect, s3_server: S3Server) -> None:
    """Other settings than those of the process that began, and more bytes behind its parts than a part has now."""
    checkpoint = await kept(connect(s3_server, part_size=2 * PART), 2 * PART + PART + 9)
    fs = connect(s3_server, part_size=PART)
    async with fs.open("file", "w", partial=checkpoint.token) as file:
        assert await file.tell() == 3 * PART + 9
        await file.write(b"o" * PART)
    assert await fs.read_bytes("file") == b"o" * (4 * PART + 9)


async def test_a_checkpoint_that_is_cancelled_when_the_store_has_it_leaves_nothing_behind(
    connect: Connect, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = connect(s3_server)
    commit, stored, answered = S3Write.commit, asyncio.Event(), asyncio.Event()

    async def answers_late(session: S3Write) -> Entry:
        entry = await commit(session)
        stored.set()
        await answered.wait()
        return entry

    monkeypatch.setattr(S3Write, "commit", answers_late)
    file = await fs.open("file", "w", partial="")
    await file.write(b"bytes")
    checkpoint = asyncio.ensure_future(file.checkpoint())
    await stored.wait()
    checkpoint.cancel()
    answered.set()
    with pytest.raises(asyncio.CancelledError):
        await checkpoint
    await file.leave()  # as nobody has a token, nothing is kept
    driver: Any = fs.driver
    assert [left.kind async for left in driver.leftovers()] == []
