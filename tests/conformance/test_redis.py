"""The contract on Redis, over real servers: one alone, a cluster of three nodes, and files in several keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis, RedisCluster

from aiofs.backends.redis.driver import RedisDriver
from aiofs.backends.redis.names import PART, key_of
from aiofs.filesystem import FileSystem
from aiofs.stores import RedisFileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.between import BetweenStores
from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.lasting import Lasting
from aiofs.testing.contract.life import Life
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.locking import NamedLocks
from aiofs.testing.contract.reading import Changing, ReadingFiles
from aiofs.testing.contract.removing import Removing
from aiofs.testing.contract.sessions import Leftovers, Prepared
from aiofs.testing.contract.waiting import Waiting
from aiofs.testing.contract.wholes import Sources
from aiofs.testing.contract.writers import Processes, Writers
from aiofs.testing.contract.writing import WrittenBytes
from servers.leases import lease_for
from servers.process import HOST, NOBODY
from servers.valkey import SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = 300_000


def harness_of(url: str, lease: int, client: type[Redis | RedisCluster] = Redis, **settings: object) -> Harness:
    async def meddle(path: str, data: bytes) -> None:
        async with client.from_url(url) as foreign:
            await foreign.set(key_of(path), data)

    async def residue() -> Sequence[str]:
        async with client.from_url(url) as foreign:
            keys = [key.decode() async for key in foreign.scan_iter(match=".aiofs-*")]
            return [key for key in keys if not (settings.get("chunked") and key.startswith(PART))]

    return Harness(
        connect=partial(RedisFileSystem, url, lease=lease, **settings),
        lease=lease,
        fenced=True,
        versions_differ=False,
        paged=lambda size: FileSystem(RedisDriver(url, page=size, **settings)),
        unreachable=lambda: RedisFileSystem(f"redis://{HOST}:{NOBODY}"),
        secrets=[SECRET],
        meddle=meddle,
        residue=residue,
    )


@pytest.mark.both_loops(
    *(WrittenBytes, CancelledWriting, CancelledReading, Waiting, Life),
    *(Sources.test_269_cancelled_sources, BetweenStores.test_319_cancelled_moves),
)
class TestRedis(Contract):
    declares = RedisDriver.capabilities
    server = True
    credentials = True

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, valkey_url: str, valkey_users: dict[str, str]) -> Harness:
        harness = harness_of(valkey_url, lease_for(request))
        harness.denied = lambda: RedisFileSystem(valkey_users["stranger"])
        return harness


@pytest.mark.variant(Commit, Writers, Prepared, Leftovers, Processes, NamedLocks, Listings, Removing, Lasting)
class TestRedisCluster(Contract):
    declares = RedisDriver.capabilities
    server = True

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, valkey_cluster_url: str) -> Harness:
        return harness_of(valkey_cluster_url, lease_for(request), RedisCluster)


@pytest.mark.variant(
    WrittenBytes, ReadingFiles, Changing, Commit, CancelledWriting, Prepared, Leftovers, Removing, Lasting
)
class TestRedisInParts(Contract):
    """Files so large for a value that most of them have several keys."""

    declares = RedisDriver.capabilities
    server = True

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, valkey_url: str) -> Harness:
        return harness_of(valkey_url, lease_for(request), chunked=True, chunk_size=SMALL)
