"""The contract on stacks of layers over local files: what is true of each is true of them together."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.osfiles import OSDriver
from aiofs.layers import Gzip, Prefix, ReadOnly
from aiofs.stores import OSFileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.names import PathNames
from aiofs.testing.contract.reading import Changing, ReadingFiles
from aiofs.testing.contract.removing import Removing
from aiofs.testing.contract.sessions import Leftovers, Prepared
from aiofs.testing.contract.writing import WrittenBytes

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = OSDriver.capabilities
INNER = "inner/folder/"


def too_long(name: str) -> bool:
    """What no folder can hold: a name of more than 255 bytes."""
    return any(len(segment.encode()) > 255 for segment in name.split("/"))


def replaced(path: Path, data: bytes) -> None:
    """Change a file as careful programs do: by another one that takes its name."""
    other = path.with_name("other")
    other.write_bytes(data)
    other.replace(path)


@pytest.mark.variant(WrittenBytes, ReadingFiles, Changing, Commit, Prepared, Leftovers, Removing)
class TestGzipOverPrefixOverOSFiles(Contract):
    declares = replace(LOCAL, listed_sizes=False, rewrite=False)

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        root = tmp_path / "root"

        async def meddle(path: str, data: bytes) -> None:
            await asyncio.to_thread(replaced, root / INNER / path, gzip.compress(data))

        connect = partial(OSFileSystem, root, durable=False)
        return Harness(connect=connect, layers=[Prefix(INNER), Gzip(level=1)], meddle=meddle, cannot_hold=too_long)


@pytest.mark.variant(Prepared, Leftovers, PathNames, Listings, Removing)
class TestPrefixOverPrefixOverOSFiles(Contract):
    declares = LOCAL

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        root = tmp_path / "root"

        async def meddle(path: str, data: bytes) -> None:
            await asyncio.to_thread(replaced, root / INNER / path, data)

        connect = partial(OSFileSystem, root, durable=False)
        layers = [Prefix("inner/"), Prefix("folder/")]
        return Harness(connect=connect, layers=layers, meddle=meddle, cannot_hold=too_long)


class TestReadOnlyOverPrefixOverOSFiles(Contract):
    declares = replace(LOCAL, writable=False)

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        connect = partial(OSFileSystem, tmp_path / "root", durable=False)
        return Harness(
            connect=connect,
            layers=[Prefix(INNER), ReadOnly()],
            seed=lambda: connect().over(Prefix(INNER)),
            cannot_hold=too_long,
        )
