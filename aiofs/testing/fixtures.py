"""Fixtures for users' tests, which pytest finds by itself: empty file systems that need no server.

They are plain fixtures, not asynchronous ones, so they work with pytest-asyncio in each of its modes, with the plugin
of anyio, and in tests without asyncio (`aiofs_memory.blocking`). No store is imported before a test uses one.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

try:
    import pytest
except ImportError as _missing:
    raise ImportError("the fixtures need pytest: pip install aiofs[testing]") from _missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiofs.filesystem import FileSystem
    from aiofs.stores import MemoryFileSystem, OSFileSystem, RedisFileSystem

_INSTALL = "pip install 'aiofs[redis]' 'fakeredis[lua]'"


@pytest.fixture
def aiofs_memory() -> MemoryFileSystem:
    """Give an empty file system in memory."""
    from aiofs.stores import MemoryFileSystem  # noqa: PLC0415 -- loaded when a test uses it

    return MemoryFileSystem()


@pytest.fixture
def aiofs_folder(tmp_path: Path) -> OSFileSystem:
    """Give an empty file system of local files, below pytest's `tmp_path`. It does not wait for the disk."""
    from aiofs.stores import OSFileSystem  # noqa: PLC0415 -- loaded when a test uses it

    return OSFileSystem(tmp_path, durable=False)


@pytest.fixture
def aiofs_redis() -> Iterator[RedisFileSystem]:
    """Give an empty file system in Redis, by fakeredis: there is no server."""
    if find_spec("fakeredis") is None or find_spec("redis") is None:
        pytest.fail(f"the fixture aiofs_redis needs fakeredis: {_INSTALL}", pytrace=False)
    from fakeredis import FakeAsyncRedis, FakeServer  # noqa: PLC0415 -- loaded when a test uses it

    from aiofs.stores import RedisFileSystem  # noqa: PLC0415 -- the same

    client = FakeAsyncRedis(server=FakeServer())
    yield RedisFileSystem(client=client)
    loop = asyncio.new_event_loop()  # that of the test has ended, or never was
    try:
        loop.run_until_complete(client.aclose())
    finally:
        loop.close()


@pytest.fixture(params=["memory", "folder", "redis"])
def aiofs_fs(request: pytest.FixtureRequest) -> FileSystem:
    """Give an empty file system: the test runs in memory, with local files, and with fakeredis if that is installed.

    `@pytest.mark.parametrize("aiofs_fs", ["memory", "folder"], indirect=True)` chooses some of them.
    """
    if request.param not in {"memory", "folder", "redis"}:
        pytest.fail(f"aiofs_fs is 'memory', 'folder' or 'redis', not {request.param!r}", pytrace=False)
    if request.param == "redis" and (find_spec("fakeredis") is None or find_spec("redis") is None):
        pytest.skip(f"fakeredis is not installed: {_INSTALL}")
    system: FileSystem = request.getfixturevalue(f"aiofs_{request.param}")
    return system
