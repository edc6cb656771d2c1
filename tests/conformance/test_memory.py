"""The contract on files in memory, the reference, and on stores in memory that answer as oddly as they may."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, ClassVar

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.driver import Entry, ReadStream
from aiofs.errors import Locked
from aiofs.filesystem import FileSystem
from aiofs.kit import BytesStream
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.between import BetweenStores
from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.life import Life
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.reading import Changing, ReadingFiles, Seeking, TextHandles
from aiofs.testing.contract.removing import FileFacts
from aiofs.testing.contract.waiting import Waiting
from aiofs.testing.contract.wholes import Sources
from aiofs.testing.contract.writing import WrittenBytes
from conformance.versioned_memory import VersionedMemory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Dribbling(MemoryDriver):
    """Gives less than is asked for, and then more; knows sizes and versions only once a file is open."""

    capabilities = replace(MemoryDriver.capabilities, listed_sizes=False)
    part_size = 777

    class Stream(BytesStream):
        def __init__(self, driver: MemoryDriver, path: str, start: int, stop: int | None) -> None:
            stored = driver._find(path)
            super().__init__(stored.entry, stored.data, start, stop)
            self._sizes = cycle((1, 700, 3, 100_000, 40_000))

        async def chunk(self, want: int) -> bytes:
            return await super().chunk(next(self._sizes))

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        await super().read(path, match=match)
        return self.Stream(self, path, start, stop)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        async for entry in super().list(prefix, after=after, delimiter=delimiter):
            yield Entry(entry.path)


class Sizeless(MemoryDriver):
    """Never knows how large a file is before it was read to its end."""

    capabilities = replace(MemoryDriver.capabilities, listed_sizes=False)

    async def stat(self, path: str) -> Entry:
        return replace(await super().stat(path), size=None)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        stream = await super().read(path, start, stop, match=match)
        stream.entry = replace(stream.entry, size=None)
        return stream

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        async for entry in super().list(prefix, after=after, delimiter=delimiter):
            yield replace(entry, size=None)


def memory(driver: MemoryDriver | None = None, *, part_size: int | None = None, window: int | None = None) -> Harness:
    """A store in memory whose every connection sees the same files."""
    driver = driver or MemoryDriver()
    driver.part_size = part_size or driver.part_size
    driver.window = window

    async def meddle(path: str, data: bytes) -> None:
        driver.publish(path, data, next(iter(driver.locks._held.values())), None, None)

    return Harness(connect=lambda: FileSystem(driver), meddle=meddle)


@pytest.mark.both_loops(
    *(CancelledWriting, CancelledReading, Waiting, Life),
    *(Sources.test_269_cancelled_sources, BetweenStores.test_319_cancelled_moves),
)
class TestMemory(Contract):
    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory()


@pytest.mark.variant(WrittenBytes, ReadingFiles, Seeking, Changing, Commit)
class TestMemoryInSmallParts(Contract):
    """Parts so small that everything takes several."""

    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(part_size=1000)


@pytest.mark.variant(ReadingFiles, TextHandles, Seeking, Changing, CancelledReading)
class TestMemoryAskingForWindows(Contract):
    """As where every request costs, and what is not needed costs too."""

    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(part_size=1000, window=300)


@pytest.mark.variant(WrittenBytes, ReadingFiles, TextHandles, Seeking, Changing, Listings, FileFacts)
class TestMemoryInDribbles(Contract):
    declares = Dribbling.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(Dribbling(), window=5000)


@pytest.mark.variant(ReadingFiles, Seeking, Changing, Listings, FileFacts)
class TestMemoryWithoutSizes(Contract):
    declares = Sizeless.capabilities
    lacks: ClassVar[dict[int, str]] = {16: "nobody can tell that a stream without a size was cut"}

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(Sizeless())


@pytest.mark.variant.with_args(FileFacts)
class TestMemoryWithOldVersions(Contract):
    declares = VersionedMemory.capabilities
    history = True

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(VersionedMemory())


async def test_files_stay_when_locks_are_gone() -> None:
    """As on a disk after a crash of all processes."""
    before = MemoryDriver()
    session = await before.begin("file", await before.lock("file"))
    await session.write(b"bytes")
    token = await session.prepare()
    with pytest.raises(Locked):
        await before.resume(token)
    after = MemoryDriver(before.files)
    with pytest.raises(Locked, match="unfinished transaction"):
        await after.lock("file")
    await (await after.resume(token)).commit()
    assert await FileSystem(after).read_bytes("file") == b"bytes"
