"""Locks with names: what is not of the contract, as it needs one store or another."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import fakeredis
import pytest

import aiofs
from aiofs import clock, waiting
from aiofs.backends.osfiles import driver as osfiles
from aiofs.layers import ReadOnly, WriteOnly
from aiofs.locks import NUMBERS_KEPT, next_number
from aiofs.testing.harness import Stop

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


async def fence_of(fs: aiofs.FileLikeSystem, name: str = "job") -> int | None:
    async with fs.lock(name) as lease:
        return lease.fence


async def test_closing_the_file_system_releases_its_locks() -> None:
    fs = aiofs.MemoryFileSystem()
    other = fs.driver
    lock = fs.lock("job")
    lease = await lock.__aenter__()
    await fs.aclose()
    assert lease.lost
    with pytest.raises(aiofs.Conflict):
        await lease.check()
    with pytest.raises(ValueError, match="closed file system"):
        await lock.__aexit__(None, None, None)
    assert await fence_of(aiofs.FileSystem(other)) is not None
    with pytest.raises(ValueError, match="closed file system"):
        fs.lock("job")


async def test_the_error_of_the_block_stays_when_the_lock_was_lost() -> None:
    fs = aiofs.MemoryFileSystem()
    with pytest.raises(Stop):
        async with fs.lock("job") as lease:
            await lease.release()
            assert lease.lost
            raise Stop


async def test_layers_that_forbid_writing_refuse_locks() -> None:
    fs = aiofs.MemoryFileSystem()
    with pytest.raises(aiofs.AccessDenied, match="read-only") as caught:
        async with fs.over(ReadOnly()).lock("job"):
            pytest.fail("a read-only file system gave a lock")
    assert caught.value.filename == "job"
    assert await fence_of(fs.over(WriteOnly())) is not None


async def test_s3_without_locks_refuses_them_before_any_request() -> None:
    fs = aiofs.S3FileSystem("bucket", endpoint_url="http://127.0.0.1:1", locking="commit")
    with pytest.raises(aiofs.Unsupported, match="locking='commit'") as caught:
        async with fs.at("folder").lock("job"):
            pytest.fail("a store without locks gave one")
    assert caught.value.filename == "job"


@pytest.mark.may_block
async def test_check_asks_the_store_and_not_only_the_clock() -> None:
    client = fakeredis.FakeAsyncRedis()
    fs = aiofs.RedisFileSystem(client=client)
    with pytest.raises(aiofs.Conflict):
        async with fs.lock("job") as lease:
            keys = [key async for key in client.scan_iter(match=".aiofs-lock:*")]
            await client.delete(*keys)
            assert not lease.lost
            with pytest.raises(aiofs.Conflict):
                await lease.check()
            assert lease.lost


@pytest.mark.may_block
async def test_redis_keeps_the_number_for_some_time_and_does_not_need_it() -> None:
    client = fakeredis.FakeAsyncRedis()
    fs = aiofs.RedisFileSystem(client=client, ttl=5)
    first = await fence_of(fs, "jobs/{a}:b")
    keys = [key async for key in client.scan_iter()]
    assert keys == [b".aiofs-locks:jobs:{a}%3Ab"]
    assert NUMBERS_KEPT - timedelta(minutes=1) < timedelta(seconds=await client.ttl(keys[0])) <= NUMBERS_KEPT
    await client.delete(*keys)
    second = await fence_of(fs, "jobs/{a}:b")
    assert first is not None
    assert second is not None
    assert first < second


def test_a_number_grows_also_if_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = next_number(None)
    before = clock.now() - timedelta(hours=1)

    def an_hour_ago() -> datetime:
        return before

    monkeypatch.setattr(clock, "now", an_hour_ago)
    assert next_number(first) == first + 1


def number_in(root: Path) -> Path:
    (number,) = root.glob(".aiofs-locks/.aiofs-number-*")
    return number


async def test_local_files_keep_a_number_until_it_is_old(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    first = await fence_of(fs)
    assert await aiofs.fsck(fs, fix=True) == []
    old = (clock.now() - NUMBERS_KEPT).timestamp() - 1
    os.utime(number_in(tmp_path), (old, old))
    second = await fence_of(fs)  # it is new again
    assert await aiofs.fsck(fs, fix=True) == []
    os.utime(number_in(tmp_path), (old, old))
    async with fs.lock("job") as lease:
        os.utime(number_in(tmp_path), (old, old))
        findings = await aiofs.fsck(fs, fix=True)
        assert {finding.live for finding in findings} == {True}
        await lease.check()
    (finding,) = await aiofs.fsck(fs, fix=True)
    assert (finding.kind, finding.fixed) == ("number of a lock", True)
    assert not list(tmp_path.glob(".aiofs-locks/*"))
    third = await fence_of(fs)
    fences = [first, second, lease.fence, third]
    assert fences == sorted(set(fences), key=lambda fence: fence or 0)


@pytest.mark.parametrize("content", [b"", b"no number", b"9" * 20, b"17"])
async def test_a_number_on_the_disk_that_nobody_can_have_had_is_passed_over(tmp_path: Path, content: bytes) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    first = await fence_of(fs)
    number_in(tmp_path).write_bytes(content)
    second = await fence_of(fs)
    assert first is not None
    assert second is not None
    assert first < second < 1 << 63


async def test_local_files_on_a_network_have_no_fence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osfiles, "network_of", lambda _: "NFS")
    fs = aiofs.OSFileSystem(tmp_path)
    with pytest.warns(RuntimeWarning, match="NFS"):
        assert await fence_of(fs) is None
    kept = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    assert await fence_of(kept) is not None
    alone = aiofs.OSFileSystem(tmp_path, locks="host")
    assert await fence_of(alone) is not None


async def test_a_lock_that_somebody_removed_is_lost(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    with pytest.raises(aiofs.Conflict):
        async with fs.lock("job") as lease:
            (held,) = tmp_path.glob(".aiofs-locks/.aiofs-stage-*")
            held.unlink()
            await lease.check()


@pytest.mark.parametrize("on_disk", [False, True])
async def test_a_release_wakes_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool) -> None:
    monkeypatch.setattr(waiting, "SHORTEST_PAUSE", 60)
    monkeypatch.setattr(waiting, "LONGEST_PAUSE", 60)
    fs = aiofs.OSFileSystem(tmp_path) if on_disk else aiofs.MemoryFileSystem()

    async def wait_for_it() -> int | None:
        async with fs.at("folder").lock("job", wait=100) as lease:
            return lease.fence

    async with fs.lock("folder/job") as lease:
        waiter = asyncio.ensure_future(wait_for_it())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiter), 0.1)
    async with asyncio.timeout(30):
        fence = await waiter
    assert fence is not None
    assert lease.fence is not None
    assert lease.fence < fence


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="has another clock that goes on, or none")
def test_leases_run_out_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {time.CLOCK_MONOTONIC: 100.0, time.CLOCK_BOOTTIME: 3700.0}  # an hour of sleep
    monkeypatch.setattr(time, "clock_gettime", clocks.__getitem__)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    assert clock.running_clock()() == 3700
