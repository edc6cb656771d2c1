"""A file system is closed while others are at work with it: their calls end well, or say that it is closed."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest

import aiofs
from aiofs.powers import Sweeps
from aiofs.testing import Chaos

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aiofs.driver import Driver
    from servers.azurite.server import AzureAccount
    from servers.moto import S3Server
    from servers.proxy import FaultProxy

    Use = Callable[[aiofs.FileSystem], Awaitable[object]]

MIB = 1 << 20
SIZE = 12 * MIB
TURNS = 50  # of the loop, in which whoever does not wait would be done


async def _read(fs: aiofs.FileSystem) -> None:
    async with fs.open("large") as file:
        while await file.read(MIB):
            pass


async def _edit(fs: aiofs.FileSystem) -> None:
    async with fs.open("large", "r+") as file:
        await file.write(b"changed")


async def _list(fs: aiofs.FileSystem) -> None:
    async for _ in fs.scan():
        await asyncio.sleep(0)


async def _transaction(fs: aiofs.FileSystem) -> None:
    async with aiofs.transaction(fs) as tx:
        await tx.write_bytes("new", bytes(SIZE))
        await tx.rm("small")


USES: dict[str, Use] = {
    "fsck": aiofs.fsck,
    "recover": aiofs.recover,
    "read": _read,
    "read_bytes": lambda fs: fs.read_bytes("large"),
    "stat": lambda fs: fs.stat("small"),
    "write": lambda fs: fs.write_bytes("new", bytes(SIZE)),
    "write a little": lambda fs: fs.write_bytes("new", b"little"),
    "edit": _edit,
    "list": _list,
    "copy": lambda fs: fs.copy("large", "new"),
    "move": lambda fs: fs.move("large", "new"),
    "remove": lambda fs: fs.rm("large", "small"),
    "transaction": _transaction,
}
pytestmark = pytest.mark.may_block  # Azure's SDK does in its client


class Store(NamedTuple):
    """A server of the tests, reached at its port or at that of a proxy before it."""

    connect: Callable[[int], aiofs.FileSystem]
    port: int

    def directly(self) -> aiofs.FileSystem:
        return self.connect(self.port)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    return PLACES[request.param](request)


def _redis(request: pytest.FixtureRequest) -> Store:
    url = urlsplit(request.getfixturevalue("valkey_url"))
    assert url.port is not None
    return Store(lambda port: aiofs.RedisFileSystem(url._replace(netloc=f"{url.hostname}:{port}").geturl()), url.port)


def _s3(request: pytest.FixtureRequest) -> Store:
    server: S3Server = request.getfixturevalue("s3_server")

    def connect(port: int) -> aiofs.FileSystem:
        return aiofs.S3FileSystem(
            server.bucket,
            endpoint_url=server.through(port).endpoint_url,
            access_key=server.access_key,
            secret_key=server.secret_key,
            region=server.region,
        )

    return Store(connect, server.port)


def _azure(request: pytest.FixtureRequest) -> Store:
    account: AzureAccount = request.getfixturevalue("azurite")

    def connect(port: int) -> aiofs.FileSystem:
        return aiofs.AzureFileSystem(account.container, connection_string=account.through(port).connection_string)

    return Store(connect, account.port)


PLACES = {"redis": _redis, "s3": _s3, "azure": _azure}
REDIS, S3, AZURE = (pytest.param(name, marks=pytest.mark.asks(name)) for name in PLACES)
STORES = (REDIS, S3, AZURE)


@pytest.fixture
async def proxy(store: Store, fault_proxy: Callable[[int], Awaitable[FaultProxy]]) -> FaultProxy:
    return await fault_proxy(store.port)


async def filled(store: Store) -> None:
    async with store.directly() as fs:
        await fs.write_bytes("large", bytes(SIZE))
        await fs.write_bytes("small", b"small")


async def leftovers(driver: Driver) -> list[Any]:
    sweeps = driver.offers(Sweeps)
    assert sweeps is not None
    return [leftover async for leftover in sweeps.leftovers()]


async def nothing_held(store: Store, proxy: FaultProxy) -> None:
    """Check that no connection, lock or upload is left, and that all files can be written at once."""
    await proxy.idle.wait()  # it learns that connections are closed a little later than we
    async with store.directly() as fs:
        assert await leftovers(fs.driver) == []
        for name in ("large", "small", "new"):
            await fs.write_bytes(name, b"by another")


@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_calls_under_way_end_before_the_store_is_closed(store: Store, proxy: FaultProxy, use: Use) -> None:
    await filled(store)
    fs = store.connect(proxy.port)
    await fs.write_bytes("first", b"")  # connected, and all found out
    await fs.rm("first")
    proxy.to_client.stalled = True
    sent = proxy.to_server.passed
    task = asyncio.ensure_future(use(fs))
    await proxy.to_server.reach(sent + 1)
    closing = asyncio.create_task(fs.aclose())
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert not closing.done()
    await proxy.to_client.resume()
    await closing
    with suppress(ValueError):
        await task
    with pytest.raises(ValueError, match="closed file system"):
        await use(fs)
    await nothing_held(store, proxy)


@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_closing_that_is_cancelled_waits_all_the_same(store: Store, proxy: FaultProxy, use: Use) -> None:
    await filled(store)
    fs = store.connect(proxy.port)
    await fs.write_bytes("first", b"")
    proxy.to_client.stalled = True
    sent = proxy.to_server.passed
    task = asyncio.ensure_future(use(fs))
    await proxy.to_server.reach(sent + 1)
    closing = asyncio.create_task(fs.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert not closing.done()
    await proxy.to_client.resume()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with suppress(ValueError):
        await task
    await nothing_held(store, proxy)


@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_what_other_loops_opened_is_closed_there(store: Store, proxy: FaultProxy) -> None:
    await filled(store)
    fs = store.connect(proxy.port)
    files: list[aiofs.FileLike] = []
    opened, closed = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        files.append(await fs.open("new", "w"))
        await files[0].write(bytes(SIZE))
        opened.set()
        await asyncio.to_thread(closed.wait)
        with pytest.raises(ValueError, match="nothing was published"):
            await files[0].close()

    other = asyncio.ensure_future(asyncio.to_thread(asyncio.run, elsewhere()))
    await asyncio.to_thread(opened.wait)
    assert await fs.read_bytes("small") == b"small"
    await fs.aclose()
    closed.set()
    await other
    await nothing_held(store, proxy)


@pytest.mark.parametrize("store", [REDIS, AZURE], indirect=True)  # the tests' S3 closes each after its answer
async def test_loops_that_take_turns_keep_their_own_connections(store: Store, proxy: FaultProxy) -> None:
    await filled(store)
    fs = store.connect(proxy.port)
    with another_loop() as there:
        connections = []
        for _ in range(10):
            await fs.write_bytes("new", b"here")
            writing = asyncio.run_coroutine_threadsafe(fs.write_bytes("new", b"there"), there)
            await asyncio.wrap_future(writing)
            connections.append(proxy.connections)
        assert connections[0] == connections[-1]
        await fs.aclose()
        await proxy.idle.wait()


@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_connections_are_closed_with_their_loop(store: Store, proxy: FaultProxy) -> None:
    await filled(store)
    fs = store.connect(proxy.port)

    async def read() -> bytes:
        return await fs.read_bytes("small")

    for _ in range(2):
        assert await asyncio.to_thread(asyncio.run, read()) == b"small"
        await proxy.idle.wait()
    assert await read() == b"small"
    await fs.aclose()
    await proxy.idle.wait()


async def test_what_was_opened_by_url_is_closed_with_its_loop_and_without_a_word(
    valkey_url: str, fault_proxy: Callable[[int], Awaitable[FaultProxy]], caplog: pytest.LogCaptureFixture
) -> None:
    port = urlsplit(valkey_url).port
    assert port is not None
    proxy = await fault_proxy(port)

    async def write() -> None:
        async with aiofs.open(f"{proxy.before(valkey_url)}/file", "w") as file:
            await file.write("text")

    for _ in range(5):
        await asyncio.to_thread(asyncio.run, write())
        await proxy.idle.wait()
    assert not caplog.records


@contextmanager
def another_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop in a thread of its own."""
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        running.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    loop, stop = running.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def test_a_listing_half_read_says_that_its_store_was_closed() -> None:
    fs = aiofs.MemoryFileSystem()
    for name in "abc":
        await fs.write_bytes(name, b"")
    names = aiter(fs.ls())
    assert await anext(names) == "a"
    await fs.aclose()
    with pytest.raises(ValueError, match="closed file system"):
        await anext(names)


