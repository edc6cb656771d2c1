"""Locks of objects, the fence at commit, stores that cannot be trusted with either, and locks kept elsewhere."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.s3.driver import S3Driver
from aiofs.backends.s3.locks import LockObjects, freed_note
from aiofs.backends.s3.store import Store
from aiofs.errors import AlreadyExists, Conflict, Locked, Unavailable, Unsupported
from aiofs.stores import MemoryFileSystem, OSFileSystem
from backends.s3.front import Asked, refusal
from backends.s3.sessions import fed, put

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from aiofs.backends.s3.locks import LockState
    from aiofs.driver import Lease
    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server


pytestmark = pytest.mark.usefixtures("nothing_probed")


def lock_objects(server: S3Server) -> list[dict[str, Any]]:
    """The lock objects in the bucket, as another program sees them."""
    client = server.client()
    try:
        found = client.list_objects_v2(Bucket=server.bucket, Prefix=".aiofs-locks/").get("Contents", [])
        return [json.load(client.get_object(Bucket=server.bucket, Key=each["Key"])["Body"]) for each in found]
    finally:
        client.close()


async def test_a_lock_says_who_holds_it_and_goes_with_its_writer(fs: S3FileSystem, s3_server: S3Server) -> None:
    async with fs.open("folder/file", "w"):
        (note,) = await asyncio.to_thread(lock_objects, s3_server)
        assert note["path"] == "folder/file"
        with pytest.raises(Locked, match=note["holder"]):
            await fs.open("folder/file", "w")
        assert await fs.ls() == []
    assert await asyncio.to_thread(lock_objects, s3_server) == []


async def test_a_lock_is_renewed_for_as_long_as_it_is_held(connect: Connect, s3_server: S3Server) -> None:
    lease = await connect(s3_server, lease=9).driver.lock("file")
    (first,) = await asyncio.to_thread(lock_objects, s3_server)
    while (note := (await asyncio.to_thread(lock_objects, s3_server))[0])["turn"] < first["turn"] + 2:
        assert not lease.lost
        await asyncio.sleep(0.1)  # the server tells nobody
    assert note["token"] == first["token"]
    with pytest.raises(Locked):
        await connect(s3_server).driver.lock("file")
    await lease.release()
    await (await connect(s3_server).driver.lock("file")).release()


async def test_what_the_next_holder_published_is_not_overwritten_by_a_writer_that_slept(
    connect: Connect, s3_server: S3Server
) -> None:
    """The worst moment: the writer has looked, and knows its lease to hold, when it falls asleep."""
    fs = connect(s3_server)
    await fs.write_bytes("file", b"old")
    session = await fed(fs, b"the sleeper's")
    publication = session._publication
    looked = asyncio.Event()
    awake = asyncio.Event()
    base = publication.base

    async def look_and_sleep() -> str | None:
        version: str | None = await base()
        looked.set()
        await awake.wait()
        return version

    publication.base = look_and_sleep
    publication._check_lease = lambda: None  # as if it had been asked just before the sleep
    commit = asyncio.create_task(session.commit())
    await looked.wait()
    await _steal(s3_server, "file", b"next")
    awake.set()
    with pytest.raises(Conflict):
        await commit
    assert await fs.read_bytes("file") == b"next"
    await session.abort()
    await publication._lease.release()


async def _steal(server: S3Server, path: str, data: bytes) -> None:
    """Take the lock over and publish, as another machine does when a lease has run out."""

    def steal() -> None:
        client = server.client()
        for found in client.list_objects_v2(Bucket=server.bucket, Prefix=".aiofs-locks/").get("Contents", []):
            client.put_object(Bucket=server.bucket, Key=found["Key"], Body=b'{"token": "another"}')
        client.put_object(Bucket=server.bucket, Key=path, Body=data)
        client.close()

    await asyncio.to_thread(steal)


async def test_a_writer_whose_lock_was_taken_over_leaves_the_new_one_alone(
    connect: Connect, s3_server: S3Server
) -> None:
    fs = connect(s3_server)
    session = await fed(fs, b"late")
    await _steal(s3_server, "other", b"")
    await session.abort()
    await session._publication._lease.release()
    assert [note["token"] for note in await asyncio.to_thread(lock_objects, s3_server)] == ["another"]


async def test_writing_over_what_a_foreign_program_writes_meanwhile_succeeds(
    connect: Connect, s3_server: S3Server
) -> None:
    fs = connect(s3_server)
    session = await fed(fs, b"ours")
    base = session._publication.base
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        version: str | None = await base()
        if not looks:
            await put(s3_server, "file", b"foreign")
        looks += 1
        return version

    session._publication.base = look
    await session.commit()
    assert looks == 2
    assert await fs.read_bytes("file") == b"ours"
    await session._publication._lease.release()


async def test_a_store_without_conditions_is_refused(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)

    async def ignore(asked: Asked) -> None:
        asked.headers.pop("if-match", None)
        asked.headers.pop("if-none-match", None)

    before.meddle = ignore
    fs = connect(server)
    with pytest.raises(Unsupported, match=r"of 16 exclusive creations of one object 16 succeeded.*give locks="):
        await fs.open("file", "w")
    asked = len(before.asked)
    with pytest.raises(Unsupported):
        await fs.open("another", "w")
    assert len(before.asked) == asked, "it was found out once"
    assert await fs.ls() == []


async def test_a_store_whose_conditions_race_is_refused(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    passed = 0

    async def race(asked: Asked) -> None:
        nonlocal passed
        if asked.method == "PUT" and passed < 3:
            passed += 1
            asked.headers.pop("if-none-match", None)

    before.meddle = race
    with pytest.raises(Unsupported, match=r"[34] succeeded"):
        await connect(server).open("file", "w")


async def test_a_store_that_ignores_if_match_is_refused(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)

    async def ignore(asked: Asked) -> None:
        asked.headers.pop("if-match", None)

    before.meddle = ignore
    with pytest.raises(Unsupported, match="stale If-Match"):
        await connect(server).open("file", "w")


async def test_a_store_that_takes_etags_without_quotes_is_served(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    """As older Ceph: quoted ETags never match in a PUT, and DELETE ignores If-Match."""
    before, server = await front(s3_server)

    async def like_ceph(asked: Asked) -> web.Response | None:
        match = asked.headers.get("if-match", "")
        if asked.method == "DELETE":
            asked.headers.pop("if-match", None)
        elif asked.method == "PUT" and match.startswith('"'):
            return refusal(412, "PreconditionFailed")
        return None

    before.meddle = like_ceph
    fs = connect(server, lease=9)
    await fs.write_bytes("file", b"old")
    async with fs.open("file", "r+") as file:
        await file.write(b"new")
    assert await fs.read_bytes("file") == b"new"
    lease = await fs.driver.lock("file")
    (note,) = await asyncio.to_thread(lock_objects, s3_server)
    while note["turn"] < 2:
        await asyncio.sleep(0.1)
        (note,) = await asyncio.to_thread(lock_objects, s3_server)
    assert not lease.lost
    await lease.release()
    assert await asyncio.to_thread(lock_objects, s3_server) == []


async def test_locks_elsewhere_serve_a_store_without_conditions(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)

    async def knows_none(asked: Asked) -> web.Response | None:
        if asked.headers.keys() & {"if-match", "if-none-match"} and asked.method != "GET":
            return refusal(501, "NotImplemented")
        return None

    before.meddle = knows_none
    with pytest.raises(Unsupported, match="locks="):
        await connect(server).open("file", "w")
    async with MemoryFileSystem() as locks:
        fs, second = connect(server, locks=locks), connect(server, locks=locks)
        await fs.write_bytes("file", b"old")
        async with fs.open("file", "r+") as file:
            await file.write(b"new")
            with pytest.raises(Locked):
                await second.open("file", "w")
            with pytest.raises(Locked):
                await second.rm("file")
            await second.write_bytes("other", b"free")
        with pytest.raises(FileExistsError):
            async with second.open("file", "x") as file:
                await file.write(b"again")
        assert await second.read_bytes("file") == b"new"
        await second.rm("file", "other")
        assert await fs.ls() == []


async def test_files_are_moved_and_removed_under_locks_in_a_folder_elsewhere(
    connect: Connect, s3_server: S3Server
) -> None:
    async with MemoryFileSystem() as locks:
        fs = connect(s3_server, prefix="prefix", locks=locks.at("folder"))
        await fs.write_bytes("file", b"bytes")
        await fs.move("file", "moved")
        assert await fs.ls() == ["moved"]
        async with fs.open("moved", "r+"):
            with pytest.raises(Locked):
                await fs.rm("moved")
            with pytest.raises(Locked):
                await fs.move("moved", "file")
        await fs.rm("moved")
        assert await fs.ls() == []


async def test_a_file_and_what_is_below_its_name_are_locked_in_folders_elsewhere(
    connect: Connect, s3_server: S3Server, tmp_path: Path
) -> None:
    """To S3 a slash is a letter, and a segment may be longer than a folder's name."""
    long = "n" * 800
    async with OSFileSystem(tmp_path) as locks:
        fs = connect(s3_server, locks=locks)
        async with fs.open("name/below", "w"), fs.open("name", "w"), fs.open(long, "w"):
            for path in ("name", "name/below", long):
                with pytest.raises(Locked) as caught:
                    await fs.rm(path)
                assert caught.value.filename == path
        assert await fs.ls() == sorted(["name", "name/below", long])


