"""A replicated cluster whose parts stop and start: the double, or a real one (`servers/fastdfs/sites.py`)."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import FastDFSFileSystem, MemoryFileSystem, NotFound, Unavailable, fsck
from aiofs.backends.fastdfs import FastDFSClient, FileId
from servers.fastdfs.cluster import Cluster
from servers.fastdfs.sites import Double, Real, Site, a_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REAL = Real.of(os.environ)
pytestmark = [
    pytest.mark.skipif(
        REAL is not None and not REAL.has_hooks,
        reason="AIOFS_TEST_FASTDFS names a cluster, but AIOFS_TEST_FASTDFS_STOP and _START not how to stop its parts",
    ),
    pytest.mark.timeout(60 if REAL is None else 600),
]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with a_site() as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[FastDFSClient]:
    async with FastDFSClient(site.trackers, address_map=site.address_map) as client:
        yield client


@asynccontextmanager
async def stopped(site: Site, address: str) -> AsyncIterator[None]:
    await site.stop(address)
    try:
        yield
    finally:
        await site.start(address)


async def source_and_others(client: FastDFSClient, file: str) -> tuple[str, list[str]]:
    """The addresses of the storage that made a file, and of the others of its group."""
    parsed = FileId.parse(file)
    members = await client.members.of(parsed.group)
    [source] = [str(member.address) for member in members if client.members.made(parsed, member)]
    return source, [str(member.address) for member in members if str(member.address) != source]


def system(site: Site, **settings: Any) -> FastDFSFileSystem:
    return FastDFSFileSystem(
        site.trackers, index=MemoryFileSystem(), address_map=site.address_map, log_delay=1.5 if REAL else 0, **settings
    )


async def test_replicated_file_is_read_while_its_source_is_down(site: Site, client: FastDFSClient) -> None:
    stored = await client.upload(b"data" * 1000)
    source, others = await source_and_others(client, stored)
    for other in others:
        await site.replicated(stored, other)
    assert len(await client.query_fetch_all(stored)) == 1 + len(others)
    async with stopped(site, source):
        assert await client.read(stored) == b"data" * 1000
    await client.delete(stored)
    with pytest.raises(NotFound):
        await client.read(stored)


async def test_file_whose_source_is_down_is_never_missing(site: Site, client: FastDFSClient) -> None:
    stored = await client.upload(b"data")
    source, _ = await source_and_others(client, stored)
    async with stopped(site, source):
        try:
            assert await client.exists(stored)
        except Unavailable as error:
            assert FileId.parse(stored).source in str(error) or source in str(error)  # noqa: PT017 -- either is right
    assert await client.read(stored) == b"data"
    await client.delete(stored)


async def test_files_are_written_while_a_storage_is_down(site: Site, client: FastDFSClient) -> None:
    stored = await client.upload(b"data")
    source, _ = await source_and_others(client, stored)
    async with system(site) as fs:
        async with stopped(site, source):
            for number in range(4):
                await fs.write_bytes(f"name{number}", b"%d" % number)
            assert "storage that could not be asked" in {
                finding.kind for finding in await fsck({"data": fs}, journal=MemoryFileSystem())
            }
        for number in range(4):
            assert await fs.read_bytes(f"name{number}") == b"%d" % number
        await fs.rm(*await fs.ls())
        assert "storage that could not be asked" not in {
            finding.kind for finding in await fsck({"data": fs}, journal=MemoryFileSystem())
        }
    await client.delete(stored)


async def test_trackers_stop_one_after_another(site: Site, client: FastDFSClient) -> None:
    if len(site.trackers) < 2:
        pytest.skip("the cluster has one tracker")
    stored = await client.upload(b"data")
    for tracker in site.trackers:
        async with stopped(site, tracker):
            assert await client.read(stored) == b"data"
            await client.delete(await client.upload(b"more"))
    await client.delete(stored)


@pytest.mark.skipif(REAL is not None, reason="it stops the parts of the double by commands")
async def test_commands_stop_and_start_the_parts_of_a_running_cluster() -> None:
    async with Cluster(groups=(2,), trackers=2) as cluster:
        double = Double(cluster)

        async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            verb, address = (await reader.readline()).decode().split()
            await getattr(double, verb)(address)
            writer.write(b"done\n")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(obey, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        command = f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; echo %s {{}} >&3; read -r _ <&3'"
        real = Real.of(
            {
                "AIOFS_TEST_FASTDFS": f"fastdfs://{','.join(double.trackers)}/?address_map="
                + ",".join(f"{address}={where}" for address, where in double.address_map.items()),
                "AIOFS_TEST_FASTDFS_STOP": command % "stop",
                "AIOFS_TEST_FASTDFS_START": command % "start",
            }
        )
        assert real is not None
        async with server, FastDFSClient(real.trackers, address_map=real.address_map) as client:
            for number, address in enumerate(real.address_map):
                async with stopped(real, address):
                    assert [member.is_up for member in await client.members.of("group1")] == [number == 1, number == 0]
            async with stopped(real, real.trackers[0]):
                await client.groups()
            stored = cluster.storages[0].put(b"x")
            cluster.storages[0].replicate()
            await real.replicated(stored, "10.0.1.2:23000")