async def test_a_file_that_is_being_published_is() -> None:
    chaos = Chaos()
    store = aiofs.MemoryFileSystem()
    fs = store.over(chaos)
    file = await fs.open("file", "w")
    await file.write(b"published")
    gate = chaos.stall("commit")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(file.close())
        await gate.reached.wait()
        closing = [tasks.create_task(system.aclose()) for system in (fs, fs, store)]
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not any(task.done() for task in closing)
        gate.open()
    assert await aiofs.FileSystem(store.driver).read_bytes("file") == b"published"


async def test_a_store_that_is_closed_by_one_of_its_own_calls() -> None:
    class Closes(Chaos):
        async def stat(self, path: str) -> aiofs.Entry:
            await fs.aclose()
            return await super().stat(path)

    store = aiofs.MemoryFileSystem()
    await store.write_bytes("file", b"bytes")
    fs = store.over(Closes())
    assert (await fs.stat("file")).size == 5
    assert store.closed


@pytest.mark.parametrize("closed", ["store", "journal"])
async def test_a_transaction_whose_store_is_closed_is_rolled_back(closed: str) -> None:
    systems = {"store": aiofs.MemoryFileSystem(), "journal": aiofs.MemoryFileSystem()}
    store, journal = systems.values()
    with pytest.raises(ValueError, match="rolled back: one of its file systems was closed"):
        async with aiofs.transaction({"data": store}, journal=journal) as tx:
            await tx["data"].write_bytes("file", b"new")
            await systems[closed].aclose()
            assert tx.state == "rolled back"
    again = aiofs.FileSystem(store.driver)
    assert await again.ls() == []
    assert [entry.path async for entry in journal.driver.list()] == []
    await again.write_bytes("file", b"unlocked")