@pytest.mark.parametrize("knows", [True, False])
async def test_a_large_file_does_not_overwrite_what_a_foreign_program_wrote(
    knows: bool, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    """Whether or not the store knows conditions on completed uploads: this server ignores them, others refuse them."""
    before, server = await front(s3_server)

    async def refuse(asked: Asked) -> web.Response | None:
        conditional = asked.headers.keys() & {"if-match", "if-none-match"} and asked.method == "POST"
        return refusal(501, "NotImplemented") if conditional and not knows else None

    before.meddle = refuse
    fs = connect(server)
    await fs.write_bytes("file", bytes(20 << 20))
    file = await fs.open("file", "r+")
    await file.write(b"changed")
    await put(s3_server, "file", b"foreign")
    with pytest.raises(Conflict):
        await file.close()
    assert await fs.read_bytes("file") == b"foreign"
    await fs.write_bytes("file", bytes(20 << 20))
    assert (await fs.stat("file")).size == 20 << 20


async def test_an_upload_that_is_refused_after_all_is_a_failure(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    """S3 may say 200 and then tell of an error in the body."""
    before, server = await front(s3_server)
    fs = connect(server, attempts=2)
    await fs.write_bytes("file", b"old")

    async def fail(asked: Asked) -> web.Response | None:
        if str(asked) != "POST uploadId":
            return None
        return refusal(200, "InternalError")

    before.meddle = fail
    with pytest.raises(Unavailable, match="InternalError"):
        await fs.write_bytes("file", bytes(9 << 20))
    assert await fs.read_bytes("file") == b"old"
    assert [left async for left in fs.driver.leftovers()] == []


async def test_locking_at_commit_finds_conflicts_there(connect: Connect, s3_server: S3Server) -> None:
    fs, elsewhere = connect(s3_server, locking="commit"), connect(s3_server)
    await fs.write_bytes("file", b"old")
    for name, mode, refused in (("file", "r+", Conflict), ("new", "x", AlreadyExists)):
        file = await fs.open(name, mode)
        await file.write(b"one")
        with pytest.raises(Locked):
            await connect(s3_server, locking="commit").open(name, "w")
        async with elsewhere.open(name, mode) as other:
            await other.write(b"two")
        with pytest.raises(refused):
            await file.close()
        assert await fs.read_bytes(name) == b"two"
    assert await asyncio.to_thread(lock_objects, s3_server) == []


async def test_a_file_that_others_change_while_it_is_moved_stays(
    connect: Connect, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    mover, other = connect(s3_server, locking="commit"), connect(s3_server)
    await mover.write_bytes("source", b"old")
    copy = mover.driver.copy

    async def copy_slowly(*given: Any, **more: Any) -> Any:
        copied = await copy(*given, **more)
        await other.write_bytes("source", b"new")
        return copied

    monkeypatch.setattr(mover.driver, "copy", copy_slowly)
    with pytest.raises(Conflict):
        await mover.move("source", "target")
    assert await other.read_bytes("source") == b"new"
    monkeypatch.undo()
    await mover.move("source", "target")
    assert await other.read_bytes("target") == b"new"
    assert not await other.exists("source")


async def test_lock_objects_are_skipped_by_one_request(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    fs = connect(server, page_size=5)
    leases = [await fs.driver.lock(f"file {number}") for number in range(20)]
    for name in ("!before", "after", "folder/file"):
        await put(s3_server, name, b"")
    before.asked.clear()
    assert await fs.ls() == ["!before", "after", "folder/file"]
    assert len(before.asked) == 2
    assert await fs.ls(recursive=False) == ["!before", "after", "folder/"]
    for lease in leases:
        await lease.release()


async def test_sweeping_leaves_a_lock_that_was_taken_since_also_where_removals_are_not_checked(
    connect: Connect, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, other = connect(s3_server).driver, connect(s3_server).driver
    assert isinstance(driver, S3Driver)
    traits = replace(await driver._store.traits("file"), deletes=False)
    monkeypatch.setattr(Store, "traits", lambda *_: asyncio.sleep(0, traits))
    dead = await driver._objects.lock("file")
    await driver._objects.rewrite(freed_note(dead._note), dead._version)
    dead.abandon()
    (leftover,) = [leftover async for leftover in driver.leftovers()]
    look = LockObjects.look
    taken: list[Lease] = []

    async def looked(objects: LockObjects, path: str) -> LockState | None:
        found = await look(objects, path)
        monkeypatch.setattr(LockObjects, "look", look)
        taken.append(await other.lock("file"))  # between the look and the removal
        return found

    monkeypatch.setattr(LockObjects, "look", looked)
    assert not await driver.sweep(leftover)
    assert await taken[0].confirm()
    await taken[0].release()
    dead = await driver._objects.lock("file")
    await driver._objects.rewrite(freed_note(dead._note), dead._version)
    dead.abandon()
    (leftover,) = [leftover async for leftover in driver.leftovers()]
    assert await driver.sweep(leftover)
    assert await asyncio.to_thread(lock_objects, s3_server) == []
