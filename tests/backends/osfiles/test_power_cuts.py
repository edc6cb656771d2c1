"""Power cuts: whatever a write had done, the file is as it was before or after, and as after once that was reported.

`AIOFS_TEST_FULL=1` tries a cut after every call into the system; an ordinary run takes some of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs.stores import OSFileSystem
from disks.cuts import FULL, Cuts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(1800 if FULL else 600)]

Files = dict[str, bytes]


async def files_of(fs: OSFileSystem) -> Files:
    return {path: await fs.read_bytes(path) async for path in fs.ls()}


async def writes(fs: OSFileSystem) -> AsyncIterator[str]:
    """Write in every way, and say after each what that was."""
    await fs.write_bytes("new/deep/file", b"the first bytes")
    yield "w, in new folders of a new root"
    await fs.write_bytes("new/deep/file", b"other bytes, and more of them")
    yield "w"
    async with fs.open("new/once", "x") as file:
        await file.write(b"once")
    yield "x"
    async with fs.open("new/once", "a") as file:
        await file.write(b", and again")
    yield "a"
    async with fs.open("new/deep/file", "r+") as file:
        await file.seek(6)
        await file.write(b"BYTES")
    yield "r+"
    await fs.copy("new/once", "copied/deep/file")
    yield "copy into new folders"
    await fs.move("new/once", "moved/far/away")
    yield "move into new folders"
    await fs.move("moved/far/away", "moved/far/there")
    yield "move"
    await fs.rm("new/deep/file")
    yield "rm"
    async with fs.open("shared/open", "w") as file:
        await file.write(b"still open")
        await fs.write_bytes("shared/closed", b"closed before")
        yield "w in a folder that another writer made who is not done"
    yield "w by that writer"


async def test_a_write_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "recorded").mkdir()
    cuts = Cuts.begin(tmp_path / "recorded")
    fs = OSFileSystem(tmp_path / "recorded" / "new" / "root")
    states: list[tuple[str, Files]] = [("nothing", {})]
    with cuts.recorder.at_work():
        async for what in writes(fs):
            cuts.recorder.report()
            states.append((what, await files_of(fs)))
    wrong = []
    for disk in cuts.disks(tmp_path):
        (_, before), (what, after) = (*states, states[-1])[disk.done : disk.done + 2]
        allowed = [before, after]
        if what == "move into new folders" and disk.kind == "posix":
            allowed.append({**before, **after})  # a half of a rename between two folders: nothing is lost
        with disk.recorder.at_work():
            found = await files_of(OSFileSystem(disk.top / "new" / "root"))
        if found not in allowed:
            wrong.append(f"{what}: {disk}: {found}")
    assert not wrong, "\n".join(wrong)
