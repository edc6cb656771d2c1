"""Sixteen processes want one file: one has it at a time, the others are told, and no change is lost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aiofs.stores import OSFileSystem
from backends.osfiles.workers import fight, nursery

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
            talk, theirs = nursery.Pipe()
            process = nursery.Process(target=fight, args=(root, SECONDS, theirs))
            process.start()
            theirs.close()
            talks.append(talk)
            processes.append(process)
        for talk in talks:
            assert talk.recv() == "ready"
        for talk in talks:
            talk.send("go")
        results = [talk.recv() for talk in talks]
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
