"""What the processes of the model test do."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiofs
from aiofs.testing.kills import KillSwitch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from aiofs.transactions.transaction import FileTransaction

COUNTERS = 5
MOST_TRIES = 400


@dataclass(frozen=True)
class Job:
    """What one process does, and at which of its steps it dies; at none if that is 0."""

    root: str
    name: str
    transactions: int
    death: int


async def begin(fs: aiofs.FileSystem) -> None:
    """Make the files that the transactions change."""
    for number in range(COUNTERS):
        await fs.write_bytes(f"counter/{number}", b"0")
    await fs.write_bytes("chain", b"")
    await fs.write_bytes("token/0", b"the token")


def work(job: Job, answer: Connection) -> None:
    """Do the job, and answer which transactions were committed, each as soon as it is."""
    switch = KillSwitch(job.death)
    if job.death:
        switch.arm()
    asyncio.run(_work(job, answer))
    switch.armed = False
    answer.send(None)


async def _work(job: Job, answer: Connection) -> None:
    chance = random.Random(f"{job.name} {job.death}")
    async with aiofs.OSFileSystem(job.root, durable=False) as fs:
        for number in range(job.transactions):
            name = f"{job.name}-{number}"
            if await _until_done(fs, name, chance):
                answer.send(name)


async def _until_done(fs: aiofs.FileSystem, name: str, chance: random.Random) -> bool:
    for _ in range(MOST_TRIES):
        try:
            async with aiofs.transaction(fs) as tx:
                await _change(tx, name, chance)
        except (BlockingIOError, FileNotFoundError):
            await asyncio.sleep(chance.random() / 100)  # others are at it
        else:
            return True
    return False


async def _change(tx: FileTransaction, name: str, chance: random.Random) -> None:
    counters = chance.sample(range(COUNTERS), chance.randint(1, 3))
    for number in counters:
        async with tx.open(f"counter/{number}", "r+") as file:
            count = int(await file.read())
            await file.seek(0)
            await file.truncate()
            await file.write(b"%d" % (count + 1))
    if chance.random() < 0.4:
        tokens = await tx.ls("token")
        if len(tokens) != 1:
            raise BlockingIOError("it is being moved just now: once published there, still listed here")
        await tx.move(tokens[0], f"token/{chance.randint(0, 9)}")
    if chance.random() < 0.4:
        async with tx.open("chain", "a") as file:
            await file.write(f"{name}\n".encode())
        position = (await tx.read_text("chain")).count("\n")
        await tx.write_text(f"linked/{name}", str(position))
    await tx.write_text(f"done/{name}", " ".join(map(str, counters)))
