"""What the other processes of these tests do."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiofs.stores import OSFileSystem
from aiofs.transactions.transaction import transaction
from disks.calls import watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

MIB = 1 << 20
forkserver = multiprocessing.get_context("forkserver")


def bytes_of(version: int, size: int) -> bytes:
    """The bytes of one version, which share no byte with the next one."""
    return bytes([version % 251]) * size


def overwrite(root: Path, version: int, size: int, talk: Connection) -> None:
    """Write a version of a file in many steps."""

    async def work() -> None:
        async with OSFileSystem(root) as fs:
            talk.send("ready")
            talk.recv()
            async with fs.open("folder/file", "w") as file:
                step = bytes_of(version, size // 40)
                for _ in range(40):
                    await file.write(step)

    asyncio.run(work())
    talk.send("done")


def fight(root: Path, talk: Connection) -> None:
    """Count up the number in a file as often as it can be had, and check that nobody else has it.

    It says "won" after the first time, and fights on until it is sent a word.
    """
    results: Counter[str] = Counter()
    marker = root.parent / "somebody is inside"

    async def work() -> None:
        async with OSFileSystem(root, durable=False) as fs:
            talk.send("ready")
            talk.recv()
            while not talk.poll():
                try:
                    async with fs.open("folder/number", "r+") as file:
                        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                        number = int(await file.read())
                        await file.seek(0)
                        await file.write(b"%d" % (number + 1))
                        await asyncio.sleep(0)
                        marker.unlink()
                except BlockingIOError as error:
                    results["refused" if error.filename == "folder/number" else "refused without a name"] += 1
                    await asyncio.sleep(0.001)
                else:
                    if not results["won"]:
                        talk.send("won")
                    results["won"] += 1

    asyncio.run(work())
    talk.send(results)


def killed_before_publishing(root: Path, name: str, user: int) -> None:
    """Write a file as somebody without privileges, and die where it would get its name."""

    def die_at_renames(event: str, _arguments: tuple[object, ...]) -> None:
        if event == "os.rename":
            os._exit(1)

    sys.addaudithook(die_at_renames)
    if os.geteuid() == 0:
        os.setuid(user)
    asyncio.run(OSFileSystem(root).write_bytes(name, b"of the dead"))


def killed_with_a_copy_ready(root: Path, source: str, target: str) -> None:
    """Copy a file in a transaction, and die when the copy waits for the decision."""

    def die_when_ready(name: str, do: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        done = do(*args, **kwargs)
        if name == "replace" and ".aiofs-ready" in args[1]:
            os._exit(1)
        return done

    async def work() -> None:
        async with transaction(OSFileSystem(root)) as tx:
            await tx.copy(source, target)

    with watched(die_when_ready):
        asyncio.run(work())


def stream(root: Path, size: int, talk: Connection) -> None:
    """Write a large file, change it, read it in chunks and in lines, and tell by how many bytes the memory grew."""

    async def work() -> None:
        step = (b"x" * 1023 + b"\n") * 256
        async with OSFileSystem(root, durable=False) as fs:
            await fs.write_bytes("warm up", step)
            await fs.read_bytes("warm up")
            before = peak()
            async with fs.open("large", "w") as file:
                for _ in range(size // len(step)):
                    await file.write(step)
            async with fs.open("large") as file:
                total = 0
                while data := await file.read(100_000):
                    total += len(data)
            assert total == size
            async with fs.open("large") as file:
                assert sum([len(line) async for line in file]) == size
            async with fs.open("large", "r+") as file:
                for offset in range(0, size, size // 64):
                    await file.seek(offset)
                    await file.write(b"changed")
            async with fs.open("large", "a") as file:
                await file.write(b"the end")
            await fs.copy("large", "copy")
            assert (await fs.stat("copy")).size == size + 7
            talk.send(peak() - before)

    asyncio.run(work())


def peak() -> int:
    """The most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
