"""A cluster and a client of it for every test that asks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from aiofs import FastDFSFileSystem, MemoryFileSystem
from aiofs.backends.fastdfs import FastDFSClient
from backends.fastdfs.systems import over
from servers.fastdfs.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Starts(Protocol):
    """Starts a cluster, ended with the test."""

    async def __call__(self, **settings: Any) -> Cluster: ...


class Connects(Protocol):
    """Makes a client of a cluster, closed with the test."""

    def __call__(self, cluster: Cluster, **settings: Any) -> FastDFSClient: ...


@pytest.fixture
async def start() -> AsyncIterator[Starts]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Cluster:
            return await stack.enter_async_context(Cluster(**settings))

        yield start


@pytest.fixture
async def connect(start: Starts) -> AsyncIterator[Connects]:  # noqa: ARG001  (clients are closed before clusters)
    async with contextlib.AsyncExitStack() as stack:

        def connect(cluster: Cluster, **settings: Any) -> FastDFSClient:
            settings = {"address_map": cluster.address_map, "network_timeout": 5} | settings
            client = FastDFSClient(cluster.addresses, **settings)
            stack.push_async_callback(client.aclose)
            return client

        yield connect


@pytest.fixture
async def cluster(start: Starts) -> Cluster:
    return await start()


@pytest.fixture
def client(cluster: Cluster, connect: Connects) -> FastDFSClient:
    return connect(cluster)


@pytest.fixture
def index() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
async def fs(cluster: Cluster, index: MemoryFileSystem) -> AsyncIterator[FastDFSFileSystem]:
    async with over(cluster, index) as fs:
        yield fs


@pytest.fixture
async def bare(cluster: Cluster) -> AsyncIterator[FastDFSFileSystem]:
    """Without an index."""
    async with over(cluster, None) as fs:
        yield fs
