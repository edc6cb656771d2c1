"""The contract on fakeredis: in the test's own process, as programs use it, and a little through its server."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import fakeredis
import pytest

from aiofs.backends.redis.driver import RedisDriver
from aiofs.backends.redis.names import key_of
from aiofs.filesystem import FileSystem
from aiofs.stores import RedisFileSystem
from aiofs.testing import Contract, Harness

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE = 10.0  # nothing is renewed while fakeredis works


@pytest.mark.may_block  # fakeredis waits for the locks of its own tables, and works where it is called
class TestFakeRedis(Contract):
    declares = replace(RedisDriver.capabilities, locks="process")  # no other process can ask it
    server = False

    @pytest.fixture
    def harness(self) -> Harness:
        server = fakeredis.FakeServer()

        def client() -> fakeredis.FakeAsyncRedis:
            return fakeredis.FakeAsyncRedis(server=server)

        async def meddle(path: str, data: bytes) -> None:
            await client().set(key_of(path), data)

        async def residue() -> Sequence[str]:
            return [key.decode() async for key in client().scan_iter(match=".aiofs-*")]

        return Harness(
            connect=lambda: RedisFileSystem(client=client(), lease=LEASE),
            lease=LEASE,
            fenced=True,
            versions_differ=False,
            paged=lambda size: FileSystem(RedisDriver(client=client(), page=size)),
            meddle=meddle,
            residue=residue,
        )


async def test_through_its_server(fakeredis_url: str) -> None:
    async with RedisFileSystem(fakeredis_url) as fs, RedisFileSystem(fakeredis_url) as other:
        await fs.write_bytes("folder/file", b"one\r\ntwo")
        async with fs.open("folder/file", "r+") as file:
            await file.seek(3)
            await file.write(b"+")
            with pytest.raises(BlockingIOError):
                await other.write_bytes("folder/file", b"other")
        await other.copy("folder/file", "copy")
        assert await other.read_bytes("copy") == b"one+\ntwo"
        assert await other.ls() == ["copy", "folder/file"]
        assert (await other.stat("copy")).version == hashlib.sha1(b"one+\ntwo").hexdigest()
        await other.rm("copy")
        with pytest.raises(FileNotFoundError):
            await fs.read_bytes("copy")
