"""A file system goes to another process, used or not: as its settings, without what is open."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest
import redis.asyncio as redis

from aiofs import (
    AzureFileSystem,
    FastDFSFileSystem,
    MemoryFileSystem,
    OSFileSystem,
    RedisFileSystem,
    S3FileSystem,
    TransactionalFileSystem,
    transaction,
)

if TYPE_CHECKING:
    from pathlib import Path

    from aiofs.backends.s3.settings import Locking
    from aiofs.filesystem import FileSystem
    from aiofs.modes import BinaryMode, TextMode
    from servers.azurite.server import AzureAccount
    from servers.moto import S3Server


async def check(fs: FileSystem) -> None:
    """Write, before and after it was pickled, and read through the copies."""
    for copied in range(2):
        there = pickle.loads(pickle.dumps(fs))
        async with there:
            await there.write_bytes(f"folder/{copied}", b"copy")
        assert not fs.closed
        assert await fs.read_bytes(f"folder/{copied}") == b"copy"
        async with fs.open("folder/0", "r+") as file:
            pickle.dumps(fs)
            await file.write(b"open")
    assert await fs.read_bytes("folder/0") == b"open"
    await fs.aclose()
    assert pickle.loads(pickle.dumps(fs)).closed


async def test_memory() -> None:
    fs = MemoryFileSystem()
    await fs.write_bytes("file", b"before")
    async with fs.open("file", "r+") as file:
        there = pickle.loads(pickle.dumps(fs))
        await file.write(b"change")
    await there.write_bytes("other", b"free")
    assert await there.read_bytes("file") == b"before"
    assert await fs.ls() == ["file"]


async def test_local_files(tmp_path: Path) -> None:
    await check(OSFileSystem(tmp_path))


async def test_a_file_system_with_transactions(tmp_path: Path) -> None:
    fs = TransactionalFileSystem(OSFileSystem(tmp_path))
    async with fs.transaction():
        await fs.write_bytes("file", b"new")
        copied = pickle.loads(pickle.dumps(fs))
        assert await copied.ls() == []
    async with copied.transaction():
        assert await copied.read_bytes("file") == b"new"
        await copied.rm("file")
    assert await fs.ls() == []


@pytest.mark.parametrize("mode", ["r", "r+", "w", "rt", "wt"])
async def test_open_files_do_not_go(tmp_path: Path, mode: BinaryMode | TextMode) -> None:
    fs = OSFileSystem(tmp_path)
    await fs.write_bytes("file", b"bytes")
    async with fs.open("file", mode) as file:
        with pytest.raises(TypeError, match="'file' cannot be copied or pickled"):
            pickle.dumps(file)


async def test_open_files_are_not_copied(tmp_path: Path) -> None:
    fs = OSFileSystem(tmp_path)
    await fs.write_bytes("file", b"bytes")
    async with fs.open("file") as file:
        with pytest.raises(TypeError, match="'file' cannot be copied or pickled"):
            copy.copy(file)


async def test_transactions_do_not_go() -> None:
    fs = MemoryFileSystem()
    for begun in (transaction(fs), transaction({"one": fs})):
        async with begun:
            with pytest.raises(TypeError, match="begin one where the work is done"):
                pickle.dumps(begun)


async def test_redis(valkey_url: str) -> None:
    await check(RedisFileSystem(valkey_url))


async def test_redis_that_was_lent(valkey_url: str) -> None:
    async with redis.Redis.from_url(valkey_url) as client, RedisFileSystem(client=client) as fs:
        with pytest.raises(TypeError, match="lent cannot be pickled: give a URL"):
            pickle.dumps(fs)


def s3_file_system(server: S3Server, locking: Locking) -> S3FileSystem:
    return S3FileSystem(
        server.bucket,
        endpoint_url=server.endpoint_url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        locking=locking,
    )


@pytest.mark.parametrize("locking", ["lease", "commit"])
async def test_s3(s3_server: S3Server, locking: Locking) -> None:
    await check(s3_file_system(s3_server, locking))


async def test_s3_without_lock_objects_excludes_the_writers_of_all_copies_in_a_process(s3_server: S3Server) -> None:
    fs = s3_file_system(s3_server, "commit")
    async with fs, pickle.loads(pickle.dumps(fs)) as there, fs.open("file", "w"):
        with pytest.raises(BlockingIOError):
            await there.write_bytes("file", b"at the same time")


@pytest.mark.may_block  # the SDK does in its client
async def test_azure(azurite: AzureAccount) -> None:
    await check(AzureFileSystem(azurite.container, connection_string=azurite.connection_string))


async def test_fastdfs(fastdfs_tracker: str, tmp_path: Path) -> None:
    await check(FastDFSFileSystem([fastdfs_tracker], index=OSFileSystem(tmp_path)))
