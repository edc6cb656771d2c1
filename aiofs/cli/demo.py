"""`python -m aiofs demo`: what the package does, in a few lines, on a temporary folder and in memory."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.testing.kills import ChildProcesses, seed
from aiofs.threads import hop
from aiofs.transactions.transaction import recover, transaction

if TYPE_CHECKING:
    import argparse

    from aiofs.filesystem import FileSystem


@dataclass(frozen=True)
class DemoFolder:
    """A local folder. Each process opens it for itself."""

    path: str

    def __call__(self) -> dict[str, OSFileSystem]:
        """Open it."""
        return {"": OSFileSystem(self.path)}


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the demo has no arguments."""


def run(_arguments: argparse.Namespace) -> int:
    """Run the demo."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_show_all(folder))
    return 0


async def _show_all(folder: str) -> None:
    for title, system in (("a local folder", OSFileSystem(folder)), ("memory", MemoryFileSystem())):
        _say(f"Files in {title}")
        async with system as fs:
            await _show(fs)
    await _show_transactions(folder)
    _say("The same lines work on Redis, S3, Azure blobs and FastDFS: only the file system differs.")


async def _show(fs: FileSystem) -> None:
    async with fs.open("notes/today.txt", "w") as file:
        await file.write(b"first line\nsecond line\n")
        there = await fs.exists("notes/today.txt")
        _say(f"  written, not closed     others see it: {there}")
        try:
            async with fs.open("notes/today.txt", "w"):
                pass
        except BlockingIOError as error:
            _say(f"  a second writer         {type(error).__name__}: {error.strerror}")
    _say(f"  closed, so published    {await fs.ls()}")

    async with fs.open("notes/today.txt") as file:
        _say(f"  read by lines           {[line async for line in file]}")

    async with fs.open("notes/today.txt", "r+") as file:
        await file.seek(6)
        await file.write(b"LINE")
    _say(f"  changed in place        {await fs.read_bytes('notes/today.txt')!r}")

    try:
        async with fs.open("notes/today.txt", "w") as file:
            await file.write(b"half of a fi")
            raise RuntimeError("the program failed here")
    except RuntimeError as error:
        _say(f"  {error!s:<24}the old bytes stayed: {await fs.read_bytes('notes/today.txt')!r}")

    await fs.rm("notes/today.txt")
    _say(f"  removed                 {await fs.ls()}")


async def _show_transactions(folder: str) -> None:
    """Show a transaction over two stores, one that fails, and one whose process is killed."""
    _say("A transaction over a local folder and memory")
    disk, memory = OSFileSystem(os.path.join(folder, "disk")), MemoryFileSystem()
    async with transaction({"disk": disk, "memory": memory}) as tx:
        await tx["disk"].write_text("report", "all is well")
        await tx["memory"].write_text("index", "report")
        _say(f"  within                  {await tx['disk'].ls()}, {await tx['memory'].ls()}")
        _say(f"  seen by others          {await disk.ls()}, {await memory.ls()}")
    _say(f"  committed               {await disk.ls()}, {await memory.ls()}")
    try:
        async with transaction({"disk": disk, "memory": memory}) as tx:
            await tx["disk"].rm("report")
            await tx["memory"].write_text("index", "nothing")
            raise RuntimeError("the program failed here")
    except RuntimeError as error:
        _say(f"  {error!s:<24}{await disk.ls()}, {await memory.read_text('index')!r}")

    _say("A process that is killed in the middle of a transaction")
    place = DemoFolder(os.path.join(folder, "crashed"))
    await seed(place())
    children = ChildProcesses()
    for death in (30, 60):
        await hop(children.run, place, "commit", death)
        fs = place()[""]
        found = await recover(fs)
        became = "undone" if found.undone else "finished"
        _say(
            f"  kill -9 at step {death:<8}recovered: {became}, there is {await fs.ls('over')} and {await fs.ls('new')}"
        )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
