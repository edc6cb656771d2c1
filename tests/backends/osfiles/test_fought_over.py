"""Sixteen processes want one file: one has it at a time, the others are told, and no change is lost."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import pytest

from aiofs.stores import OSFileSystem
from backends.osfiles.workers import fight, forkserver

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("AIOFS_TEST_FIGHT_SECONDS", "2"))
FIGHTERS = 16


@pytest.mark.may_block
async def test_one_writer_at_a_time_and_nothing_lost(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with OSFileSystem(root) as fs:
        await fs.write_bytes("folder/number", b"0")
        talks, processes = [], []
        for _ in range(FIGHTERS):
            talk, theirs = forkserver.Pipe()
            process = forkserver.Process(target=fight, args=(root, theirs))
            process.start()
            theirs.close()
            talks.append(talk)
            processes.append(process)
        for talk in talks:
            assert talk.recv() == "ready"
        for talk in talks:
            talk.send("go")
        # On a busy machine few of them get to run: they fight until enough have won.
        end = time.monotonic() + SECONDS
        losers = set(talks)
        while len(losers) >= FIGHTERS // 2 or time.monotonic() < end:
            for talk in wait(losers, timeout=0.1):
                assert talk.recv() == "won"
                losers.discard(talk)
        for talk in talks:
            talk.send("enough")
        results = [talk.recv() for talk in talks]
        results = [talk.recv() if result == "won" else result for talk, result in zip(talks, results, strict=True)]
        for process, talk in zip(processes, talks, strict=True):
            process.join()
            assert process.exitcode == 0
            process.close()
            talk.close()
        won = [result.get("won", 0) for result in results]
        assert int(await fs.read_bytes("folder/number")) == sum(won)
        assert sum(count > 0 for count in won) > FIGHTERS // 2
        assert sum(result.get("refused", 0) for result in results) > 0
        assert not any("refused without a name" in result for result in results)
    assert [path.name for path in (root / "folder").iterdir()] == ["number"]
