"""The contract on files of the operating system."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.osfiles import OSDriver
from aiofs.stores import OSFileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.cancel import CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.locking import LocksOfProcesses, NamedLocks
from aiofs.testing.contract.removing import Removing
from aiofs.testing.contract.sessions import Leftovers, Prepared
from aiofs.testing.contract.writers import Processes, Writers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def too_long(name: str) -> bool:
    """What no folder can hold: a name of more than 255 bytes."""
    return any(len(segment.encode()) > 255 for segment in name.split("/"))


def local(root: Path, *, durable: bool = False, connect: Callable[[], OSFileSystem] | None = None) -> Harness:
    """A folder, and what else is known of it."""

    async def meddle(path: str, data: bytes) -> None:
        await asyncio.to_thread((root / path).write_bytes, data)

    def staged() -> list[str]:
        return [str(path) for path in root.rglob(".aiofs*") if path.name != ".aiofs-journal"]

    async def residue() -> Sequence[str]:
        return await asyncio.to_thread(staged)

    connect = connect or partial(OSFileSystem, root, durable=durable)
    return Harness(connect=connect, root=root, meddle=meddle, residue=residue, cannot_hold=too_long)


@pytest.mark.both_loops(full=True)
class TestOSFiles(Contract):
    declares = OSDriver.capabilities

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return local(tmp_path / "root", durable=False)


@pytest.mark.variant(Commit, CancelledWriting, Prepared, NamedLocks)
class TestDurableOSFiles(Contract):
    declares = OSDriver.capabilities

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return local(tmp_path / "root", durable=True)


@pytest.mark.variant(Commit, CancelledWriting, Writers, Leftovers, Processes, Removing, NamedLocks, LocksOfProcesses)
class TestOSFilesWithLocksElsewhere(Contract):
    declares = replace(OSDriver.capabilities, resume=False, holds=False, partial=False)

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        keeper = OSFileSystem(tmp_path / "keeper")
        return local(tmp_path / "root", connect=partial(OSFileSystem, tmp_path / "root", locks=keeper, durable=False))
