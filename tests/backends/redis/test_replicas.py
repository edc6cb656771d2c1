"""A replica for who only reads, a sentinel that says who is the primary, and certificates of clients."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest
import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel
from redis.cluster import LoadBalancingStrategy as Strategy

from aiofs.errors import Unsupported
from aiofs.layers.names import Prefix
from aiofs.stores import RedisFileSystem
from aiofs.urls import connect
from servers.process import HOST, NOBODY
from servers.proxy import FaultProxy
from servers.valkey import SECRET
from servers.valkey_pair import SERVICE

if TYPE_CHECKING:
    from servers.tls import Authority
    from servers.valkey import Valkey
    from servers.valkey_pair import Pair, Watched

MIB = 1 << 20
OLD, NEW = b"old!" * 3 * MIB, b"new!" * 3 * MIB  # 12 MiB
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


async def test_only_plain_reading_goes_to_the_replica(valkey_pair: Pair) -> None:
    async with connect(f"{valkey_pair.url}?replica={valkey_pair.replica_url}") as fs:
        await fs.write_bytes("folder/file", b"old")
        valkey_pair.caught_up()
        with valkey_pair.apart():
            await fs.write_bytes("folder/file", b"newer")
            assert await fs.read_bytes("folder/file") == b"old"
            assert await fs.at("folder").read_bytes("file") == b"old"
            async with fs.open("folder/file", "r", encoding="utf-8") as text:
                assert await text.read() == "old"
            assert (await fs.stat("folder/file")).size == 5
            async with fs.open("folder/file", "r+") as file:
                assert await file.read() == b"newer"
                await file.write(b"!")
            async with fs.open("folder/file", "a") as file:
                await file.write(b"?")
            await fs.copy("folder/file", "copy")
            assert await fs.read_bytes("copy") == b"newer!?"


async def test_what_the_replica_misses_is_asked_of_the_primary(valkey_pair: Pair) -> None:
    async with RedisFileSystem(valkey_pair.url, replica=valkey_pair.replica_url) as fs:
        with valkey_pair.apart():
            for data in (b"small", NEW):
                await fs.write_bytes("file", data)
                assert await fs.read_bytes("file") == data
            with pytest.raises(FileNotFoundError):
                await fs.read_bytes("never")


@pytest.mark.parametrize("chunked", [False, True], ids=["one key", "several keys"])
async def test_a_replica_that_changes_while_it_is_read(valkey_pair: Pair, *, chunked: bool) -> None:
    """Nothing is mixed: the rest of the version comes from whoever still has it."""
    settings = {"chunked": chunked, "chunk_size": 5 * MIB}
    async with RedisFileSystem(valkey_pair.url, replica=valkey_pair.replica_url, **settings) as fs:
        await fs.write_bytes("file", OLD)
        valkey_pair.caught_up()
        with valkey_pair.apart():
            async with fs.open("file") as file:
                assert await file.read(10) == OLD[:10]
                with redis.Redis(HOST, valkey_pair.replica) as replica:
                    replica.flushall()
                await file.seek(6 * MIB)
                assert await file.read() == OLD[6 * MIB :]


async def test_a_replica_that_is_not_there(valkey_pair: Pair) -> None:
    async with RedisFileSystem(valkey_pair.url, replica=f"redis://{HOST}:{NOBODY}/0") as fs:
        await fs.write_bytes("file", b"data")
        assert await fs.read_bytes("file") == b"data"


async def test_layers_that_change_bytes_read_the_primary(valkey_pair: Pair) -> None:
    async with RedisFileSystem(valkey_pair.url, replica=valkey_pair.replica_url) as store:
        fs = store.over(Prefix("below/"))
        await fs.write_bytes("file", b"old")
        valkey_pair.caught_up()
        with valkey_pair.apart():
            await fs.write_bytes("file", b"new")
            assert await fs.read_bytes("file") == b"old"


async def test_a_replica_goes_with_one_server_only(valkey_cluster_url: str, valkey_url: str) -> None:
    cluster = redis.asyncio.RedisCluster.from_url(valkey_cluster_url)
    for settings in ({"client": cluster, "replica": valkey_url}, {"url": valkey_url, "replica": cluster}):
        with pytest.raises(ValueError, match="leave replica= out"):
            RedisFileSystem(**settings)
    spread = redis.asyncio.RedisCluster.from_url(valkey_cluster_url, load_balancing_strategy=Strategy.ROUND_ROBIN)
    with pytest.raises(ValueError, match="asks primaries only"):
        RedisFileSystem(client=spread)
    for client in (cluster, spread):
        await client.aclose()
    async with RedisFileSystem(valkey_cluster_url, replica=valkey_url) as fs:
        for attempt in (fs.write_bytes("file", b""), fs.stat("file")):
            with pytest.raises(Unsupported, match="leave replica= out") as caught:
                await attempt
            assert caught.value.filename == "file"
    async with RedisFileSystem(valkey_url, replica=valkey_cluster_url) as fs:
        await fs.write_bytes("file", b"bytes")
        with pytest.raises(Unsupported, match="leave replica= out"):
            await fs.read_bytes("file")


async def test_a_sentinel_says_who_is_the_primary(valkey_watched: Watched) -> None:
    pair = valkey_watched.pair
    sentinel = Sentinel([(HOST, valkey_watched.sentinel)])
    primary, replica = sentinel.master_for(SERVICE), sentinel.slave_for(SERVICE)
    async with sentinel, primary, replica, RedisFileSystem(client=primary, replica=replica, lease=5) as fs:
        await fs.write_bytes("file", b"before")
        pair.caught_up()
        assert await fs.read_bytes("file") == b"before"
        with redis.Redis(HOST, valkey_watched.sentinel) as asked, redis.Redis(HOST, pair.primary) as old:
            asked.execute_command("SENTINEL", "FAILOVER", SERVICE)
            while old.info("replication")["role"] != "slave":  # noqa: ASYNC110 -- the server tells nobody
                await asyncio.sleep(0.01)
        await fs.write_bytes("file", b"after")
        assert (await fs.stat("file")).size == 5
    with redis.Redis(HOST, pair.replica) as new:
        assert new.get("file") == b"after"


async def test_a_writer_with_no_more_rights_than_it_needs(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as raw:
        port = raw.connection_pool.connection_kwargs["port"]
        rules = ("reset", "on", f">{SECRET}", "~app:*", "~.aiofs-*", "+@read", "+@write", "+@scripting")
        raw.execute_command("ACL", "SETUSER", "writer", *rules)
        try:
            async with RedisFileSystem(f"redis://writer:{SECRET}@{HOST}:{port}/0") as fs:
                await fs.write_bytes("app/file", NEW)
                async with fs.open("app/file", "a") as file:
                    await file.write(b"tail")
                await fs.copy("app/file", "app/copy")
                await fs.move("app/copy", "app/moved")
                assert await fs.read_bytes("app/moved") == NEW + b"tail"
                await fs.rm("app/moved")
                assert await fs.ls() == ["app/file"]
                with pytest.raises(PermissionError):
                    await fs.write_bytes("other/file", b"x")
        finally:
            raw.execute_command("ACL", "DELUSER", "writer")
        assert raw.keys("*") == [b"app:file"]


async def test_a_client_shows_its_certificate(own_valkey: Valkey, authority: Authority) -> None:
    context = authority.server_context
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    async with FaultProxy(own_valkey.emptied().port, tls=context) as front:
        trusting = f"rediss://{HOST}:{front.port}/0?ssl_ca_certs={authority.path}"
        shown = f"&ssl_certfile={authority.certificate}&ssl_keyfile={authority.key}"
        async with connect(trusting + shown) as fs:
            await fs.write_bytes("file", b"x")
            assert await fs.read_bytes("file") == b"x"
        async with connect(f"{trusting}&timeout=1") as fs:
            with pytest.raises(ConnectionError):
                await fs.read_bytes("file")
