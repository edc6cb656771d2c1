"""What the tests of file systems over FastDFS share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiofs import FastDFSFileSystem
from aiofs.powers import Sweeps

if TYPE_CHECKING:
    from aiofs.driver import Driver
    from aiofs.powers import Leftover
    from aiofs.system import FileLikeSystem
    from servers.fastdfs.cluster import Cluster


def over(cluster: Cluster, index: FileLikeSystem | None, **settings: Any) -> FastDFSFileSystem:
    """A file system over the double, whose logs of names are never late unless a test says so."""
    settings = {"address_map": cluster.address_map, "network_timeout": 5, "log_delay": 0} | settings
    return FastDFSFileSystem(cluster.addresses, index=index, **settings)


def stored(cluster: Cluster) -> list[bytes]:
    """All that the storage has."""
    return sorted(bytes(file.data) for file in cluster.storages[0].files.values())


async def leftovers(fs: FastDFSFileSystem) -> list[Leftover]:
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    return [leftover async for leftover in sweeps.leftovers()]


async def prepared(driver: Driver, path: str, data: bytes) -> dict[str, object]:
    """A write that came as far as the journal."""
    lease = await driver.lock(path)
    session = await driver.begin(path, lease)
    await session.write(data)
    token = await session.prepare()
    await session.leave()
    await lease.release()
    return token


async def sweep(fs: FastDFSFileSystem, leftover: Leftover) -> bool:
    """Remove a leftover; return whether it is gone."""
    sweeps = fs.driver.offers(Sweeps)
    assert sweeps is not None
    return await sweeps.sweep(leftover)
