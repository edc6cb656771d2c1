"""The contract of transactions, on each kind of store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.backends.osfiles import OSDriver
from aiofs.filesystem import FileSystem
from aiofs.layers import Prefix
from aiofs.stores import OSFileSystem
from aiofs.testing import Harness, TransactionContract
from aiofs.testing.contract.isolation import Isolation
from aiofs.testing.contract.transactions import Crashes, Refusals
from transaction.powerless import Powerless

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiofs.driver import Capabilities, Layer


class Plain(Powerless):
    """A store without powers, whose prepared writes nobody can resume: transactions see to everything by themselves."""

    def alter(self, capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, resume=False, holds=False)


class Loose(Powerless):
    """A store that can resume, but whose prepared writes keep nobody out."""

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


@pytest.mark.variant(Isolation, Refusals)
class TestLoose(TransactionContract):
    declares = MemoryDriver.capabilities

    @pytest.fixture
    def harness(self) -> Harness:
        return memory(Loose())


def files_below(root: Path, *layers: Layer) -> Harness:
    def staged() -> list[str]:
        return [str(path) for path in root.rglob(".aiofs*") if path.name != ".aiofs-journal"]

    async def residue() -> Sequence[str]:
        return await asyncio.to_thread(staged)

    return Harness(connect=partial(OSFileSystem, root), layers=layers, root=root, residue=residue)


class TestOSFiles(TransactionContract):
    declares = OSDriver.capabilities

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return files_below(tmp_path / "root")


@dataclass(frozen=True)
class Below:
    """Opens a folder of local files in another process."""

    root: str
    folder: str

    def __call__(self) -> FileSystem:
        return OSFileSystem(self.root).at(self.folder)


@pytest.mark.variant(Refusals, Crashes)
class TestBelowAFolder(TransactionContract):
    """Through a layer that passes on the powers of local files."""

    declares = OSDriver.capabilities

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        harness = files_below(tmp_path / "root", Prefix("folder/"))
        harness.spawn = Below(str(tmp_path / "root"), "folder")
        return harness
