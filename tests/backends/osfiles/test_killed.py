"""A writer that is killed leaves the old bytes or the new ones, and nothing for others to stumble over."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from aiofs.stores import OSFileSystem
from backends.osfiles.workers import bytes_of, forkserver, overwrite

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

SIZE = 8_000_000
KILLS = 200 if os.environ.get("AIOFS_TEST_FULL") else 40


class Overwriting:
    """A process that begins to write a version when it is told to."""

    def __init__(self, root: Path, version: int) -> None:
        self.version = version
        self._talk, theirs = forkserver.Pipe()
        self._process: ForkServerProcess = forkserver.Process(target=overwrite, args=(root, version, SIZE, theirs))
        self._process.start()
        theirs.close()
        assert self._talk.recv() == "ready"

    def finish(self) -> float:
        """Let it write all; return how long that took."""
        begun = time.monotonic()
        self._talk.send("go")
        assert self._talk.recv() == "done"
        took = time.monotonic() - begun
        self._end()
        return took

    def kill_after(self, seconds: float) -> None:
        """Let it write for so long, and then no longer."""
        self._talk.send("go")
        time.sleep(seconds)
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.join()
        self._process.close()
        self._talk.close()


@pytest.mark.may_block
@pytest.mark.timeout(600)
async def test_old_or_new_whatever_the_moment(tmp_path: Path) -> None:
    root = tmp_path / "root"
    took = max(Overwriting(root, 1).finish() for _ in range(3))
    dice = random.Random(20)
    there = bytes_of(1, SIZE)
    seen = {"old": 0, "new": 0}
    async with OSFileSystem(root) as fs:
        for version in range(2, KILLS + 2):
            Overwriting(root, version).kill_after(dice.uniform(0, took * 1.1))
            now = await fs.read_bytes("folder/file")
            new = bytes_of(version, SIZE)
            assert now in {there, new}, f"version {version}: {len(now)} bytes of {sorted(set(now))}"
            seen["new" if now == new else "old"] += 1
            there = now
            assert await fs.ls() == ["folder/file"]
            if version % 10 == 0:
                there = bytes_of(version, 1000)
                await fs.write_bytes("folder/file", there)
                assert [path.name for path in (root / "folder").iterdir()] == ["file"]
    assert seen["old"] > KILLS // 10, f"too few were killed before the end: {seen}"


@pytest.mark.may_block
async def test_each_of_the_killed_leaves_the_lock_free(tmp_path: Path) -> None:
    root = tmp_path / "root"
    took = Overwriting(root, 1).finish()
    async with OSFileSystem(root) as fs:
        for number in range(10):
            Overwriting(root, number).kill_after(took * number / 10)
            async with fs.open("folder/file", "r+") as file:
                await file.abort()
            assert [path.name for path in (root / "folder").iterdir()] == ["file"]
