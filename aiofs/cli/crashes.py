"""What the demo shows of transactions: one over two stores, one that fails, and one whose process is killed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.testing.kills import Nursery, seed
from aiofs.threads import hop
from aiofs.transactions.transaction import recover, transaction

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Folder:
    """A folder, opened anew by every process."""

    path: str

    def __call__(self) -> dict[str, OSFileSystem]:
        """Open it."""
        return {"": OSFileSystem(self.path)}


async def show(folder: str, say: Callable[[str], None]) -> None:
    """Show it, with `say` to tell a line."""
    say("A transaction over a local folder and memory")
    disk, memory = OSFileSystem(os.path.join(folder, "disk")), MemoryFileSystem()
    async with transaction({"disk": disk, "memory": memory}) as tx:
        await tx["disk"].write_text("report", "all is well")
        await tx["memory"].write_text("index", "report")
        say(f"  within                  {await tx['disk'].ls()}, {await tx['memory'].ls()}")
        say(f"  seen by others          {await disk.ls()}, {await memory.ls()}")
    say(f"  committed               {await disk.ls()}, {await memory.ls()}")
    try:
        async with transaction({"disk": disk, "memory": memory}) as tx:
            await tx["disk"].rm("report")
            await tx["memory"].write_text("index", "nothing")
            raise RuntimeError("the program failed here")
    except RuntimeError as error:
        say(f"  {error!s:<24}{await disk.ls()}, {await memory.read_text('index')!r}")

    say("A process that is killed in the middle of a transaction")
    place = Folder(os.path.join(folder, "crashed"))
    await seed(place())
    nursery = Nursery()
    for death in (30, 60):
        await hop(nursery.run, place, "commit", death)
        fs = place()[""]
        found = await recover(fs)
        became = "undone" if found.undone else "finished"
        say(f"  kill -9 at step {death:<8}recovered: {became}, there is {await fs.ls('over')} and {await fs.ls('new')}")
