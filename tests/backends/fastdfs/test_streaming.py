"""Files larger than what may be held in memory."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.fastdfs import FastDFSClient, FileId
from aiofs.errors import Damaged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servers.fastdfs.cluster import Cluster

MIB = 1 << 20
SIZE = int(os.environ.get("AIOFS_TEST_FASTDFS_MIB", "64")) * MIB
PIECE = bytes(range(256)) * 1024


async def pieces(size: int) -> AsyncIterator[memoryview]:
    """The same buffer again and again, as a caller does who reads a file into one buffer."""
    buffer = memoryview(bytearray(PIECE))
    for start in range(0, size, len(buffer)):
        yield buffer[: size - start]


async def test_stream_up_and_down_in_bounded_memory(fastdfs_tracker: str) -> None:
    async with FastDFSClient(fastdfs_tracker) as client:
        await client.groups()
        tracemalloc.start()
        try:
            stored = await client.upload(pieces(SIZE), SIZE)
            crc, size = 0, 0
            async with await client.download(stored) as download:
                async for chunk in download:
                    crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (size, crc) == (SIZE, FileId.parse(stored).crc32)
        assert peak < 4 * MIB
        await client.delete(stored)


async def test_upload_of_one_large_buffer_copies_little(fastdfs_tracker: str) -> None:
    data = bytes(SIZE)
    async with FastDFSClient(fastdfs_tracker) as client:
        await client.groups()
        tracemalloc.start()
        try:
            stored = await client.upload(data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * MIB
        await client.delete(stored)


@pytest.mark.both_loops
async def test_buffer_that_is_used_again_is_sent_as_it_was(client: FastDFSClient) -> None:
    buffer = bytearray(100_000)

    async def reusing() -> AsyncIterator[bytearray]:
        for value in range(50):
            buffer[:] = bytes([value]) * len(buffer)
            yield buffer

    stored = await client.upload(reusing(), 50 * len(buffer))
    assert await client.read(stored) == b"".join(bytes([value]) * len(buffer) for value in range(50))


async def test_spoilt_upload_is_noticed(client: FastDFSClient, cluster: Cluster) -> None:
    other = cluster.storages[0].put(b"other")
    answer, _ = cluster.storages[0].answer(11, 0, b"\0" + (5).to_bytes(8) + b"txt\0\0\0other")
    cluster.storage.instead = {11: answer}
    with pytest.raises(Damaged):
        await client.upload(b"mine!", extension="txt")
    assert await client.read(other) == b"other"


async def test_spoilt_download_is_noticed(client: FastDFSClient, cluster: Cluster) -> None:
    stored = cluster.storages[0].put(b"0123456789")
    cluster.storages[0].files[FileId.parse(stored).name].data[5:6] = b"x"
    with pytest.raises(Damaged) as caught:
        await client.read(stored)
    assert caught.value.filename == stored


async def test_shortened_file_is_noticed(client: FastDFSClient, cluster: Cluster) -> None:
    stored = cluster.storages[0].put(b"0123456789")
    del cluster.storages[0].files[FileId.parse(stored).name].data[5:]
    with pytest.raises(Damaged):
        await (await client.download(stored, 2, 8, size=10)).read()
