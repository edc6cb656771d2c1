"""Several processes do random transactions on the same files, and some of them are killed at random moments.

In the end everything must be as if the committed ones had happened one after another: a counter is how often it was
added to, the token is in one place, the chain has a link for each transaction that put one there, at the place that it
saw; and what a process was told to be committed is there.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from transaction.worker import COUNTERS, Job, begin, work

if TYPE_CHECKING:
    from pathlib import Path

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
WORKERS = 4
TRANSACTIONS = 6


@pytest.mark.parametrize("seed", range(40 if FULL else 3))
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("child_processes")
def test_as_if_one_after_another(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    asyncio.run(begin(aiofs.OSFileSystem(tmp_path)))
    told: list[str] = []
    for generation in range(3):
        deaths = [chance.randint(1, 600) if generation < 2 and chance.random() < 0.8 else 0 for _ in range(WORKERS)]
        jobs = [
            Job(str(tmp_path), f"{generation}-{worker}", TRANSACTIONS, death) for worker, death in enumerate(deaths)
        ]
        told += run(jobs)
    files = asyncio.run(in_the_end(aiofs.OSFileSystem(tmp_path)))

    done = {path.removeprefix("done/"): data.decode() for path, data in files.items() if path.startswith("done/")}
    assert set(told) <= set(done)
    assert len(done) >= WORKERS * TRANSACTIONS
    for number in range(COUNTERS):
        added = sum(str(number) in counters.split() for counters in done.values())
        assert int(files[f"counter/{number}"]) == added
    assert [data for path, data in files.items() if path.startswith("token/")] == [b"the token"]
    chain = files["chain"].decode().split()
    linked = {path.removeprefix("linked/"): int(data) for path, data in files.items() if path.startswith("linked/")}
    assert linked == {name: place for place, name in enumerate(chain, 1)}
    assert set(chain) <= set(done)
    assert list(tmp_path.rglob(".aiofs*/*")) == [path for path in tmp_path.rglob(".aiofs*") if path.is_file()] == []


def run(jobs: list[Job]) -> list[str]:
    """Do the jobs in processes of their own, and return which transactions they said were committed."""
    context: Any = multiprocessing.get_context("forkserver")
    children = []
    for job in jobs:
        theirs, ours = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(job, ours))
        child.start()
        ours.close()
        children.append((job, child, theirs))
    told: list[str] = []
    for job, child, answer in children:
        ended = False
        while True:
            try:
                name = answer.recv()
            except EOFError:
                break
            if name is None:
                ended = True
            else:
                told.append(name)
        child.join()
        assert ended or (job.death and child.exitcode == -9), child.exitcode
        child.close()
        answer.close()
    return told


async def in_the_end(fs: aiofs.FileSystem) -> dict[str, bytes]:
    """Return what is there when all is recovered."""
    await aiofs.recover(fs)
    left = await aiofs.fsck(fs, fix=True)
    assert all(finding.kind == "staging file" and finding.fixed for finding in left), left
    return {name: await fs.read_bytes(name) async for name in fs.ls()}
