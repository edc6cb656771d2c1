"""The contract on FastDFS, over the double or a real cluster, with the index in memory, on disk and in Redis."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from aiofs.backends.fastdfs.driver import capabilities_over
from aiofs.backends.memory import MemoryDriver
from aiofs.backends.osfiles import OSDriver
from aiofs.backends.redis.driver import RedisDriver
from aiofs.backends.redis.names import key_of
from aiofs.filesystem import FileSystem
from aiofs.powers import Sweeps
from aiofs.stores import FastDFSFileSystem, OSFileSystem, RedisFileSystem
from aiofs.testing import Contract, Harness, TransactionContract
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.locking import LocksOfProcesses, NamedLocks
from aiofs.testing.contract.removing import Removing
from aiofs.testing.contract.sessions import Leftovers, Prepared
from aiofs.testing.contract.transactions import Crashes, Refusals
from aiofs.testing.contract.writers import Processes, Writers
from servers.fastdfs.cluster import Cluster
from servers.fastdfs.sites import Real
from servers.leases import lease_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


def too_long(name: str) -> bool:
    """What no folder can hold: a name of more than 255 bytes."""
    return any(len(segment.encode()) > 255 for segment in name.split("/"))


def connect(
    trackers: list[str], address_map: dict[str, str], index: Callable[[], FileSystem], *, close_index: bool = True
) -> FastDFSFileSystem:
    delay = 1.5 if Real.of(os.environ) else 0  # the logs of the double are never late
    return FastDFSFileSystem(trackers, index=index(), close_index=close_index, address_map=address_map, log_delay=delay)


class FastDFS:
    """A cluster, the double or a real one, and a harness for any index."""

    def __init__(self, trackers: list[str], address_map: dict[str, str]) -> None:
        self.places = (trackers, address_map)

    def harness(
        self,
        index: Callable[[], FileSystem],
        inscribe: Callable[[str, bytes], Awaitable[None]],
        *,
        close_index: bool = True,
        **settings: Any,
    ) -> Harness:
        """`inscribe` writes a file of the index as a foreign program would."""
        connected = partial(connect, *self.places, index, close_index=close_index)

        async def meddle(path: str, data: bytes) -> None:
            async with connected() as foreign:
                stored = await foreign.create(data)
            await inscribe(path, json.dumps({"id": stored, "metadata": {}}).encode())

        return Harness(connect=connected, meddle=meddle, **settings)


@pytest.fixture
async def fastdfs() -> AsyncIterator[FastDFS]:
    if real := Real.of(os.environ):
        yield FastDFS(real.trackers, real.address_map)
        return
    async with Cluster() as cluster:
        yield FastDFS(cluster.addresses, cluster.address_map)


@pytest.fixture
def in_memory(fastdfs: FastDFS) -> Harness:
    driver = MemoryDriver()

    async def inscribe(path: str, data: bytes) -> None:
        driver.publish(path, data, next(iter(driver.locks._held.values())), None, None)

    return fastdfs.harness(lambda: FileSystem(driver), inscribe, close_index=False)


@pytest.fixture
def on_disk(fastdfs: FastDFS, tmp_path: Path) -> Harness:
    root = tmp_path / "index"

    async def inscribe(path: str, data: bytes) -> None:
        await asyncio.to_thread((root / path).write_bytes, data)

    return fastdfs.harness(partial(OSFileSystem, root, durable=False), inscribe, cannot_hold=too_long)


@pytest.mark.both_loops(full=True)
class TestFastDFSIndexedInMemory(Contract):
    declares = capabilities_over(MemoryDriver.capabilities)

    @pytest.fixture
    def harness(self, in_memory: Harness) -> Harness:
        return in_memory


@pytest.mark.variant(Commit, Writers, Prepared, Leftovers, Processes, Removing, NamedLocks)
class TestFastDFSIndexedOnDisk(Contract):
    declares = capabilities_over(OSDriver.capabilities)

    @pytest.fixture
    def harness(self, on_disk: Harness) -> Harness:
        return on_disk


@pytest.mark.variant(Writers, Prepared, Leftovers, Processes, NamedLocks, LocksOfProcesses)
class TestFastDFSIndexedInRedis(Contract):
    declares = capabilities_over(RedisDriver.capabilities)

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, fastdfs: FastDFS, valkey_url: str) -> Harness:
        lease = lease_for(request)

        async def inscribe(path: str, data: bytes) -> None:
            async with Redis.from_url(valkey_url) as foreign:
                await foreign.set(key_of(path), data)

        index = partial(RedisFileSystem, valkey_url, lease=lease)
        spawn = partial(connect, *fastdfs.places, index)
        return fastdfs.harness(index, inscribe, spawn=spawn, lease=lease, fenced=True)


class TestFastDFSTransactionsIndexedInMemory(TransactionContract):
    declares = capabilities_over(MemoryDriver.capabilities)

    @pytest.fixture
    def harness(self, in_memory: Harness) -> Harness:
        return in_memory


@pytest.mark.variant(Refusals, Crashes)
class TestFastDFSTransactionsIndexedOnDisk(TransactionContract):
    declares = capabilities_over(OSDriver.capabilities)

    @pytest.fixture
    def harness(self, on_disk: Harness) -> Harness:
        return AfterTheDead(**{field.name: getattr(on_disk, field.name) for field in fields(on_disk) if field.init})


class AfterTheDead(Harness):
    """Sweeps the lock files that a killed process leaves in the index: there is nothing to recover behind them."""

    async def leftovers(self) -> list[str]:
        sweeps = self.driver.index.driver.offers(Sweeps)
        for left in [left async for left in sweeps.leftovers()]:
            if left.kind == "staging file":
                assert left.live or await sweeps.sweep(left)
        return await super().leftovers()
