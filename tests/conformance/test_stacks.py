"""The contract on stacks of layers over files of the operating system."""

from __future__ import annotations

import asyncio
import base64
import gzip
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.osfiles import OSDriver
from aiofs.layers import Base64, Gzip, HashPrefix, Limit, Log, Percent, Prefix
from aiofs.stores import OSFileSystem
from aiofs.testing import Contract, Harness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiofs.driver import Layer

ENCODED = replace(OSDriver.capabilities, listed_sizes=False, rewrite=False)


def over_files(
    root: Path, *layers: Layer, inward: Callable[[str], str] = str, encode: Callable[[bytes], bytes] = bytes
) -> Harness:
    """Layers over a folder, of which a meddler knows the names and bytes underneath."""

    def replaced(path: Path, data: bytes) -> None:
        beside = root / "meddled"
        beside.write_bytes(data)
        beside.replace(path)

    async def meddle(path: str, data: bytes) -> None:
        await asyncio.to_thread(replaced, root / inward(path), encode(data))

    def cannot_hold(name: str) -> bool:
        return any(len(segment.encode()) > 255 for segment in inward(name).split("/"))

    connect = partial(OSFileSystem, root, durable=False)
    return Harness(connect=connect, layers=layers, meddle=meddle, cannot_hold=cannot_hold)


class TestFolder(Contract):
    """As `fs.at` makes it."""

    declares = OSDriver.capabilities

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return over_files(tmp_path, Prefix("a/b/"), inward="a/b/{}".format)


class TestGzipInAFolder(Contract):
    declares = ENCODED

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return over_files(tmp_path, Prefix("a/"), Gzip(), inward="a/{}".format, encode=gzip.compress)


class TestHashPrefix(Contract):
    declares = OSDriver.capabilities
    lacks = {58: "`a` and `a/b` are mostly in different folders, where they do not meet"}  # noqa: RUF012

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return over_files(tmp_path, HashPrefix(1), inward=HashPrefix(1).inward)


class TestLoggedAndLimitedBase64WithPlainNames(Contract):
    declares = ENCODED

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        layers = Percent(), Base64(), Limit(1 << 26), Log()
        return over_files(tmp_path, *layers, inward=layers[0].inward, encode=base64.b64encode)
