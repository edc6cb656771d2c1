"""`python -m aiofs demo`: the package's main job in a few lines, on a temporary folder and in memory."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from typing import TYPE_CHECKING

from aiofs.cli import crashes
from aiofs.stores import MemoryFileSystem, OSFileSystem

if TYPE_CHECKING:
    import argparse

    from aiofs.filesystem import FileSystem


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Take none."""


def run(_arguments: argparse.Namespace) -> int:
    """Show it."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_show_all(folder))
    return 0


async def _show_all(folder: str) -> None:
    for title, system in (("a local folder", OSFileSystem(folder)), ("memory", MemoryFileSystem())):
        _say(f"Files in {title}")
        async with system as fs:
            await _show(fs)
    await crashes.show(folder, _say)
    _say("The same lines work on Redis, S3, Azure blobs and FastDFS: only the file system differs.")


async def _show(fs: FileSystem) -> None:
    async with fs.open("notes/today.txt", "w") as file:
        await file.write(b"first line\nsecond line\n")
        there = await fs.exists("notes/today.txt")
        _say(f"  written, not closed     anybody else sees it: {there}")
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


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
