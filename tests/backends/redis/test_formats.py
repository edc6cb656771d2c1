"""What 2.0.0a1 left, kept in a file as its own code wrote it, is finished or undone; unknown formats are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from aiofs.backends.redis.driver import RedisDriver
from aiofs.errors import Locked, Unsupported
from aiofs.stores import RedisFileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LEFT = json.loads(Path(__file__).with_name("left_by_2_0_0a1.json").read_text("utf-8"))
PARTS = b"abcdefghij" * 250
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    """A client of the server as 2.0.0a1 left it."""
    with redis.Redis.from_url(valkey_url) as client:
        for key, left in LEFT["keys"].items():
            if isinstance(left["value"], str):
                client.set(key, left["value"], ex=60 if left["expires"] else None)
            else:
                client.hset(key, mapping=left["value"])
        yield client


@pytest.fixture
async def fs(valkey_url: str, raw: redis.Redis) -> AsyncIterator[RedisFileSystem]:  # noqa: ARG001 -- it fills the server
    async with RedisFileSystem(valkey_url, chunked=True, chunk_size=1000) as system:
        yield system


async def test_a_file_in_parts_is_read_changed_and_removed(fs: RedisFileSystem, raw: redis.Redis) -> None:
    assert await fs.read_bytes("in parts") == PARTS
    async with fs.open("in parts", "a") as file:
        await file.write(b"tail")
    assert await fs.read_bytes("in parts") == PARTS + b"tail"
    assert raw.hget("in parts", "format") == b"1"
    await fs.rm("in parts")
    assert [key for key in raw.keys("*{in parts}*") if b"-pin:" not in key] == []


@pytest.mark.parametrize(("name", "size"), [("prepared", 10), ("prepared in parts", 2500)])
async def test_a_prepared_write_is_finished(fs: RedisFileSystem, name: str, size: int) -> None:
    taken = await fs.driver.resume(LEFT["tokens"][name])
    entry = await taken.commit()
    assert entry.version == (await fs.stat(name)).version
    assert await fs.read_bytes(name) == b"n" * size


async def test_a_prepared_write_is_undone(fs: RedisFileSystem, raw: redis.Redis) -> None:
    taken = await fs.driver.resume(LEFT["tokens"]["to be aborted"])
    await taken.abort()
    assert await fs.read_bytes("to be aborted") == b"old"
    assert raw.keys("*{to be aborted}") == []


async def test_a_lock_keeps_us_out_and_what_was_staged_under_it_is_swept(fs: RedisFileSystem, raw: redis.Redis) -> None:
    with pytest.raises(Locked, match="by host:4321 since 2026-"):
        await fs.write_bytes("staged", b"x")
    raw.delete(".aiofs-lock:{staged}")
    driver = fs.driver
    assert isinstance(driver, RedisDriver)
    for leftover in [leftover async for leftover in driver.leftovers("staged")]:
        assert await driver.sweep(leftover)
    assert raw.keys("*{staged}") == []
    await fs.write_bytes("staged", b"x")


async def test_a_lock_of_ours_begins_as_those_of_2_0_0a1(fs: RedisFileSystem, raw: redis.Redis) -> None:
    """That version looks at the key, and at what its value begins with: it is kept out too."""
    async with fs.open("file", "w"):
        value = raw.get(".aiofs-lock:{file}").decode()
    first, number = value.split("\n")
    assert len(first.split(" ", 2)) == len(LEFT["keys"][".aiofs-lock:{staged}"]["value"].split(" ", 2))
    assert number == "aiofs-format 1"


async def test_formats_that_are_not_known_are_refused_by_name(fs: RedisFileSystem, raw: redis.Redis) -> None:
    raw.hset("in parts", "format", "7")
    calls: list[Any] = [
        lambda: fs.read_bytes("in parts"),
        lambda: fs.stat("in parts"),
        lambda: fs.write_bytes("in parts", b"x"),
        lambda: fs.rm("in parts"),
        lambda: fs.copy("in parts", "copy"),
        lambda: fs.driver.resume({**LEFT["tokens"]["prepared"], "format": 7}),
    ]
    for call in calls:
        with pytest.raises(Unsupported, match=r"has format 7, .* knows 1: use the version that wrote it"):
            await call()
    assert raw.hget("in parts", "size") == b"2500"
    assert await fs.ls("in parts") == []
    assert "in parts" in await fs.ls()
    raw.set(".aiofs-lock:{new}", "token since name\naiofs-format 7", ex=60)
    with pytest.raises(Locked, match="the lock of this file has format 7"):
        await fs.write_bytes("new", b"x")
