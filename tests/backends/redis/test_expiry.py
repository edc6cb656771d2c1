"""Files with a time to live of their own: which keys get it, and what must not change it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest
import redis

from aiofs import clock
from aiofs.backends.redis.names import PART
from aiofs.errors import Conflict
from aiofs.layers import Gzip, Percent
from aiofs.stores import RedisFileSystem
from aiofs.transactions.commit import Work
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiofs.backends.redis.locks import RedisLease

CHUNK = 100_000
LARGE = bytes(range(256)) * 2000
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
async def fs(valkey_url: str) -> AsyncIterator[RedisFileSystem]:
    async with RedisFileSystem(valkey_url, chunked=True, chunk_size=CHUNK, lease=9) as system:
        yield system


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def lives(raw: redis.Redis) -> set[int]:
    """How many seconds the keys have left, in hundreds; -1 for those that stay."""
    return {-1 if (left := raw.ttl(key)) < 0 else round(left, -2) for key in raw.keys("*")}


async def test_all_keys_of_a_file_have_its_time(fs: RedisFileSystem, raw: redis.Redis) -> None:
    await fs.write_bytes("large", LARGE, ttl=500)
    await fs.write_bytes("small", b"bytes", ttl=500)
    assert len(raw.keys(f"{PART}*")) == 6
    await fs.copy("large", "copy")
    await fs.move("copy", "moved")
    await fs.append_bytes("large", b"!")
    assert lives(raw) == {500}
    for name in ("large", "small", "moved"):
        await fs.write_bytes(name, LARGE)
    assert lives(raw) == {-1}


async def test_no_key_is_left_of_what_went_away(fs: RedisFileSystem, raw: redis.Redis) -> None:
    await fs.write_bytes("large", LARGE, ttl=500)
    await fs.copy("large", "copy")
    for key in raw.keys("*"):
        raw.pexpireat(key, 1)
    assert raw.dbsize() == 0
    assert await fs.ls() == []


async def test_renewing_the_lock_does_not_change_what_was_published(fs: RedisFileSystem, raw: redis.Redis) -> None:
    """A renewal may be on its way while the file is published: it still names the parts as staged."""
    lease = cast("RedisLease", await fs.driver.lock("large"))
    session = await fs.driver.begin("large", lease, metadata={":ttl": "500"})
    for start in range(0, len(LARGE), CHUNK):
        await session.write(LARGE[start : start + CHUNK])
    staged = set(lease.staged)
    await session.commit()
    lease.staged.update(staged)
    assert await lease._prolong()
    assert {round(raw.ttl(key), -2) for key in staged} == {500}
    await lease.release()


async def test_the_argument_comes_before_the_setting(valkey_url: str, raw: redis.Redis) -> None:
    """And the setting before what the file had: with it, every write begins the time anew, as ever."""
    async with RedisFileSystem(valkey_url, ttl=700) as fs:
        await fs.write_bytes("file", b"bytes", ttl=300)
        assert lives(raw) == {300}
        await fs.append_bytes("file", b"!")
        assert lives(raw) == {700}
        raw.expire("file", 300)
        await fs.copy("file", "copy")
        assert round(raw.ttl("copy"), -2) == 700


@pytest.mark.parametrize("data", [b"bytes", LARGE], ids=["small", "in parts"])
async def test_a_write_over_what_went_away_meanwhile_is_refused(
    fs: RedisFileSystem, raw: redis.Redis, data: bytes
) -> None:
    await fs.write_bytes("file", data, ttl=500)
    with pytest.raises(Conflict):
        async with fs.open("file", "a") as file:
            await file.write(b"more")
            raw.delete(*(key for key in raw.keys("*") if raw.ttl(key) > 100))
    assert await fs.ls() == []


async def test_layers_pass_it(fs: RedisFileSystem, raw: redis.Redis) -> None:
    above = fs.at("folder").over(Percent(), Gzip())
    await above.write_bytes("odd name", LARGE, ttl=500)
    assert (await above.stat("odd name")).expires is not None
    await above.append_bytes("odd name", b"!")
    async with above.open("odd name", "r+") as file:
        await file.write(b"?")
    await above.copy("odd name", "copy")
    assert lives(raw) == {500}
    assert await above.read_bytes("copy") == b"?" + LARGE[1:] + b"!"


async def test_a_prepared_write_keeps_it(
    fs: RedisFileSystem, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when it is published, or, for what goes on as an old file, until that file would have gone."""
    await fs.write_bytes("old", LARGE, ttl=300)
    kept = (await fs.stat("old")).kept(fs.driver.capabilities)
    for path, metadata in (("new", {":ttl": "500"}), ("old", kept)):
        lease = await fs.driver.lock(path)
        session = await fs.driver.begin(path, lease, metadata=metadata)
        await session.write(b"bytes")
        token = await session.prepare()
        await session.leave()
        await lease.release()
        assert {raw.ttl(key) for key in raw.keys(f"{PART}:{token['session']}*")} == {-1}
        with monkeypatch.context() as later:
            time = clock.now() + timedelta(seconds=100)
            later.setattr(clock, "now", lambda time=time: time)
            resumed = await (await fs.driver.resume(token)).commit()
        assert resumed.path == path
    assert (round(raw.ttl("new"), -2), round(raw.ttl("old"), -2)) == (500, 200)


@pytest.mark.parametrize("expired", [False, True])
async def test_a_transaction_puts_it_back_with_its_time(
    fs: RedisFileSystem, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch, *, expired: bool
) -> None:
    """If what it was went away before it was put back, there is no file then."""
    for path, data in (("small", b"old"), ("large", LARGE)):
        await fs.write_bytes(path, data, ttl=300)
    await fs.write_bytes("refused", b"old")
    publish, done = Work.publish, asyncio.Barrier(3)

    async def last(work: Work) -> None:
        if work.step.path != "refused":
            await publish(work)
        await done.wait()
        if work.step.path == "refused":
            raw.set("refused", b"theirs")
            (image,) = raw.keys(".aiofs-before*")
            assert round(raw.ttl(image), -2) == 300
            if expired:
                raw.delete(image, *raw.keys(f"{PART}*{{{image.decode()}}}"))
            await publish(work)

    monkeypatch.setattr(Work, "publish", last)
    with pytest.raises(Conflict, match="changed"):
        async with transaction(fs) as tx:
            for path in ("small", "large", "refused"):
                await tx.write_bytes(path, LARGE[:-1])
    assert await fs.read_bytes("small") == b"old"
    assert await fs.ls() == (["refused", "small"] if expired else ["large", "refused", "small"])
    if not expired:
        assert await fs.read_bytes("large") == LARGE
    assert {round(raw.ttl(path), -2) for path in ("small", "large") if raw.exists(path)} == {300}
    assert not [key for key in raw.keys(".aiofs-*") if raw.ttl(key) < 0 or b"before" in key]
