"""What is left when connections break and answers are lost: old or new bytes, and nothing else."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceResponseError
from azure.storage.blob import ContainerClient

from aiofs.backends.azure.client import PART, Container
from aiofs.backends.azure.driver import AzureDriver
from aiofs.errors import Locked, Unavailable
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.filesystem import FileSystem
    from servers.azurite.server import AzureAccount
    from servers.proxy import FaultProxy, Flow

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
STEPS = 20 if FULL else 6  # where connections are cut: at the beginning, at the end, and between
OLD, NEW = b"old" * 1000, bytes(range(256)) * 4096 * 20  # of which the new one has 20 MiB
pytestmark = [pytest.mark.may_block, pytest.mark.timeout(120)]  # the tests look from outside with a client that blocks


@pytest.fixture
async def proxy(azurite: AzureAccount, fault_proxy: Callable[[int], Awaitable[FaultProxy]]) -> FaultProxy:
    return await fault_proxy(azurite.port)


def connect(account: AzureAccount, **settings: float) -> AzureFileSystem:
    return AzureFileSystem(account.container, connection_string=account.connection_string, lease=15, **settings)  # type: ignore[arg-type]


async def swept(fs: FileSystem) -> list[str]:
    """Sweep, and return what is left nevertheless."""
    driver = fs.driver
    assert isinstance(driver, AzureDriver)
    return [left.kind async for left in driver.leftovers() if not await driver.sweep(left)]


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
@pytest.mark.parametrize("before", [None, OLD], ids=["new", "overwritten"])
async def test_a_write_cut_anywhere(
    azurite: AzureAccount, proxy: FaultProxy, direction: str, before: bytes | None
) -> None:
    flow: Flow = getattr(proxy, direction)
    async with connect(azurite) as sure:
        for step in range(STEPS):
            await sure.rm("file", missing_ok=True)
            if before is not None:
                await sure.write_bytes("file", before)
            async with connect(azurite.through(proxy.port)) as fs:
                await fs.stat("file") if before is not None else await fs.ls()
                length = len(NEW) + 8000 if direction == "to_server" else 5000
                flow.cut_at = flow.passed + step * length // (STEPS - 1)
                with suppress(OSError):
                    await fs.write_bytes("file", NEW)
                flow.cut_at = None
            assert await read(sure) in {before, NEW}
            assert await swept(sure) == []


async def read(fs: FileSystem) -> bytes | None:
    try:
        return await fs.read_bytes("file")
    except FileNotFoundError:
        return None


async def test_a_read_cut_anywhere(azurite: AzureAccount, proxy: FaultProxy) -> None:
    async with connect(azurite.through(proxy.port)) as fs:
        await fs.write_bytes("file", NEW)
        for step in range(STEPS):
            proxy.to_client.cut_at = proxy.to_client.passed + step * len(NEW) // (STEPS - 1)
            with suppress(OSError):
                async with fs.open("file") as file:
                    assert await file.read() == NEW
            proxy.to_client.cut_at = None
        assert await swept(fs) == []


async def test_one_in_ten_requests_fails_and_everything_succeeds(
    azurite: AzureAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(7)
    asked = Container.ask
    failures = 0

    async def flaky(self: Container, path: str | None, call: Callable[[], Awaitable[object]], **rest: object) -> object:
        async def perhaps() -> object:
            nonlocal failures
            number = dice.randrange(20)
            failures += number < 2
            if number == 0:
                error = HttpResponseError("busy")
                error.status_code = dice.choice([500, 503])
                raise error
            answer = await call()
            if number == 1:
                raise ServiceResponseError("the answer was lost")
            return answer

        return await asked(self, path, perhaps, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Container, "ask", flaky)
    async with connect(azurite) as fs:

        async def life(number: int) -> None:
            path, data = f"file {number}", bytes([number]) * (1 << number)
            for _ in range(3):
                await fs.write_bytes(path, data)
                assert await fs.read_bytes(path) == data
                async with fs.open(path, "a") as file:
                    await file.write(b"tail")
                assert (await fs.stat(path)).size == len(data) + 4
                await fs.copy(path, f"copy {number}")
            await fs.rm(path)

        await asyncio.gather(*[life(number) for number in range(24)])
        assert len(await fs.ls()) == 24
    assert failures > 20


@pytest.mark.usefixtures("answers_are_lost")
async def test_a_published_write_whose_answer_is_lost_is_a_success(azurite: AzureAccount) -> None:
    async with connect(azurite) as fs:
        for data in (b"", b"small", NEW):
            await fs.write_bytes("file", data)
            assert await fs.read_bytes("file") == data
        async with fs.open("new", "x") as file:
            await file.write(NEW)
        await fs.copy("new", "copy")
        lease = await fs.driver.lock("empty")
        session = await fs.driver.begin("empty", lease)
        await session.prepare()
        await session.commit()
        await lease.release()
        assert await fs.ls() == ["copy", "empty", "file", "new"]


async def test_who_never_succeeds_gives_up(azurite: AzureAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object, **__: object) -> None:
        error = HttpResponseError("busy")
        error.status_code = 503
        raise error

    async with connect(azurite, timeout=0.2) as fs:
        monkeypatch.setattr("azure.storage.blob.aio.BlobClient.get_blob_properties", busy)
        with pytest.raises(Unavailable) as caught:
            await fs.stat("file")
        assert caught.value.filename == "file"
        assert caught.value.retryable


async def test_a_stalled_service_is_given_up(azurite: AzureAccount, proxy: FaultProxy) -> None:
    async with connect(azurite) as sure:
        await sure.write_bytes("file", b"x")
    async with connect(azurite.through(proxy.port), timeout=2.0) as fs:
        assert await fs.read_bytes("file") == b"x"
        proxy.to_client.stalled = True
        with pytest.raises(OSError, match="Azure"):
            await fs.read_bytes("file")
        await proxy.to_client.resume()


@pytest.mark.parametrize("size", [0, 10, 2 * PART + 10])
async def test_a_prepared_write_is_finished_by_another_process(azurite: AzureAccount, size: int) -> None:
    async with connect(azurite) as dying, connect(azurite) as other:
        lease = await dying.driver.lock("file")
        written = await dying.driver.begin("file", lease, metadata={"kind": "é"})
        for start in range(0, size, PART):
            await written.write(bytes(min(PART, size - start)))
        token = await written.prepare()
        with pytest.raises(Locked):
            await other.driver.resume(token)
        await lease.release()  # as if it had expired
        taken = await other.driver.resume(token)
        entry = await taken.commit()
        assert entry.version == (await other.stat("file")).version
        again = await other.driver.resume(token)
        assert (await again.commit()).version == entry.version
        await again.abort()
        assert await other.read_bytes("file") == bytes(size)
        assert (await other.stat("file")).metadata == {"kind": "é"}
        assert await swept(other) == []


async def test_an_aborted_write_leaves_no_blocks(azurite: AzureAccount) -> None:
    async with connect(azurite) as fs:
        with pytest.raises(RuntimeError):
            async with fs.open("file", "w") as file:
                await file.write(NEW)
                raise RuntimeError
    with ContainerClient.from_connection_string(azurite.connection_string, azurite.container) as raw:
        assert [blob.name for blob in raw.list_blobs(include=["uncommittedblobs"])] == []


async def test_a_checkpoint_that_is_cancelled_when_the_store_has_it_leaves_nothing_behind(
    azurite: AzureAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, stored, answered = Container.ask, asyncio.Event(), asyncio.Event()

    async def answers_late(self: Container, path: str | None, call: Any, **rest: Any) -> object:
        answer = await ask(self, path, call, **rest)
        if rest.get("settled"):
            stored.set()
            await answered.wait()
        return answer

    async with connect(azurite) as fs:
        file = await fs.open("file", "w", partial="")
        await file.write(b"bytes")
        monkeypatch.setattr(Container, "ask", answers_late)
        checkpoint = asyncio.ensure_future(file.checkpoint())
        await stored.wait()
        checkpoint.cancel()
        answered.set()
        with pytest.raises(asyncio.CancelledError):
            await checkpoint
        await file.leave()  # as nobody has a token, nothing is kept
        driver: Any = fs.driver
        assert "partial write" not in [left.kind async for left in driver.leftovers()]
