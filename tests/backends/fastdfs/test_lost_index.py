"""An index that is lost, and several over one cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiofs import (
    FastDFSFileSystem,
    MemoryFileSystem,
)
from aiofs.backends.fastdfs import FileId
from backends.fastdfs.systems import leftovers, over
from servers.fastdfs.storage import framed

if TYPE_CHECKING:
    from servers.fastdfs.cluster import Cluster


WEIRD = ["a/ü.txt", "x\x01y\x02z", "k" * 255, "/".join(["long"] * 180), "{}", '"quoted"']


async def test_index_made_anew(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    for number, name in enumerate(WEIRD):
        await fs.write_bytes(name, b"%d" % number, metadata={"number": str(number), "ü": "ä"})
    await fs.write_bytes("moved", b"m")
    await fs.move("moved", "away")
    await fs.write_bytes("removed", b"r")
    await fs.rm("removed")
    without_name = await fs.create(b"no name")
    async with over(cluster, MemoryFileSystem()) as anew:
        assert await anew.rebuild_index() == len(WEIRD) + 1
        assert sorted(await anew.ls()) == sorted([*WEIRD, "away"])
        for number, name in enumerate(WEIRD):
            assert await anew.read_bytes(name) == b"%d" % number
            assert (await anew.stat(name)).metadata == {"number": str(number), "ü": "ä"}
        assert await anew.rebuild_index() == 0
        assert await leftovers(anew) == []
        assert await anew.read_bytes(without_name) == b"no name"


async def test_newest_of_two_files_with_one_name_gets_it(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    cluster.storage.instead = {12: framed(b"", 5)}
    for data in (b"one", b"two", b"three"):
        await fs.write_bytes("name", data)
    cluster.storage.instead.clear()
    async with over(cluster, MemoryFileSystem()) as anew:
        await anew.rebuild_index()
        assert await anew.read_bytes("name") == b"three"


async def test_indexes_over_one_cluster_leave_each_other_alone(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    await fs.write_bytes("name", b"one")
    async with over(cluster, MemoryFileSystem()) as other:
        await other.write_bytes("name", b"two")
        assert await leftovers(fs) == await leftovers(other) == []
        assert await fs.rebuild_index() == 0
    async with over(cluster, MemoryFileSystem()) as anew:
        with pytest.raises(ValueError, match="several indexes") as caught:
            await anew.rebuild_index()
        first = next(word for word in str(caught.value).split() if len(word) == 32)
        assert await anew.rebuild_index(first) == 1
        assert await anew.read_bytes("name") in {b"one", b"two"}


async def test_files_of_other_programs_are_nobodys(fs: FastDFSFileSystem, cluster: Cluster) -> None:
    foreign = cluster.storages[0].put(b"foreign")
    cluster.storages[0].metadata[FileId.parse(foreign).name] = b"k\x02v"
    cluster.storages[0].log.append((0, "C", FileId.parse(foreign).name + "-m"))
    await fs.write_bytes("name", b"ours")
    assert await leftovers(fs) == []
    assert await fs.rebuild_index() == 0


async def test_two_systems_name_a_new_index_once(cluster: Cluster, index: MemoryFileSystem) -> None:
    async with over(cluster, index) as one, over(cluster, index) as other:
        writes = [
            system.write_bytes(f"{number}{system is one}", b"x") for number in range(5) for system in (one, other)
        ]
        await asyncio.gather(*writes)
        assert await leftovers(one) == await leftovers(other) == []
        assert len(await one.ls()) == 10
