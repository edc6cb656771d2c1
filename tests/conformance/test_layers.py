"""The contract on every layer over memory: a system with layers is a system like any other."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.filesystem import FileSystem
from aiofs.layers import Allow, Base64, Checked, Gzip, HashPrefix, Limit, Log, Matching, Percent, Prefix, ReadOnly
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.life import Life
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.locking import NamedLocks
from aiofs.testing.contract.names import PathNames
from aiofs.testing.contract.reading import Changing, ReadingFiles, Seeking, TextHandles
from aiofs.testing.contract.removing import FileFacts, Removing
from aiofs.testing.contract.sessions import Conditions, Leftovers, Prepared
from aiofs.testing.contract.writers import Writers
from aiofs.testing.contract.writing import Modes, WrittenBytes
from layers.sealed import checked_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiofs.driver import Layer

MEMORY = MemoryDriver.capabilities
ENCODED = replace(MEMORY, listed_sizes=False, rewrite=False)
SEALED = replace(MEMORY, rewrite=False)


def over_memory(
    *layers: Layer,
    inward: Callable[[str], str] = str,
    encode: Callable[[bytes], bytes] = bytes,
    part_size: int | None = None,
    window: int | None = None,
    seed: bool = False,
) -> Harness:
    """Layers over files in memory, of which a meddler knows the names and bytes underneath."""
    driver = MemoryDriver()
    driver.part_size = part_size or driver.part_size
    driver.window = window

    async def meddle(path: str, data: bytes) -> None:
        driver.publish(inward(path), encode(data), driver.locks._held[inward(path)], None, None)

    return Harness(
        connect=lambda: FileSystem(driver),
        layers=layers,
        seed=(lambda: FileSystem(driver)) if seed else None,
        meddle=meddle,
    )


@pytest.mark.both_loops(full=True)
@pytest.mark.variant(
    *(WrittenBytes, Commit, Writers, Conditions, Prepared, Leftovers, PathNames, Listings, Removing, FileFacts),
    *(Life,),
)
class TestPrefix(Contract):
    declares = MEMORY

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Prefix("folder/below/"), inward="folder/below/{}".format, part_size=1000)


@pytest.mark.both_loops(full=True)
@pytest.mark.variant(
    *(WrittenBytes, ReadingFiles, TextHandles, Seeking, Changing, Commit, CancelledWriting, CancelledReading),
    *(Writers, Conditions, Prepared, Leftovers, FileFacts, Life),
)
class TestGzip(Contract):
    declares = ENCODED

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Gzip(), encode=gzip.compress)


@pytest.mark.variant(ReadingFiles, TextHandles, Seeking, Changing, CancelledReading)
class TestGzipAskingForWindows(Contract):
    """As over a store where every request counts."""

    declares = ENCODED

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Gzip(level=1), encode=gzip.compress, part_size=1000, window=500)


@pytest.mark.variant(WrittenBytes, ReadingFiles, TextHandles, Seeking, Changing, Commit, FileFacts)
class TestBase64(Contract):
    declares = ENCODED

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Base64(), encode=base64.b64encode)


@pytest.mark.variant(ReadingFiles, TextHandles, Seeking, Changing)
class TestBase64AskingForWindows(Contract):
    """As over a store where every request counts."""

    declares = ENCODED

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Base64(), encode=base64.b64encode, part_size=1000, window=500)


@pytest.mark.both_loops(full=True)
@pytest.mark.variant(
    *(WrittenBytes, ReadingFiles, TextHandles, Seeking, Changing, Commit, CancelledWriting, CancelledReading),
    *(Writers, Conditions, Prepared, Leftovers, Listings, FileFacts, Life),
)
class TestChecked(Contract):
    declares = SEALED

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Checked(), encode=checked_file)


@pytest.mark.variant(ReadingFiles, TextHandles, Seeking, Changing, CancelledReading)
class TestCheckedAskingForWindows(Contract):
    """As over a store where every request counts."""

    declares = SEALED

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Checked(), encode=checked_file, part_size=1000, window=500)


@pytest.mark.variant(PathNames, Listings, Removing, FileFacts, NamedLocks)
class TestPercent(Contract):
    declares = MEMORY

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Percent(), inward=Percent().inward)


@pytest.mark.variant(PathNames, Listings, Removing, FileFacts, NamedLocks)
class TestHashPrefix(Contract):
    declares = MEMORY

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(HashPrefix(1), inward=HashPrefix(1).inward)


@pytest.mark.both_loops(full=True)
class TestReadOnly(Contract):
    declares = replace(MEMORY, writable=False)

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(ReadOnly(), seed=True)


@pytest.mark.variant(Modes, Commit, Removing, FileFacts)
class TestAllow(Contract):
    declares = MEMORY

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Allow("read", "list", "write", "remove"))


@pytest.mark.variant(WrittenBytes, Changing, Commit, CancelledWriting)
class TestLimit(Contract):
    declares = replace(MEMORY, rewrite=False)

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Limit(1 << 26))


@pytest.mark.variant(PathNames, Listings, Removing, FileFacts)
class TestMatching(Contract):
    declares = MEMORY

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Matching(r"(?s).*"))


@pytest.mark.variant(Commit, CancelledWriting, CancelledReading, FileFacts)
class TestLog(Contract):
    declares = MEMORY

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Log())


@pytest.mark.variant(WrittenBytes, ReadingFiles, Changing, PathNames, Listings, NamedLocks)
class TestPrefixOverGzipOverPrefix(Contract):
    declares = ENCODED

    @pytest.fixture
    def harness(self) -> Harness:
        return over_memory(Prefix("a/"), Gzip(), Prefix("b/"), inward="a/b/{}".format, encode=gzip.compress)
