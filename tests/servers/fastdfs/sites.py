"""A replicated cluster whose parts can be stopped and started: the double, or a real one with commands for that.

A real one is used where these variables are set; `{}` in the commands is the address of the part, `host:port`:

    AIOFS_TEST_FASTDFS=fastdfs://tracker1:22122,tracker2:22122/?address_map=10.0.0.5:23000=localhost:23000
    AIOFS_TEST_FASTDFS_STOP='ssh {} ...'
    AIOFS_TEST_FASTDFS_START='...'
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, urlsplit

from aiofs.backends.fastdfs import FastDFSClient
from servers.fastdfs.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

PATIENCE = 120.0
PAUSE = 0.2


class Site(Protocol):
    """What a test must know of a cluster."""

    trackers: list[str]
    address_map: dict[str, str]

    async def stop(self, address: str) -> None:
        """Stop a storage or tracker; return when the trackers know it."""
        ...

    async def start(self, address: str) -> None:
        """Start it again; return when the trackers know it."""
        ...

    async def replicated(self, file: str, storage: str) -> None:
        """Return when a storage has got a file that another one made."""
        ...


class Double:
    """The double, with two storages and two trackers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.trackers = cluster.addresses
        self.address_map = cluster.address_map

    async def stop(self, address: str) -> None:
        if address in self.trackers:
            await self._cluster.tracker_listeners[self.trackers.index(address)].stop()
        else:
            await self._cluster.stop_storage([*self.address_map].index(address))

    async def start(self, address: str) -> None:
        if address in self.trackers:
            await self._cluster.tracker_listeners[self.trackers.index(address)].start()
        else:
            await self._cluster.start_storage([*self.address_map].index(address))

    async def replicated(self, file: str, storage: str) -> None:
        for each in self._cluster.storages:
            each.replicate()


@dataclass
class Real:
    """A running cluster."""

    trackers: list[str]
    address_map: dict[str, str] = field(default_factory=dict)
    stop_command: str = ""
    start_command: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Real | None:
        """The one that the environment names."""
        url = environment.get("AIOFS_TEST_FASTDFS")
        if not url:
            return None
        parts = urlsplit(url)
        mapped = parse_qs(parts.query).get("address_map", [])
        return cls(
            parts.netloc.split(","),
            dict(pair.split("=", 1) for pairs in mapped for pair in pairs.split(",")),
            environment.get("AIOFS_TEST_FASTDFS_STOP", ""),
            environment.get("AIOFS_TEST_FASTDFS_START", ""),
        )

    @property
    def has_hooks(self) -> bool:
        return bool(self.stop_command and self.start_command)

    async def stop(self, address: str) -> None:
        await self._run(self.stop_command, address)
        await self._until_up(address, up=False)

    async def start(self, address: str) -> None:
        await self._run(self.start_command, address)
        await self._until_up(address, up=True)

    async def replicated(self, file: str, storage: str) -> None:
        group, _, name = file.partition("/")
        async with asyncio.timeout(PATIENCE), self._client() as client:
            while name not in {logged.name async for logged in client.names(group, storage=storage)}:  # noqa: ASYNC110 -- nobody to wait for
                await asyncio.sleep(PAUSE)  # no storage tells when it has got a file

    async def _run(self, command: str, address: str) -> None:
        process = await asyncio.create_subprocess_shell(command.replace("{}", address))
        async with asyncio.timeout(PATIENCE):
            if await process.wait():
                raise RuntimeError(f"{command!r} for {address} failed with status {process.returncode}")

    async def _until_up(self, address: str, *, up: bool) -> None:
        async with asyncio.timeout(PATIENCE), self._client() as client:
            while await self._is_up(client, address) is not up:  # noqa: ASYNC110 -- nobody to wait for
                await asyncio.sleep(PAUSE)  # no tracker tells when a server is up

    async def _is_up(self, client: FastDFSClient, address: str) -> bool:
        if address in self.trackers:
            return await _answers(client, address)
        members = [member for group in await client.groups() for member in await client.members.of(group.name)]
        known = any(str(member.address) == address and member.is_up for member in members)
        return known and await _answers(client, address)

    def _client(self) -> FastDFSClient:
        return FastDFSClient(self.trackers, address_map=self.address_map)


async def _answers(client: FastDFSClient, address: str) -> bool:
    try:
        await client.active_test(address)
    except OSError:
        return False
    return True


@asynccontextmanager
async def a_site() -> AsyncIterator[Site]:
    """The cluster to test with."""
    real = Real.of(os.environ)
    if real is not None:
        yield real
        return
    async with Cluster(groups=(2,), trackers=2) as cluster:
        yield Double(cluster)
