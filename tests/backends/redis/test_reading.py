"""Reading writes nothing on the server, costs it no more than the file is long, and mixes no versions."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis

from aiofs.backends.redis import reading
from aiofs.errors import AccessDenied, Conflict
from aiofs.stores import RedisFileSystem
from servers.process import HOST
from servers.valkey import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.valkey_pair import Pair

MIB = 1 << 20
LARGE = bytes(range(256)) * 4 * 1024 * 12 + b"end"  # 12 MiB and a bit: does not come whole
MIDDLING = LARGE[: 3 * MIB]
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


async def filled(url: str) -> None:
    """Write a file of each kind."""
    async with RedisFileSystem(url) as fs:
        await fs.write_bytes("small", b"small")
        await fs.write_bytes("empty", b"")
        await fs.write_bytes("middling", MIDDLING)
        await fs.write_bytes("large", LARGE)
    async with RedisFileSystem(url, chunked=True, chunk_size=5 * MIB) as fs:
        await fs.write_bytes("in parts", LARGE)


async def read_all(url: str) -> None:
    """Check that all that `filled` wrote can be read in every way."""
    async with RedisFileSystem(url) as fs:
        assert await fs.read_bytes("small") == b"small"
        assert await fs.read_bytes("empty") == b""
        assert await fs.read_bytes("middling") == MIDDLING
        for name in ("large", "in parts"):
            assert (await fs.stat(name)).size == len(LARGE)
            assert await fs.read_bytes(name) == LARGE
            assert await fs.read_bytes(name, 6 * MIB - 3, 6 * MIB + 3) == LARGE[6 * MIB - 3 : 6 * MIB + 3]
            async with fs.open(name) as file:
                assert await file.read(10) == LARGE[:10]
                await file.seek(-5, 2)
                assert await file.read() == LARGE[-5:]
                await file.seek(3 * MIB + 7)
                assert await file.read(5 * MIB) == LARGE[3 * MIB + 7 : 8 * MIB + 7]
        entry, sha1 = await fs.stat("large"), hashlib.sha1(LARGE).hexdigest()
        assert (entry.version, entry.digest) == (sha1, f"sha1:{sha1}")
        assert await fs.ls() == ["empty", "in parts", "large", "middling", "small"]
        with pytest.raises(FileNotFoundError):
            await fs.read_bytes("missing")


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


async def test_reading_writes_nothing(valkey_url: str, raw: redis.Redis) -> None:
    await filled(valkey_url)
    keys, changes = sorted(raw.keys("*")), raw.info("persistence")["rdb_changes_since_last_save"]
    raw.config_resetstat()
    await read_all(valkey_url)
    assert sorted(raw.keys("*")) == keys
    assert raw.info("persistence")["rdb_changes_since_last_save"] == changes
    assert not {"cmdstat_copy", "cmdstat_incr", "cmdstat_pexpire"} & set(raw.info("commandstats"))


async def test_reading_from_a_full_server(valkey_url: str, raw: redis.Redis) -> None:
    await filled(valkey_url)
    with full(raw):
        await read_all(valkey_url)


async def test_reading_from_a_replica(valkey_pair: Pair) -> None:
    await filled(valkey_pair.url)
    valkey_pair.caught_up()
    await read_all(valkey_pair.replica_url)


@pytest.mark.parametrize(
    "rules",
    [["+@all", "-@write"], ["+@read", "+@scripting", "+@connection"], ["+@read"]],
    ids=["all but writing", "reading and scripts", "reading alone"],
)
async def test_reading_as_a_user_who_may_only_read(rules: list[str], valkey_url: str, raw: redis.Redis) -> None:
    await filled(valkey_url)
    port = raw.connection_pool.connection_kwargs["port"]
    raw.execute_command("ACL", "SETUSER", "only", "reset", "on", f">{SECRET}", "~*", *rules)
    try:
        await read_all(f"redis://only:{SECRET}@{HOST}:{port}/0")
        async with RedisFileSystem(f"redis://only:{SECRET}@{HOST}:{port}/0") as fs:
            with pytest.raises(AccessDenied):
                await fs.write_bytes("small", b"other")
    finally:
        raw.execute_command("ACL", "DELUSER", "only")


async def test_a_large_value_is_digested_once_however_many_pieces_are_read(valkey_url: str, raw: redis.Redis) -> None:
    raw.set("large", LARGE)
    async with RedisFileSystem(valkey_url) as fs:
        await fs.stat("large")
        async with fs.open("large") as file:  # so that the server knows the script
            await file.read(1)
        raw.config_resetstat()
        async with fs.open("large") as file:
            pieces = [piece async for piece in _pieces(file, 100_000)]
        stats = raw.info("commandstats")
        assert b"".join(pieces) == LARGE
        assert stats["cmdstat_evalsha"]["calls"] == 1
        assert stats["cmdstat_get"]["calls"] == 1
        blocks = -(-len(LARGE) // reading.BLOCK)
        assert stats["cmdstat_getrange"]["calls"] <= 2 * blocks + 2  # for their digests, and for themselves


async def test_no_version_is_mixed_with_another(valkey_url: str, raw: redis.Redis) -> None:
    other = bytes(reversed(LARGE))
    raw.set("large", LARGE)
    async with RedisFileSystem(valkey_url) as fs, fs.open("large") as file:
        assert await file.read(2 * MIB) == LARGE[: 2 * MIB]
        raw.set("large", other)
        with pytest.raises(Conflict) as caught:
            await file.read()
        assert caught.value.filename == "large"
        await file.seek(9 * MIB)
        with pytest.raises(Conflict):
            await file.read(10)
        raw.set("large", LARGE[: 10 * MIB])
        with pytest.raises(Conflict):
            await file.read()
        raw.delete("large")
        with pytest.raises(Conflict):
            await file.read(10)
        raw.set("large", LARGE)
        assert await file.read() == LARGE[9 * MIB :]


async def test_what_is_asked_for_later_is_of_the_version_that_was_opened(valkey_url: str, raw: redis.Redis) -> None:
    raw.set("large", LARGE)
    async with RedisFileSystem(valkey_url) as fs:
        stream = await fs.driver.read("large", 100, 200)
        raw.setrange("large", 11 * MIB, b"other")
        assert await stream.chunk(100) == LARGE[100:200]
        await stream.seek(0, 10)
        with pytest.raises(Conflict):
            await stream.chunk(10)
        await stream.aclose()


async def test_parts_that_are_gone_are_a_conflict(valkey_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_url, chunked=True, chunk_size=5 * MIB) as fs:
        await fs.write_bytes("file", LARGE)
        changes = (
            partial(fs.write_bytes, "file", LARGE),
            partial(fs.write_bytes, "file", b"x"),
            partial(fs.rm, "file"),
        )
        for change in changes:
            async with fs.open("file") as file:
                assert await file.read(10) == LARGE[:10]
                await change()
                await file.seek(9 * MIB)
                with pytest.raises(Conflict):
                    await file.read()
            await fs.write_bytes("file", LARGE)
        assert len(raw.keys("*")) == 4


async def _pieces(file: Any, size: int) -> Any:
    while piece := await file.read(size):
        yield piece
