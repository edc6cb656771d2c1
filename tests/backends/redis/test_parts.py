"""Files too large for one value, in several keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from aiofs.stores import RedisFileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PART = 100_000
OLD, NEW = bytes(range(256)) * 2000, b"new" * 150_000
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
async def fs(valkey_url: str) -> AsyncIterator[RedisFileSystem]:
    async with RedisFileSystem(valkey_url, chunked=True, chunk_size=PART) as system:
        yield system


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


async def test_a_large_file_has_several_keys_and_a_small_one_has_one(fs: RedisFileSystem, raw: redis.Redis) -> None:
    await fs.write_bytes("small", b"x" * PART)
    assert raw.keys("*") == [b"small"]
    await fs.write_bytes("large", OLD)
    assert raw.type("large") == b"hash"
    assert len(raw.keys(".aiofs-part*")) == 6
    assert await fs.read_bytes("large") == OLD
    assert await fs.ls() == ["large", "small"]
    assert [entry.size async for entry in fs.scan()] == [len(OLD), PART]


async def test_others_read_it_without_being_told(fs: RedisFileSystem, valkey_url: str, raw: redis.Redis) -> None:
    await fs.write_bytes("large", OLD)
    async with RedisFileSystem(valkey_url) as plain:
        assert await plain.read_bytes("large") == OLD
        assert (await plain.stat("large")) == (await fs.stat("large"))
        await plain.write_bytes("large", NEW)
        assert raw.keys("*") == [b"large"]


async def test_all_keys_go_with_the_file(fs: RedisFileSystem, raw: redis.Redis) -> None:
    await fs.write_bytes("large", OLD)
    await fs.copy("large", "copy")
    await fs.move("large", "moved")
    assert await fs.read_bytes("copy") == await fs.read_bytes("moved") == OLD
    await fs.write_bytes("copy", NEW)
    assert await fs.read_bytes("copy") == NEW
    await fs.write_bytes("copy", b"small")
    await fs.rm("moved")
    assert raw.keys("*") == [b"copy"]


async def test_editing_copies_on_the_server(fs: RedisFileSystem) -> None:
    await fs.write_bytes("large", OLD * 6)
    async with fs.open("large", "r+") as file:
        await file.seek(2_000_000)
        await file.write(b"changed")
    expected = bytearray(OLD * 6)
    expected[2_000_000:2_000_007] = b"changed"
    assert await fs.read_bytes("large") == expected
    async with fs.open("large", "a") as file:
        await file.write(b"tail")
    assert await fs.read_bytes("large") == expected + b"tail"
    async with fs.open("large", "r+") as file:
        await file.truncate(5)
    assert await fs.read_bytes("large") == OLD[:5]


async def test_seeking_back_while_writing(fs: RedisFileSystem, raw: redis.Redis) -> None:
    async with fs.open("large", "w") as file:
        await file.write(OLD * 6)
        await file.seek(PART - 3)
        await file.write(b"across")
        await file.truncate(PART + 50)
    expected = bytearray((OLD * 6)[: PART + 50])
    expected[PART - 3 : PART + 3] = b"across"
    assert await fs.read_bytes("large") == expected
    assert len(raw.keys(".aiofs-part*")) == 2


async def test_time_to_live_of_all_keys(valkey_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_url, chunked=True, chunk_size=PART, ttl=100) as fs:
        await fs.write_bytes("large", OLD)
        assert all(90 < raw.ttl(key) <= 100 for key in raw.keys("*"))
