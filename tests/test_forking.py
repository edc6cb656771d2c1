"""A file system goes to a forked child as it is: the child uses and closes it, and leaves the parent what it has."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from typing import TYPE_CHECKING

import pytest

import aiofs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.may_block,  # a fork does
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of forking where there are threads
]
SECONDS = 20  # that a child may take

if sys.platform != "win32":

    def _use(fs: aiofs.FileSystem) -> None:
        async def use() -> None:
            async with fs:
                await fs.write_bytes("child", b"of the child")

        asyncio.run(use())

    async def _check(fs: aiofs.FileSystem) -> None:
        """Have a child close the file system, in the middle of a write."""
        await fs.write_bytes("file", b"old")
        async with fs.open("file") as reader, fs.open("file", "r+") as writer:
            await writer.write(b"new")
            child = multiprocessing.get_context("fork").Process(target=_use, args=(fs,))
            child.start()
            await asyncio.to_thread(child.join, SECONDS)
            outcome = child.exitcode
            child.kill()
            child.join()
            assert outcome == 0
            assert await reader.read() == b"old"
        assert await fs.read_bytes("file") == b"new"
        assert await fs.read_bytes("child") == b"of the child"
        await fs.aclose()

    async def test_local_files(tmp_path: Path) -> None:
        await _check(aiofs.OSFileSystem(tmp_path))

    async def test_redis(valkey_url: str) -> None:
        await _check(aiofs.RedisFileSystem(valkey_url))
