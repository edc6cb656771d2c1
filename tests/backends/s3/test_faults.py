"""Connections that are cut at every step, servers that fail now and then, and writers who fight behind both."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import pytest

from aiofs.driver import MIB
from aiofs.errors import Damaged
from backends.s3.front import Asked, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server
    from servers.proxy import FaultProxy, Flow

    Proxies = Callable[[int], Awaitable[FaultProxy]]

SIZE = 20 * MIB
OLD = b"old bytes"
NEW = bytes(range(256)) * (SIZE // 256)
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
STEPS = 10 if FULL else 5
AT_ONCE = 30 if FULL else 16


@pytest.fixture
async def clean(connect: Connect, s3_server: S3Server) -> Callable[[], Awaitable[None]]:
    """Sweep as an administrator does, on a good connection, and check that nothing is left then."""

    async def sweep() -> None:
        driver = connect(s3_server).driver
        while left := [each async for each in driver.leftovers()]:
            if not any([await driver.sweep(each) for each in left]):
                await asyncio.sleep(0.05)  # what is live goes when its lease has run out: the server tells nobody

    return sweep


def offsets(total: int) -> list[int]:
    """Where to cut: at the very beginning, at the very end, and between."""
    return [1, *(total * step // STEPS for step in range(1, STEPS)), total - 1]


async def written(fs: S3FileSystem, flow: Flow) -> int:
    """How many bytes pass in one direction while the file is written undisturbed."""
    await fs.write_bytes("warm", b"up")
    before = flow.passed
    await fs.write_bytes("file", NEW)
    return flow.passed - before


@pytest.mark.timeout(180)
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_a_write_that_is_cut_once_is_whole(
    direction: str, fault_proxy: Proxies, connect: Connect, s3_server: S3Server, clean: Callable[[], Awaitable[None]]
) -> None:
    proxy = await fault_proxy(s3_server.port)
    fs = connect(s3_server.through(proxy.port), lease=20.0)
    flow: Flow = getattr(proxy, direction)
    total = await written(fs, flow)
    for offset in offsets(total):
        await connect(s3_server).write_bytes("file", OLD)
        flow.cut_at = flow.passed + offset
        await fs.write_bytes("file", NEW)
        assert await connect(s3_server).read_bytes("file") == NEW
        flow.cut_at = None
    await clean()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_a_write_whose_server_goes_away_leaves_old_or_new(
    direction: str, fault_proxy: Proxies, connect: Connect, s3_server: S3Server, clean: Callable[[], Awaitable[None]]
) -> None:
    proxy = await fault_proxy(s3_server.port)
    fs = connect(s3_server.through(proxy.port), lease=1.0, attempts=1)
    flow: Flow = getattr(proxy, direction)
    total = await written(fs, flow)
    for offset in offsets(total):
        await clean()
        await connect(s3_server).write_bytes("file", OLD)
        flow.cut_at = flow.passed + offset
        away = asyncio.create_task(_refuse_from(proxy, flow, flow.cut_at))
        try:
            await fs.write_bytes("file", NEW)
        except OSError:
            assert await connect(s3_server).read_bytes("file") in {OLD, NEW}
        else:
            assert await connect(s3_server).read_bytes("file") == NEW
        away.cancel()
        proxy.refusing, flow.cut_at = False, None
    await clean()


async def _refuse_from(proxy: FaultProxy, flow: Flow, offset: int) -> None:
    await flow.reach(offset)
    proxy.refusing = True
    proxy.cut()


@pytest.mark.timeout(120)
async def test_a_read_that_is_cut_goes_on(fault_proxy: Proxies, connect: Connect, s3_server: S3Server) -> None:
    proxy = await fault_proxy(s3_server.port)
    fs = connect(s3_server.through(proxy.port))
    await fs.write_bytes("file", NEW)
    for offset in offsets(SIZE):
        proxy.to_client.cut_at = proxy.to_client.passed + offset
        assert await fs.read_bytes("file") == NEW
        proxy.to_client.cut_at = proxy.to_client.passed + offset
        async with fs.open("file") as file:
            assert await file.read() == NEW
    proxy.to_client.cut_each_at = 5 * MIB  # every connection, so that it takes several
    assert await fs.read_bytes("file") == NEW


async def test_a_read_does_not_go_on_with_another_version(
    fault_proxy: Proxies, connect: Connect, s3_server: S3Server
) -> None:
    proxy = await fault_proxy(s3_server.port)
    fs = connect(s3_server.through(proxy.port))
    await fs.write_bytes("file", NEW)
    async with fs.open("file") as file:
        await file.read(100)
        await connect(s3_server).write_bytes("file", NEW[::-1])
        with pytest.raises(BlockingIOError):
            await file.read()


async def test_a_server_that_stalls_is_given_up(fault_proxy: Proxies, connect: Connect, s3_server: S3Server) -> None:
    proxy = await fault_proxy(s3_server.port)
    fs = connect(s3_server.through(proxy.port), timeout=0.5, attempts=1)
    await connect(s3_server).write_bytes("file", OLD)
    proxy.to_client.stalled = True
    with pytest.raises(TimeoutError):
        await fs.read_bytes("file")
    await proxy.to_client.resume()
    proxy.to_server.stalled = True
    with pytest.raises(TimeoutError):
        await fs.write_bytes("file", NEW)
    await proxy.to_server.resume()
    assert await connect(s3_server).read_bytes("file") == OLD


async def test_bytes_that_are_damaged_on_their_way_are_noticed(
    fault_proxy: Proxies, connect: Connect, s3_server: S3Server
) -> None:
    data = bytes(100_000)
    proxy = await fault_proxy(s3_server.port)
    for checksum in ("crc32", "sha1", "sha256"):
        fs = connect(s3_server.through(proxy.port), checksum=checksum)
        await fs.write_bytes("file", data)
        assert await fs.read_bytes("file") == data
        proxy.to_client.flip_at = proxy.to_client.passed + 50_000
        with pytest.raises(Damaged):
            await fs.read_bytes("file")


@pytest.mark.timeout(180)
async def test_all_succeeds_though_every_tenth_request_fails(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server, timeout=6.0)  # on a busy machine the server itself may take seconds
    await fs.write_bytes("warm", b"up")
    dice = random.Random(20)
    failed = 0

    async def fail(_: Asked) -> web.Response | None:
        nonlocal failed
        roll = dice.random()
        if roll >= 0.1:
            return None
        failed += 1
        if roll < 0.04:
            return refusal(503, "SlowDown")
        if roll < 0.08:
            return refusal(500, "InternalError")
        if roll < 0.095:
            raise ConnectionError
        await asyncio.Event().wait()  # until the client has had enough
        return None

    async def fail_afterwards(_: Asked, answer: web.Response) -> web.Response | None:
        """Do what was asked, and lose the answer."""
        if dice.random() < 0.02:
            raise ConnectionError
        return answer

    before.meddle, before.afterwards = fail, fail_afterwards

    async def work(number: int) -> None:
        name, data = f"file {number}", bytes([number]) * (number * 300_000)
        await fs.write_bytes(name, data)
        assert await fs.read_bytes(name) == data
        async with fs.open(name, "a") as file:
            await file.write(b"!")
        await fs.copy(name, f"copy of {name}")
        assert await fs.read_bytes(f"copy of {name}") == data + b"!"
        await fs.rm(name)

    await asyncio.gather(*map(work, range(AT_ONCE)))
    assert failed > AT_ONCE // 2
    before.meddle = before.afterwards = None
    assert len(await fs.ls()) == AT_ONCE + 1
    assert [left.path async for left in fs.driver.leftovers() if left.kind == "lock object"] == []


@pytest.mark.timeout(180)
async def test_writers_who_fight_behind_cut_connections_lose_no_update(
    fault_proxy: Proxies, connect: Connect, s3_server: S3Server
) -> None:
    await connect(s3_server).write_bytes("counter", b"0")
    dice = random.Random(4)
    done = unknown = 0

    async def fight(proxy: FaultProxy) -> None:
        nonlocal done, unknown
        fs = connect(s3_server.through(proxy.port), lease=3.0, attempts=2)
        for _ in range(12):
            flow = dice.choice([proxy.to_server, proxy.to_client])
            flow.cut_at = flow.passed + dice.randrange(4000)
            try:
                file = await fs.open("counter", "r+")
            except OSError:
                continue
            try:
                count = int(await file.read())
                await file.seek(0)
                await file.write(str(count + 1).encode())
                await file.close()
            except BlockingIOError:
                await file.abort()
            except OSError:
                unknown += 1
                await file.abort()
            else:
                done += 1

    proxies = [await fault_proxy(s3_server.port) for _ in range(3)]
    await asyncio.gather(*map(fight, proxies))
    count = int(await connect(s3_server).read_bytes("counter"))
    assert 0 < done <= count <= done + unknown
