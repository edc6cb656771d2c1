"""A cluster of three nodes: what belongs to a file is on one of them, and files are on all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import redis
import redis.asyncio

from aiofs.backends.redis.names import slot_of
from aiofs.stores import RedisFileSystem
from servers.process import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMES = [f"folder {number}/file {number}" for number in range(30)]
LARGE = bytes(range(256)) * 10_000
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
async def fs(valkey_cluster_url: str) -> AsyncIterator[RedisFileSystem]:
    async with RedisFileSystem(valkey_cluster_url) as system:
        yield system


def all_keys(nodes: list[int]) -> list[list[bytes]]:
    keys = []
    for port in nodes:
        with redis.Redis(HOST, port) as client:
            keys.append(client.keys("*"))
    return keys


async def test_files_are_on_all_nodes_and_listed_as_one(fs: RedisFileSystem, valkey_nodes: list[int]) -> None:
    for name in NAMES:
        await fs.write_bytes(name, name.encode())
    assert all(all_keys(valkey_nodes))
    assert await fs.ls() == sorted(NAMES)
    assert [entry.size async for entry in fs.scan()] == [len(name) for name in sorted(NAMES)]


async def test_names_with_braces(fs: RedisFileSystem, valkey_nodes: list[int]) -> None:
    names = ["{tag}/a", "{tag}/b", "}", "{}", "a}b{c", "{a", "}{x}y"]
    for name in names:
        await fs.write_bytes(name, LARGE)
    for name in names:
        async with fs.open(name, "r+") as file:
            await file.write(b"!")
        assert await fs.read_bytes(name) == b"!" + LARGE[1:]
    assert sum(map(len, all_keys(valkey_nodes))) == len(names)


async def test_copies_and_moves_from_node_to_node(fs: RedisFileSystem, valkey_nodes: list[int]) -> None:
    assert len({slot_of(name) * len(valkey_nodes) // 16384 for name in ("a", "b", "c")}) == 3
    await fs.write_bytes("a", LARGE)
    await fs.copy("a", "b")
    await fs.move("b", "c")
    await fs.copy("c", "{c}2")
    await fs.move("{c}2", "{c}3")
    assert await fs.ls() == ["a", "c", "{c}3"]
    for name in await fs.ls():
        assert await fs.read_bytes(name) == LARGE
    assert sum(map(len, all_keys(valkey_nodes))) == 3


async def test_removing_from_several_nodes_is_all_or_nothing(fs: RedisFileSystem, valkey_nodes: list[int]) -> None:
    for name in NAMES:
        await fs.write_bytes(name, b"x")
    with pytest.raises(FileNotFoundError) as missing:
        await fs.rm(*NAMES, "missing")
    assert missing.value.filename == "missing"
    async with fs.open(NAMES[20], "w"):
        with pytest.raises(BlockingIOError) as locked:
            await fs.rm(*NAMES)
        assert locked.value.filename == NAMES[20]
    assert await fs.ls() == sorted(NAMES)
    await fs.rm(*NAMES)
    assert not any(all_keys(valkey_nodes))


async def test_parts_are_on_their_files_node(valkey_cluster_url: str, valkey_nodes: list[int]) -> None:
    async with RedisFileSystem(valkey_cluster_url, chunked=True, chunk_size=100_000) as fs:
        await fs.write_bytes("file", LARGE)
        assert await fs.read_bytes("file") == LARGE
        assert sorted(map(len, all_keys(valkey_nodes))) == [0, 0, 27]
        await fs.rm("file")
        assert not any(all_keys(valkey_nodes))


async def test_a_lent_client_of_a_cluster(valkey_cluster_url: str) -> None:
    async with redis.asyncio.RedisCluster.from_url(valkey_cluster_url) as client:
        async with RedisFileSystem(client=client) as fs:
            await fs.write_bytes("a", LARGE)
            await fs.copy("a", "b")
            assert await fs.ls() == ["a", "b"]
        assert await client.get("b") == LARGE


@pytest.mark.parametrize("lent", [False, True])
async def test_many_who_come_first_ask_the_right_node_at_once(
    valkey_cluster_url: str, valkey_nodes: list[int], *, lent: bool
) -> None:
    for port in valkey_nodes:
        with redis.Redis(HOST, port) as node:
            node.config_resetstat()
    client = redis.asyncio.RedisCluster.from_url(valkey_cluster_url) if lent else None
    async with RedisFileSystem(None if lent else valkey_cluster_url, client=client) as fs:
        await asyncio.gather(*(fs.write_bytes(name, b"new") for name in NAMES))
    if client is not None:
        await client.aclose()
    for port in valkey_nodes:
        with redis.Redis(HOST, port) as node:
            assert "errorstat_MOVED" not in node.info("errorstats")
