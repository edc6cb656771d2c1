"""Behaviour 93 in full: ten thousand paths with few descriptors, and large files in little memory."""

from __future__ import annotations

import asyncio
import os
import resource
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.transactions.transaction import recover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
PATHS = 10_000 if FULL else 300  # more than there are descriptors
SIZE = 1 << (30 if FULL else 26)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """As few as many systems give a process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["local", "memory", *(["below a folder"] if FULL else [])])
async def test_many_paths(kind: str, tmp_path: Path) -> None:
    fs: aiofs.FileSystem = aiofs.MemoryFileSystem() if kind == "memory" else aiofs.OSFileSystem(tmp_path, durable=False)
    if kind == "below a folder":
        fs = fs.at("folder")
    async with aiofs.transaction(fs) as tx:
        for number in range(PATHS):
            await tx.write_bytes(f"{number % 10}/{number}", b"%d" % number)
    async with aiofs.transaction(fs) as tx:
        for number in range(PATHS):
            if number % 2:
                await tx.rm(f"{number % 10}/{number}")
            else:
                async with tx.open(f"{number % 10}/{number}", "a") as file:
                    await file.write(b"!")
    names = await fs.ls()
    assert len(names) == PATHS / 2
    assert await fs.read_bytes(names[-1]) == names[-1].partition("/")[2].encode() + b"!"
    async with aiofs.transaction(fs, auto_commit=False) as tx:
        await tx.rm(*names)
    assert await fs.ls() == names
    assert await aiofs.fsck(fs) == []
    found = await asyncio.to_thread(lambda: [path for path in tmp_path.rglob(".aiofs*") if path.is_file()])
    assert found == []


@pytest.mark.usefixtures("few_descriptors")
async def test_many_paths_are_locked_and_recovered(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, durable=False)
    async with aiofs.transaction(fs) as tx:
        for number in range(200):
            await tx.write_bytes(f"{number}", b"new")
        for number in (0, 199):
            with pytest.raises(BlockingIOError):
                await aiofs.OSFileSystem(tmp_path).write_bytes(f"{number}", b"other")
            await tx.write_bytes(f"{number}", b"newer")
        assert (await recover(aiofs.OSFileSystem(tmp_path))).live
    assert await fs.read_bytes("199") == b"newer"
    assert len(await fs.ls()) == 200


@pytest.mark.timeout(300)
async def test_large_files_in_little_memory(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, durable=False)
    part = os.urandom(1 << 20)
    tracemalloc.start()
    try:
        async with aiofs.transaction(fs) as tx:
            async with tx.open("large", "w") as file:
                for _ in range(SIZE // len(part)):
                    await file.write(part)
            async with tx.open("large") as file:
                assert await file.read(len(part)) == part
            await tx.copy("large", "copy")
            async with tx.open("copy", "r+") as file:
                await file.seek(SIZE // 2)
                await file.write(b"changed")
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()
    assert (await fs.stat("copy")).size == SIZE
    assert await fs.read_bytes("copy", SIZE // 2, SIZE // 2 + 7) == b"changed"
    assert await fs.read_bytes("large", SIZE // 2, SIZE // 2 + 7) == part[:7]
