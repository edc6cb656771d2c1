"""What crashes leave, how it is removed, and before-images."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiofs import (
    Conflict,
    FastDFSFileSystem,
    Locked,
    MemoryFileSystem,
    NotFound,
    Unreachable,
)
from aiofs.testing import Chaos
from backends.fastdfs.systems import leftovers, over, prepared, stored, sweep
from servers.fastdfs.cluster import Fault
from servers.fastdfs.storage import framed

if TYPE_CHECKING:
    from servers.fastdfs.cluster import Cluster


async def test_old_file_that_could_not_be_removed_is_swept(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    cluster.storage.instead = {12: framed(b"", 5)}
    await fs.write_bytes("name", b"new")
    cluster.storage.instead.clear()
    assert await fs.read_bytes("name") == b"new"
    [leftover] = await leftovers(fs)
    assert (leftover.path, leftover.live) == ("name", False)
    assert await sweep(fs, leftover)
    assert await sweep(fs, leftover)
    assert stored(cluster) == [b"new"]
    assert await leftovers(fs) == []


async def test_crash_between_upload_and_index(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await prepared(fs.driver, "name", b"new")
    assert await fs.read_bytes("name") == b"old"
    assert stored(cluster) == [b"new", b"old"]
    [leftover] = await leftovers(fs)
    async with fs.open("name", "a"):
        [busy] = await leftovers(fs)
        assert busy.live
        assert not await sweep(fs, busy)
    assert await sweep(fs, leftover)
    assert stored(cluster) == [b"old"]


@pytest.mark.parametrize("ending", ["commit", "abort"])
async def test_another_system_ends_what_was_prepared(
    fs: FastDFSFileSystem, cluster: Cluster, index: MemoryFileSystem, ending: str
) -> None:
    await fs.write_bytes("name", b"old")
    token = await prepared(fs.driver, "name", b"new")
    async with over(cluster, index) as other:
        for _ in range(2):
            session = await other.driver.resume(token)
            await getattr(session, ending)()
    expected = b"new" if ending == "commit" else b"old"
    assert await fs.read_bytes("name") == expected
    assert stored(cluster) == [expected]


async def test_what_was_prepared_and_swept_is_not_published(fs: FastDFSFileSystem) -> None:
    await fs.write_bytes("name", b"old")
    token = await prepared(fs.driver, "name", b"new")
    [leftover] = await leftovers(fs)
    await sweep(fs, leftover)
    session = await fs.driver.resume(token)
    with pytest.raises(Conflict):
        await session.commit()
    await session.abort()
    assert await fs.read_bytes("name") == b"old"


async def test_published_name_is_not_swept(fs: FastDFSFileSystem) -> None:
    token = await prepared(fs.driver, "name", b"new")
    [leftover] = await leftovers(fs)
    session = await fs.driver.resume(token)
    await session.commit()
    assert not await sweep(fs, leftover)
    assert await fs.read_bytes("name") == b"new"


async def test_answer_that_is_lost_after_the_upload(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    cluster.storage.fault = Fault("cut", "answer", 0)
    with pytest.raises(Unreachable):
        await fs.write_bytes("name", b"new")
    assert await fs.read_bytes("name") == b"old"


@pytest.mark.parametrize("size", [3, 700_000])
async def test_cancelled_upload_leaves_nothing(fs: FastDFSFileSystem, cluster: Cluster, size: int) -> None:
    for turns in range(80):
        task = asyncio.create_task(fs.write_bytes("name", bytes(size)))
        for _ in range(turns):
            await asyncio.sleep(0)
        in_time = task.cancel()
        await asyncio.wait([task])
        await fs.rm("name", missing_ok=True)
        await fs.ls()
        assert stored(cluster) == []
        if not in_time:
            break
    else:
        pytest.fail("the write never ended")


async def test_file_that_is_kept_comes_back(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old", metadata={"k": "v"})
    before = await fs.stat("name")
    await fs.driver.keep("name", "tag-1")
    await fs.driver.keep("name", "tag-1")
    await fs.write_bytes("name", b"new")
    assert stored(cluster) == [b"new", b"old"]
    lease = await fs.driver.lock("name")
    with pytest.raises(Conflict):
        await fs.driver.restore("name", "tag-1", lease, match=str(before.version))
    restored = await fs.driver.restore("name", "tag-1", lease, match=str((await fs.stat("name")).version))
    await lease.release()
    assert restored == before == await fs.stat("name")
    assert await fs.read_bytes("name") == b"old"
    await fs.driver.drop("name", "tag-1")
    await fs.driver.drop("name", "tag-1")
    assert stored(cluster) == [b"old"]
    assert await leftovers(fs) == []


async def test_file_that_is_kept_goes_when_it_is_dropped(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag")
    await fs.rm("name")
    assert stored(cluster) == [b"old"]
    await fs.driver.drop("name", "tag")
    assert stored(cluster) == []


async def test_missing_file_is_not_kept(fs: FastDFSFileSystem) -> None:
    await fs.driver.keep("name", "tag")
    lease = await fs.driver.lock("name")
    with pytest.raises(NotFound):
        await fs.driver.restore("name", "tag", lease, match="")
    await lease.release()


@pytest.mark.parametrize("ending", ["commit", "write", "rm"])
async def test_what_a_process_that_died_kept_stays(
    fs: FastDFSFileSystem, cluster: Cluster, index: MemoryFileSystem, ending: str
) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag")
    async with over(cluster, index) as heir:
        if ending == "commit":
            session = await heir.driver.resume(await prepared(fs.driver, "name", b"new"))
            await session.commit()
        elif ending == "write":
            await heir.write_bytes("name", b"new")
        else:
            await heir.rm("name")
        assert b"old" in stored(cluster)
        lease = await heir.driver.lock("name")
        match = "" if ending == "rm" else str((await heir.stat("name")).version)
        await heir.driver.restore("name", "tag", lease, match=match)
        await lease.release()
        await heir.driver.drop("name", "tag")
        assert await heir.read_bytes("name") == b"old"
        assert stored(cluster) == [b"old"]


async def test_file_that_is_kept_twice_stays_until_both_are_dropped(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag-1")
    await fs.driver.keep("name", "tag-2")
    await fs.rm("name")
    await fs.driver.drop("name", "tag-1")
    assert stored(cluster) == [b"old"]
    await fs.driver.drop("name", "tag-2")
    assert stored(cluster) == []
    assert [entry.path async for entry in fs.driver.list()] == []


async def test_nobody_drops_what_is_about_to_be_kept(cluster: Cluster, index: MemoryFileSystem) -> None:
    """Or there would be a mark of an image that is gone, and the file would stay for ever."""
    chaos = Chaos()
    async with over(cluster, index) as other, over(cluster, index.over(chaos)) as fs:

        async def drop() -> None:
            with pytest.raises(Locked):
                await other.driver.drop("name", "tag")

        await fs.write_bytes("name", b"old")
        chaos.before("lock", drop, nth=2)  # the first is that of the image, the second that of the mark
        await fs.driver.keep("name", "tag")
        assert chaos.calls["lock"] > 1
        await other.driver.drop("name", "tag")
        assert [entry.path async for entry in fs.driver.list(".aiofs-before/")] == []


async def test_before_images_are_swept_when_nobody_holds_them(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"old")
    await fs.driver.keep("name", "tag")
    await fs.write_bytes("name", b"new")
    async with fs.open("name", "a"):
        [busy] = await leftovers(fs)
        assert (busy.kind, busy.live) == ("before-image", True)
        assert not await sweep(fs, busy)
    [leftover] = await leftovers(fs)
    assert await sweep(fs, leftover)
    assert stored(cluster) == [b"new"]
    assert await leftovers(fs) == []
    assert await fs.ls() == ["name"]
