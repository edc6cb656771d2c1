"""What a store prepared comes back from a journal: each store checks it, and touches nothing but what it prepared."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.stores import AzureFileSystem, MemoryFileSystem, OSFileSystem, RedisFileSystem, S3FileSystem
from backends.fastdfs.systems import over
from servers.fastdfs.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiofs.driver import Driver, WriteSession
    from aiofs.filesystem import FileSystem
    from servers.azurite.server import AzureAccount
    from servers.moto import S3Server

WRONG: list[Any] = [None, True, 1 << 70, {}, [None], "../b", "a\r\nX-Evil: 1", "\ud800", {"../b": "\0"}]
LARGE = bytes(1 << 17)


async def prepared(driver: Driver, path: str) -> tuple[WriteSession, dict[str, Any]]:
    """Prepare new bytes, as a process that dies then does."""
    lease = await driver.lock(path)
    session = await driver.begin(path, lease, match="")
    for start in range(0, len(LARGE), driver.part_size):
        await session.write(LARGE[start : start + driver.part_size])
    token = await session.prepare()
    await session.leave()
    await lease.release()
    return session, json.loads(json.dumps(token))


def forgeries(token: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the token with each field wrong in many ways, or missing."""
    wrong = [{**token, name: value} for name in token for value in WRONG]
    return wrong + [{key: value for key, value in token.items() if key != name} for name in token]


async def check(fs: FileSystem) -> None:
    """Resume forged tokens; whatever they say, nothing is raised but errors of the package, and nothing is touched."""
    driver = fs.driver
    await fs.write_bytes("b", b"somebody else's")
    _, token = await prepared(driver, "a")
    for path in ("..", "../b", "x/../b", "/b", "", ".aiofs-journal/x", None, 7, ["b"]):
        with pytest.raises(aiofs.Damaged, match="'path'"):
            await driver.resume({**token, "path": path})
    for forged in forgeries(token):
        with suppress(aiofs.AiofsError):
            session = await driver.resume(forged)
            await session.leave()
    assert await fs.ls() == ["b"]
    assert await fs.read_bytes("b") == b"somebody else's"
    session = await driver.resume(token)
    await session.commit()
    assert await fs.read_bytes("a") == LARGE


async def test_memory() -> None:
    await check(MemoryFileSystem())


async def test_local_files(tmp_path: Path) -> None:
    await check(OSFileSystem(tmp_path / "root"))


async def test_redis(valkey_url: str) -> None:
    async with RedisFileSystem(valkey_url) as fs:
        await check(fs)


async def test_s3(s3_server: S3Server) -> None:
    async with S3FileSystem(
        s3_server.bucket,
        endpoint_url=s3_server.endpoint_url,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        region=s3_server.region,
    ) as fs:
        await check(fs)


async def test_azure(azurite: AzureAccount) -> None:
    async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as fs:
        await check(fs)


async def test_fastdfs() -> None:
    async with Cluster() as cluster, over(cluster, MemoryFileSystem()) as fs:
        await check(fs)


async def test_fastdfs_publishes_and_removes_no_file_of_another_path() -> None:
    async with Cluster() as cluster, over(cluster, MemoryFileSystem()) as fs:
        await fs.write_bytes("b", b"somebody else's")
        other = (await fs.stat("b")).version
        _, token = await prepared(fs.driver, "a")
        with pytest.raises(aiofs.Damaged, match="was uploaded for 'b'"):
            await fs.driver.resume({**token, "version": other})
        assert await fs.read_bytes("b") == b"somebody else's"
