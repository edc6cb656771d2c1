"""The contract on fakeredis: in the test's own process, as programs use it, and of connections through its server."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import fakeredis
import pytest
import redis

from aiofs.backends.redis.driver import RedisDriver
from aiofs.backends.redis.names import LOCK, key_of
from aiofs.errors import Unsupported
from aiofs.filesystem import FileSystem
from aiofs.stores import RedisFileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract import Suite
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.life import Life
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.reading import Changing
from aiofs.testing.contract.removing import Removing
from aiofs.testing.contract.sessions import Conditions, Leftovers, Prepared
from aiofs.testing.contract.writers import Processes, Writers
from aiofs.testing.contract.writing import WrittenBytes
from conformance.test_redis import harness_of
from servers.leases import lease_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHORT = 10  # nothing is renewed while fakeredis works


@pytest.mark.may_block  # fakeredis waits for the locks of its own tables, and works where it is called
@pytest.mark.variant(*(WrittenBytes, Changing, Commit, Writers, Conditions, Prepared, Leftovers, Listings, Removing))
class TestFakeRedis(Contract):
    declares = replace(RedisDriver.capabilities, locks="process")  # no other process can ask it
    server = False

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest) -> Harness:
        server = fakeredis.FakeServer()
        lease = lease_for(request, SHORT)

        def client() -> fakeredis.FakeAsyncRedis:
            return fakeredis.FakeAsyncRedis(server=server)

        async def meddle(path: str, data: bytes) -> None:
            await client().set(key_of(path), data)

        async def residue() -> Sequence[str]:
            return [key.decode() async for key in client().scan_iter(match=".aiofs-*")]

        async def lapse() -> None:
            async for key in client().scan_iter(match=f"{LOCK}*"):
                await client().pexpire(key, 1)

        return Harness(
            connect=lambda: RedisFileSystem(client=client(), lease=lease),
            lapse=lapse,
            lease=lease,
            fenced=True,
            versions_differ=False,
            paged=lambda size: FileSystem(RedisDriver(client=client(), page=size)),
            meddle=meddle,
            residue=residue,
        )


@pytest.mark.variant(
    *(Processes, Life.test_73_unreachable, Life.test_75_closed_system, Life.test_75_closed_before_its_files),
    *(Life.test_75_closed_meanwhile, Life.test_76_second_loop, Life.test_78_no_warnings),
)
class TestFakeRedisServer(Life, Processes, Suite):
    """The chapters about connections, of one process and of several, through fakeredis' own server."""

    declares = RedisDriver.capabilities
    server = True
    lacks: ClassVar[Mapping[int, str]] = {
        77: "its server takes a request line by line, each time copying all that came before: a megabyte of lines lasts"
    }

    @pytest.fixture
    def harness(self, fakeredis_url: str, request: pytest.FixtureRequest) -> Harness:
        harness = harness_of(fakeredis_url, lease_for(request))
        harness.model_examples = 2
        return harness


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


@pytest.mark.may_block
async def test_an_answer_that_its_server_cuts_is_refused() -> None:
    """It puts an error into the middle of what is too long for the connection's buffer, and goes on."""

    class Cut(fakeredis.FakeAsyncRedis):
        def pipeline(self, *args: Any, **settings: Any) -> Any:
            pipeline = super().pipeline(*args, **settings)
            execute = pipeline.execute

            async def cut(*args: Any, **settings: Any) -> list[Any]:
                return [
                    answer[:9] if isinstance(answer, bytes) else answer for answer in await execute(*args, **settings)
                ]

            pipeline.execute = cut
            return pipeline

    server = fakeredis.FakeServer()
    async with RedisFileSystem(client=fakeredis.FakeAsyncRedis(server=server)) as fs:
        await fs.write_bytes("file", bytes(10))
        assert (await fs.stat("file")).size == 10
    async with RedisFileSystem(client=Cut(server=server)) as fs:
        with pytest.raises(Unsupported, match="TcpFakeServer of fakeredis cuts long answers") as caught:
            await fs.stat("file")
        assert caught.value.filename == "file"


@pytest.mark.may_block
async def test_without_lua_writing_says_what_to_install() -> None:
    class NoLua(fakeredis.FakeAsyncRedis):
        async def execute_command(self, *args: Any, **options: Any) -> Any:
            if str(args[0]).startswith("EVAL"):
                raise redis.ResponseError(f"unknown command '{args[0].lower()}', with args beginning with: ''")
            return await super().execute_command(*args, **options)

    client = NoLua()
    await client.set("folder:file", b"bytes")
    async with RedisFileSystem(client=client) as fs:
        assert await fs.read_bytes("folder/file") == b"bytes"
        assert (await fs.stat("folder/file")).size == 5
        with pytest.raises(Unsupported, match=r"pip install 'fakeredis\[lua\]'") as caught:
            await fs.write_bytes("folder/file", b"new")
        assert caught.value.filename == "folder/file"
