"""Ids of the storages, used where names are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs import (
    Conflict,
    FastDFSFileSystem,
    Locked,
    Unsupported,
    fsck,
    transaction,
)
from aiofs.backends.fastdfs import FileId
from aiofs.driver import MIB

if TYPE_CHECKING:
    from servers.fastdfs.cluster import Cluster


async def test_create_and_use_an_id(fs: FastDFSFileSystem, bare: FastDFSFileSystem) -> None:
    file = await fs.create(b"0123456789", suffix=".txt")
    assert file.endswith(".txt")
    for system in (fs, bare):
        assert await system.read_bytes(file) == b"0123456789"
        assert await system.read_bytes(file, 2, 5) == b"234"
        assert await system.read_bytes(file, 20) == b""
        assert (await system.stat(file)).size == 10
        async with system.open(file) as handle:
            await handle.seek(-3, 2)
            assert await handle.read() == b"789"
    await bare.rm(file)
    assert not await fs.exists(file)


async def test_missing_ids(fs: FastDFSFileSystem, bare: FastDFSFileSystem) -> None:
    gone = [await fs.create(b"x"), await fs.create(b""), await fs.create(b"x", appender=True)]
    await fs.rm(*gone)
    for system in (fs, bare):
        for file in gone:
            for attempt in (system.open(file).__aenter__(), system.stat(file), system.rm(file)):
                with pytest.raises(FileNotFoundError) as caught:
                    await attempt
                assert caught.value.filename == file
    await fs.rm(*gone, missing_ok=True)


async def test_empty_files(fs: FastDFSFileSystem) -> None:
    file = await fs.create(b"")
    assert await fs.read_bytes(file) == b""
    await fs.write_bytes("empty", b"")
    assert await fs.read_bytes("empty") == b""
    assert (await fs.stat("empty")).size == 0


async def test_ids_are_chosen_by_the_storages(fs: FastDFSFileSystem) -> None:
    file = await fs.create(b"x")
    appender = await fs.create(b"x", appender=True)
    for path, mode in ((file, "w"), (file, "a"), (file, "r+"), (appender, "w")):
        with pytest.raises(Unsupported) as caught:
            async with fs.open(path, mode) as handle:
                await handle.write(b"y")
        assert caught.value.filename == path
    assert await fs.read_bytes(file) == await fs.read_bytes(appender) == b"x"


async def test_names_need_an_index(bare: FastDFSFileSystem) -> None:
    with pytest.raises(ValueError, match="index"):
        await bare.read_bytes("name")
    with pytest.raises(Unsupported):
        await bare.ls()


@pytest.mark.parametrize("size", [0, 10, MIB - 1, MIB, 2 * MIB + 5])
async def test_append_to_an_appender(bare: FastDFSFileSystem, size: int) -> None:
    log = await bare.create(bytes(size), appender=True, suffix=".log")
    for number in range(3):
        async with bare.open(log, "a") as handle:
            await handle.write(b"line %d\n" % number)
    assert await bare.read_bytes(log) == bytes(size) + b"line 0\nline 1\nline 2\n"


async def test_edit_an_appender(bare: FastDFSFileSystem) -> None:
    data = bytearray(bytes(range(256)) * 12288)
    file = await bare.create(bytes(data), appender=True)
    async with bare.open(file, "r+") as handle:
        for offset in (5, MIB + 7, 3 * MIB - 2):
            await handle.seek(offset)
            await handle.write(b"changed")
            data[offset : offset + 7] = b"changed"
    assert await bare.read_bytes(file) == data
    async with bare.open(file, "r+") as handle:
        await handle.truncate(MIB + 9)
    assert await bare.read_bytes(file) == data[: MIB + 9]


async def test_aborted_append_leaves_an_appender_alone(bare: FastDFSFileSystem) -> None:
    log = await bare.create(b"old", appender=True)
    handle = await bare.open(log, "a")
    await handle.write(b"new")
    await handle.abort()
    assert await bare.read_bytes(log) == b"old"


async def test_appender_that_was_changed_meanwhile(bare: FastDFSFileSystem, cluster: Cluster) -> None:
    log = await bare.create(b"old", appender=True)
    handle = await bare.open(log, "a")
    await handle.write(b"mine")
    cluster.storages[0].files[FileId.parse(log).name].data += b" theirs"
    with pytest.raises(Conflict):
        await handle.close()
    assert await bare.read_bytes(log) == b"old theirs"


@pytest.mark.parametrize("size", [10, 2 * MIB])
async def test_a_transaction_refuses_a_large_appender(fs: FastDFSFileSystem, size: int) -> None:
    log = await fs.create(bytes(2 * MIB), appender=True)

    async def change() -> None:
        async with transaction(fs) as tx:
            await tx.write_bytes("name", b"new")
            async with tx.open(log, "r+") as handle:
                await handle.write(b"changed")
                await handle.truncate(size)

    with pytest.raises(Unsupported) as caught:
        await change()
    assert caught.value.filename == log
    assert await fs.read_bytes(log) == bytes(2 * MIB)
    assert not await fs.exists("name")
    assert await fsck(fs) == []


async def test_a_transaction_changes_a_small_appender(fs: FastDFSFileSystem) -> None:
    log = await fs.create(b"old", appender=True)
    async with transaction(fs) as tx:
        await tx.copy(log, "before")
        async with tx.open(log, "a") as handle:
            await handle.write(b" and new")
    assert await fs.read_bytes(log) == b"old and new"
    assert await fs.read_bytes("before") == b"old"


async def test_writers_of_an_appender_exclude_each_other(fs: FastDFSFileSystem, bare: FastDFSFileSystem) -> None:
    for system in (fs, bare):
        log = await system.create(b"", appender=True)
        async with system.open(log, "a"):
            with pytest.raises(Locked):
                await system.open(log, "a").__aenter__()
            with pytest.raises(Locked):
                await system.rm(log)


async def test_create_checks_its_suffix(fs: FastDFSFileSystem) -> None:
    with pytest.raises(ValueError, match="extension"):
        await fs.create(b"", suffix=".much-too-long")
