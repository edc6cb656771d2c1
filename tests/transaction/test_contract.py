"""The contract of transactions, on each kind of store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.backends.osfiles import OSDriver
from aiofs.driver import Capabilities, Layer, Sweeps
from aiofs.filesystem import FileSystem
from aiofs.stores import OSFileSystem
from aiofs.testing import Harness, TransactionContract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Plain(Layer):
    """A store without powers, whose prepared writes nobody can resume: transactions see to everything by themselves."""

    forwarded = (Sweeps,)

    def alter(self, capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, resume=False, holds=False)


class Loose(Layer):
    """A store that can resume, but whose prepared writes keep nobody out."""

    forwarded = (Sweeps,)

    def alter(self, capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, holds=False)


def memory(*layers: Layer) -> Harness:
    driver = MemoryDriver()
    return Harness(connect=lambda: FileSystem(driver), layers=layers)


@pytest.mark.both_loops
class TestMemory(TransactionContract):
    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory()


class TestPlain(TransactionContract):
    declares = replace(MemoryDriver.capabilities, resume=False)

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(Plain())


class TestLoose(TransactionContract):
    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(Loose())


class TestOSFiles(TransactionContract):
    declares = OSDriver.capabilities

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        root = tmp_path / "root"

        def staged() -> list[str]:
            return [str(path) for path in root.rglob(".aiofs*")]

        async def residue() -> Sequence[str]:
            return await asyncio.to_thread(staged)

        return Harness(connect=partial(OSFileSystem, root), root=root, residue=residue)
