"""A store that gives more bytes than it is asked for, as one does whose answer came with a first piece of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.kit import BytesStream
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from aiofs.driver import ReadStream

DATA = bytes(number % 251 for number in range(100_000))


class Generous(MemoryDriver):
    """Whoever asks for a byte gets a thousand."""

    part_size = 777

    def __init__(self) -> None:
        super().__init__()
        self.moved = asyncio.Event()
        self.waits = False

    class Stream(BytesStream):
        def __init__(self, driver: Generous, path: str, start: int, stop: int | None) -> None:
            stored = driver._find(path)
            super().__init__(stored.entry, stored.data, start, stop)
            self._generous = driver

        async def chunk(self, want: int) -> bytes:
            data = await super().chunk(want + 1000)
            if self._generous.waits:
                self._generous.waits = False
                self._generous.moved.set()
                await asyncio.Event().wait()
            return data

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        await super().read(path, match=match)
        return self.Stream(self, path, start, stop)


@pytest.fixture
async def store() -> FileSystem:
    fs = FileSystem(Generous())
    await fs.write_bytes("file", DATA)
    return fs


async def test_what_is_left_of_a_file_is_its_beginning(store: FileSystem) -> None:
    async with transaction(store) as tx, tx.open("file", "r+") as file:
        await file.truncate(30_000)
    assert await store.read_bytes("file") == DATA[:30_000]


async def test_a_copy_is_whole(store: FileSystem) -> None:
    async with transaction(store) as tx:
        await tx.copy("file", "copy")
        async with tx.open("copy") as copy:
            assert [await copy.read(10), await copy.read(5000), await copy.read()] == [
                DATA[:10],
                DATA[10:5010],
                DATA[5010:],
            ]
    assert await store.read_bytes("copy") == DATA


async def test_a_read_that_was_cancelled_is_made_again(store: FileSystem) -> None:
    driver = store.driver
    assert isinstance(driver, Generous)
    async with transaction(store) as tx:
        await tx.copy("file", "copy")
        async with tx.open("copy") as copy:
            assert await copy.read(10) == DATA[:10]
            driver.waits = True
            reading = asyncio.ensure_future(copy.read(90_000))
            await driver.moved.wait()
            reading.cancel()
            await asyncio.wait([reading])
            await copy.seek(10)
            assert await copy.read() == DATA[10:]
