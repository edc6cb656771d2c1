"""The contract on files in memory, the reference."""

from __future__ import annotations

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.testing import Contract, Harness


def memory(*, part_size: int | None = None) -> Harness:
    """A store in memory whose every connection sees the same files."""
    driver = MemoryDriver()
    if part_size is not None:
        driver.part_size = part_size

    async def meddle(path: str, data: bytes) -> None:
        driver.publish(path, data, next(iter(driver._locks._held.values())), None, None)

    return Harness(connect=lambda: FileSystem(driver), meddle=meddle)


@pytest.mark.both_loops
class TestMemory(Contract):
    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory()


class TestMemoryInSmallParts(Contract):
    """Parts so small that everything takes several."""

    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(part_size=1000)