async def test_a_transaction_that_is_being_committed_is() -> None:
    chaos = Chaos()
    store = aiofs.MemoryFileSystem()
    fs = aiofs.TransactionalFileSystem(store.over(chaos))
    gate = chaos.stall("commit", nth=2)  # the first is the journal's

    async def work() -> None:
        async with fs.transaction():
            await fs.write_bytes("one", b"1")
            await fs.write_bytes("two", b"2")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        await gate.reached.wait()
        closing = tasks.create_task(fs.aclose())
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not closing.done()
        gate.open()
    assert store.closed
    assert await aiofs.FileSystem(store.driver).ls() == ["one", "two"]


async def test_a_lock_that_a_transaction_gets_too_late_is_given_back() -> None:
    chaos = Chaos()
    store = aiofs.MemoryFileSystem()
    gate = chaos.stall("lock", nth=2)  # the first is the journal's
    tx = aiofs.transaction(store.over(chaos))
    async with asyncio.TaskGroup() as tasks:
        async with tx:
            writing = tasks.create_task(_refused(tx))
            await gate.reached.wait()
            await tx.rollback()
        gate.open()
    assert writing.result() is not None
    assert [entry.path async for entry in store.driver.list()] == []
    await store.write_bytes("file", b"unlocked")


async def _refused(fs: aiofs.FileSystem) -> ValueError:
    with pytest.raises(ValueError, match="rolled back") as caught:
        await fs.write_bytes("file", b"late")
    return caught.value
