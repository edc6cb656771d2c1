"""What writers leave: prepared writes, which others finish; uploads and locks, swept once nobody holds them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.s3.locks import lock_key
from aiofs.driver import ABSENT
from aiofs.errors import AlreadyExists, Damaged, Locked
from aiofs.stores import MemoryFileSystem
from aiofs.transactions.fsck import fsck
from backends.s3.sessions import fed

if TYPE_CHECKING:
    from backends.s3.conftest import Connect
    from servers.moto import S3Server


async def test_a_prepared_write_is_finished_by_another_once_its_writer_is_gone(
    connect: Connect, s3_server: S3Server
) -> None:
    fs = connect(s3_server)
    session = await fed(fs, b"prepared")
    token = json.loads(json.dumps(await session.prepare()))
    second = connect(s3_server).driver
    with pytest.raises(Locked):
        await second.resume(token)
    await session._publication._lease.release()
    for _ in range(2):  # doing it again is harmless
        resumed = await second.resume(token)
        assert (await resumed.commit()).size == len(b"prepared")
    assert await fs.read_bytes("file") == b"prepared"
    await fs.write_bytes("file", b"written since")
    await (await second.resume(token)).commit()
    assert await fs.read_bytes("file") == b"written since"
    await (await second.resume(token)).abort()
    assert [left async for left in fs.driver.leftovers()] == []


async def test_a_prepared_write_does_not_overwrite_what_came_between(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server)
    session = await fed(fs, b"prepared")
    token = await session.prepare()
    assert token["match"] == ABSENT
    await session._publication._lease.release()
    await fs.write_bytes("file", b"came between")
    resumed = await fs.driver.resume(token)
    with pytest.raises(AlreadyExists):
        await resumed.commit()
    await resumed.abort()
    assert await fs.read_bytes("file") == b"came between"
    assert [left async for left in fs.driver.leftovers()] == []


async def test_what_a_dead_writer_left_is_found_and_swept(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, lease=9)
    sweeper = connect(s3_server).driver
    session = await fed(fs, b"x")
    await session.write(bytes(6 << 20))
    await session._uploads.results()
    found = {left.kind: left async for left in sweeper.leftovers()}
    assert set(found) == {"multipart upload", "lock object"}
    assert all(left.path == "file" and left.live and left.holder for left in found.values())
    assert not any([await sweeper.sweep(left) for left in found.values()])
    session.abandon()
    session._publication._lease.abandon()
    while any([left.live async for left in sweeper.leftovers()]):  # noqa: ASYNC110 -- the server tells nobody
        await asyncio.sleep(0.1)
    assert all([await sweeper.sweep(left) async for left in sweeper.leftovers()])
    assert [left async for left in sweeper.leftovers()] == []


async def test_a_process_that_died_while_it_tried_conditions(connect: Connect, s3_server: S3Server) -> None:
    client = s3_server.client()
    client.put_object(Bucket=s3_server.bucket, Key="folder/.aiofs-locks/probe-0", Body=b"3 0123")
    client.close()
    alive = connect(s3_server, prefix="folder")
    assert [(found.kind, found.live) for found in await fsck(alive, fix=True)] == [("probe", True)]
    later = connect(s3_server, prefix="folder", lease=0.001)
    while (found := await fsck(later, fix=True))[0].live:  # looking takes its time: no need to wait besides
        pass
    assert [finding.kind for finding in found if finding.fixed] == ["probe"]
    assert await fsck(later) == []


async def test_a_lock_that_is_none(connect: Connect, s3_server: S3Server) -> None:
    client = s3_server.client()
    for body in (b"no JSON", b"[]"):
        client.put_object(Bucket=s3_server.bucket, Key=lock_key("file"), Body=body)
        with pytest.raises(Damaged) as caught:
            await connect(s3_server).write_bytes("file", b"")
        assert caught.value.filename == "file"
    client.close()


async def test_what_locks_elsewhere_are_held_for_is_not_swept(connect: Connect, s3_server: S3Server) -> None:
    async with MemoryFileSystem() as locks:
        fs = connect(s3_server, prefix="folder", locks=locks)
        sweeper = connect(s3_server, prefix="folder", locks=locks).driver
        async with fs.open("file", "w") as file:
            await file.write(bytes(17 << 20))
            found = [left async for left in sweeper.leftovers()]
            assert [(left.path, left.kind, left.live) for left in found] == [("file", "multipart upload", True)]
            assert not await sweeper.sweep(found[0])
        assert (await fs.stat("file")).size == 17 << 20
        session = await fed(fs, bytes(9 << 20))
        await session.write(bytes(6 << 20))
        await session._uploads.results()
        session.abandon()
        await session._publication._lease.release()
        assert all([await sweeper.sweep(left) async for left in sweeper.leftovers()])
        assert [left async for left in sweeper.leftovers()] == []
