"""What is left when connections break, processes end and answers are lost: old or new bytes, and nothing else."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import redis
import redis.asyncio

from aiofs.backends.redis import client, scripts, writing
from aiofs.backends.redis.driver import RedisDriver
from aiofs.backends.redis.locks import RedisLease
from aiofs.errors import Conflict, Damaged, Locked
from aiofs.stores import RedisFileSystem
from servers.process import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aiofs.filesystem import FileSystem
    from servers.proxy import FaultProxy, Flow

MIB = 1 << 20
STEPS = 20 if os.environ.get("AIOFS_TEST_FULL") else 8  # where connections are cut: first, last, and between
OLD, NEW = b"old" * 400_000, b"new!" * 5 * MIB  # of which the new one has 20 MiB
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
async def proxy(valkey_url: str, fault_proxy: Callable[[int], Awaitable[FaultProxy]]) -> FaultProxy:
    return await fault_proxy(_port(valkey_url))


async def clean(fs: FileSystem, raw: redis.Redis, path: str) -> None:
    """Check that nothing but the file is left once what is not live is swept."""
    driver = fs.driver
    assert isinstance(driver, RedisDriver)
    async for leftover in driver.leftovers():
        await driver.sweep(leftover)
    assert raw.keys("*") == [path.encode()]


async def unlocked(raw: redis.Redis) -> None:
    """Return when no lock is held any more."""
    while raw.keys(".aiofs-lock*"):  # noqa: ASYNC110 -- the server tells nobody that a lock expired
        await asyncio.sleep(0.01)


def flows(proxy: FaultProxy) -> list[Flow]:
    return [proxy.to_server, proxy.to_client]


@pytest.mark.parametrize("chunked", [False, True], ids=["one key", "several keys"])
@pytest.mark.parametrize("direction", [0, 1], ids=["to server", "to client"])
async def test_a_write_cut_anywhere(
    proxy: FaultProxy, valkey_url: str, raw: redis.Redis, direction: int, chunked: bool
) -> None:
    connect = partial(RedisFileSystem, proxy.before(valkey_url), chunked=chunked, chunk_size=3 * MIB)
    flow = flows(proxy)[direction]
    async with connect() as fs:
        await fs.write_bytes("file", OLD)
        before = flow.passed
        await fs.write_bytes("file", NEW)
        length = flow.passed - before
    for step in range(STEPS):
        async with connect() as fs:
            await fs.write_bytes("file", OLD)
            flow.cut_at = flow.passed + step * length // (STEPS - 1) + step % 3
            with suppress(OSError):
                await fs.write_bytes("file", NEW)
            flow.cut_at = None
            assert await fs.read_bytes("file") in {OLD, NEW}
            if not chunked:
                await clean(fs, raw, "file")
            await fs.write_bytes("file", OLD)
            assert raw.keys("*") == [b"file"]


@pytest.mark.parametrize("direction", [0, 1], ids=["to server", "to client"])
async def test_a_read_cut_anywhere(proxy: FaultProxy, valkey_url: str, raw: redis.Redis, direction: int) -> None:
    raw.set("file", NEW)
    flow = flows(proxy)[direction]
    async with RedisFileSystem(proxy.before(valkey_url)) as fs:
        before = flow.passed
        assert await fs.read_bytes("file") == NEW
        length = flow.passed - before
        for step in range(STEPS):
            flow.cut_at = flow.passed + step * length // (STEPS - 1)
            try:
                async with fs.open("file") as file:
                    assert await file.read() == NEW
            except OSError:
                assert flow.cut_at is None
            flow.cut_at = None
            assert await fs.read_bytes("file") == NEW
        await clean(fs, raw, "file")


class Flaky(redis.asyncio.Redis):
    """A client that loses one command in ten: half of them on the way there, half on the way back, few in a row."""

    dice = random.Random(7)
    in_a_row: ClassVar[Counter[object]] = Counter()

    async def execute_command(self, *args: object, **options: object) -> object:
        task = asyncio.current_task()
        number = self.dice.randrange(20) if self.in_a_row[task] < 4 else 2
        self.in_a_row[task] = self.in_a_row[task] + 1 if number < 2 else 0
        if number == 0:
            raise redis.ConnectionError("lost on the way there")
        answer = await super().execute_command(*args, **options)
        if number == 1:
            raise redis.ConnectionError("lost on the way back")
        return answer


async def test_one_in_ten_commands_fails_and_everything_succeeds(valkey_url: str, raw: redis.Redis) -> None:
    async with Flaky.from_url(valkey_url) as client, RedisFileSystem(client=client) as fs:

        async def life(number: int) -> None:
            path = f"file {number}"
            data = bytes([number]) * (number * 100_000)
            for _ in range(5):
                await fs.write_bytes(path, data)
                assert await fs.read_bytes(path) == data
                async with fs.open(path, "a") as file:
                    await file.write(b"tail")
                assert (await fs.stat(path)).size == len(data) + 4
                await fs.copy(path, f"copy {number}")
                await fs.move(f"copy {number}", f"moved {number}")

        await asyncio.gather(*[life(number) for number in range(20)])
        assert len(await fs.ls()) == 40
    assert len(raw.keys("*")) == 40


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("asyncio.selector_events", TypeError),  # these two say so in Python 3.13.0
        ("asyncio.selector_events", AttributeError),
        ("uvloop.loop", RuntimeError),
    ],
)
async def test_a_lost_connection_that_a_loop_calls_a_bug(module: str, kind: type[Exception], valkey_url: str) -> None:
    elsewhere: dict[str, Any] = {"__name__": module}
    exec("def writelines(error):\n    raise error", elsewhere)

    def bug(error: Exception) -> None:
        raise error

    breaks = [elsewhere["writelines"], bug]

    class Lost(redis.asyncio.Redis):
        async def execute_command(self, *args: object, **options: object) -> object:
            if breaks and args[0] == "EVALSHA":
                breaks.pop(0)(kind("lost"))
            return await super().execute_command(*args, **options)

    async with Lost.from_url(valkey_url) as client, RedisFileSystem(client=client) as fs:
        with pytest.raises(kind, match=r"^lost$"):  # raised by the second attempt, and not the loop's
            await fs.write_bytes("file", b"new")
        await fs.write_bytes("file", b"new")


async def test_an_answer_that_is_lost_does_not_take_the_step_twice(
    proxy: FaultProxy, valkey_url: str, raw: redis.Redis
) -> None:
    async with RedisFileSystem(proxy.before(valkey_url)) as fs:
        await fs.write_bytes("file", b"old")
        for size in (10, 3 * MIB):
            async with fs.open("file", "r+") as file:
                await file.write(bytes(size))
                proxy.to_client.cut_at = proxy.to_client.passed + 1
            assert proxy.to_client.cut_at is None
            assert raw.get("file") == bytes(size)
        proxy.to_client.cut_at = proxy.to_client.passed + 1
        await fs.copy("file", "copy")
        proxy.to_client.cut_at = proxy.to_client.passed + 30
        await fs.move("copy", "moved")
        assert sorted(raw.keys("*")) == [b"file", b"moved"]


async def test_a_stalled_server_is_given_up(proxy: FaultProxy, valkey_url: str) -> None:
    async with RedisFileSystem(proxy.before(valkey_url), timeout=2) as fs:
        await fs.write_bytes("file", b"x")
        proxy.to_client.stalled = True
        with pytest.raises(TimeoutError) as caught:
            await fs.read_bytes("file")
        assert caught.value.filename == "file"
        await proxy.to_client.resume()
        assert await fs.read_bytes("file") == b"x"


async def test_a_writer_that_lost_its_lock_cannot_publish(valkey_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_url) as fs:
        for data in (b"small", NEW):
            await fs.write_bytes("file", b"old")
            lease = await fs.driver.lock("file")
            late = await fs.driver.begin("file", lease)
            for start in range(0, len(data), MIB):
                await late.write(data[start : start + MIB])
            raw.delete(*raw.keys(".aiofs-lock*"))
            await fs.write_bytes("file", b"another's")
            with pytest.raises(Conflict):
                await late.commit()
            await late.abort()
            await lease.release()
            assert raw.get("file") == b"another's"
            assert raw.keys("*") == [b"file"]


async def test_sessions_under_one_lock_are_not_taken_for_each_other(valkey_url: str, raw: redis.Redis) -> None:
    """The name of the first is the beginning of that of the tenth, which was published."""
    async with RedisFileSystem(valkey_url) as fs:
        lease = await fs.driver.lock("file")
        sessions = [await fs.driver.begin("file", lease) for _ in range(10)]
        for session, data in ((sessions[9], b"the tenth"), (sessions[0], b"the first")):
            await session.write(data)
            await session.commit()
            assert raw.get("file") == data
        await lease.release()


async def test_what_was_staged_and_vanished_is_not_published(valkey_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_url) as fs:
        await fs.write_bytes("file", b"old")
        file = await fs.open("file", "w")
        await file.write(NEW)
        raw.delete(*raw.keys(".aiofs-part*"))
        with pytest.raises(Damaged):
            await file.close()
        assert raw.get("file") == b"old"
        assert raw.keys("*") == [b"file"]


async def test_a_server_that_forgot_the_end_of_what_was_staged(valkey_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_url) as fs:
        await fs.write_bytes("file", b"old")
        file = await fs.open("file", "w")
        await file.write(NEW)
        (part,) = raw.keys(".aiofs-part*")
        raw.set(part, NEW[:MIB], keepttl=True)  # as when it came back with what it had saved a moment ago
        with pytest.raises(Damaged) as caught:
            await file.write(NEW)
        assert caught.value.filename == "file"
        with pytest.raises(OSError, match="nothing was published"):
            await file.close()
        assert raw.get("file") == b"old"
        assert raw.keys("*") == [b"file"]


async def test_what_is_staged_lives_as_long_as_its_lock_is_renewed(valkey_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_url, lease=5) as fs:
        file = await fs.open("file", "w")
        await file.write(NEW)
        (lock,), (part,) = raw.keys(".aiofs-lock*"), raw.keys(".aiofs-part*")
        renewals, left = 0, raw.pttl(lock)
        while renewals < 7:  # more of them than fit into the life of what is staged
            await asyncio.sleep(0.01)
            before, left = left, raw.pttl(lock)
            renewals += left > before
            assert 0 < raw.pttl(part) <= 10_000
        await file.close()
        assert raw.keys("*") == [b"file"]
        assert raw.ttl("file") == -1


@pytest.mark.parametrize("size", [0, 10, 3 * MIB])
async def test_a_prepared_write_is_finished_by_another_process(valkey_url: str, raw: redis.Redis, size: int) -> None:
    async with RedisFileSystem(valkey_url, lease=9) as dying, RedisFileSystem(valkey_url, lease=9) as other:
        lease = await dying.driver.lock("file")
        assert isinstance(lease, RedisLease)
        written = await dying.driver.begin("file", lease)
        for start in range(0, size, MIB):
            await written.write(bytes(min(MIB, size - start)))
        token = await written.prepare()
        with pytest.raises(Locked):
            await other.driver.resume(token)
        lease.abandon()
        await unlocked(raw)
        driver = other.driver
        assert isinstance(driver, RedisDriver)
        (leftover,) = [leftover async for leftover in driver.leftovers()]
        assert (leftover.kind, leftover.path, leftover.live) == ("prepared write", "file", False)
        taken = await driver.resume(token)
        entry = await taken.commit()
        assert entry == await other.stat("file")
        again = await driver.resume(token)
        assert await again.commit() == entry
        await again.abort()
        assert raw.get("file") == bytes(size)
        assert raw.keys("*") == [b"file"]


async def test_sweeping_removes_what_is_dead_and_nothing_else(valkey_url: str, raw: redis.Redis) -> None:
    connect = partial(RedisFileSystem, valkey_url, lease=9, chunked=True, chunk_size=MIB)
    async with connect() as dying, connect() as other:
        await other.write_bytes("published", NEW)
        parts = len(raw.keys("*"))
        lease = await dying.driver.lock("dead")
        dead = await dying.driver.begin("dead", lease)
        for _ in range(3):
            await dead.write(bytes(MIB))
        await dead.prepare()
        driver = other.driver
        assert isinstance(driver, RedisDriver)
        found = [leftover async for leftover in driver.leftovers()]
        assert [(left.kind, left.live) for left in found] == [("lock", True), ("prepared write", True)]
        assert found[0].holder == found[1].holder is not None
        assert found[0].modified is not None
        assert found[1].modified is not None
        assert not any([await driver.sweep(leftover) for leftover in found])
        lease.abandon()
        await unlocked(raw)
        assert all([await driver.sweep(leftover) for leftover in found])
        assert len(raw.keys("*")) == parts
        assert await other.read_bytes("published") == NEW


async def test_a_commit_that_was_cancelled_after_it_was_sent_keeps_the_parts(valkey_url: str) -> None:
    async with RedisFileSystem(valkey_url, chunked=True, chunk_size=MIB) as fs:
        lease = await fs.driver.lock("file")
        written = await fs.driver.begin("file", lease)
        for start in range(0, len(NEW), MIB):
            await written.write(NEW[start : start + MIB])
        assert isinstance(written, writing.RedisSession)
        sent = written._client
        answers: list[object] = []

        async def lose(path: str | None, script: scripts.Script, *rest: object) -> object:
            answers.append(await client.RedisClient.run(sent, path, script, *rest))  # type: ignore[arg-type]
            raise asyncio.CancelledError

        written._client = _Losing(lose)  # type: ignore[assignment]
        with pytest.raises(asyncio.CancelledError):
            await written.commit()
        written._client = sent
        await written.abort()
        await lease.release()
        assert answers
        assert await fs.read_bytes("file") == NEW


class _Losing:
    """A client whose answers are lost."""

    def __init__(self, run: Callable[..., Awaitable[object]]) -> None:
        self.run = run


def _port(url: str) -> int:
    found = re.search(rf"{re.escape(HOST)}:(\d+)", url)
    assert found is not None
    return int(found[1])
