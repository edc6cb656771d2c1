"""What 2.0.0a1 left is finished or undone; what a newer aiofs left is refused by name.

`left_by_2_0_0a1.json` has what transactions of that version left when they were killed: on local files, and with a log
of a file for each line, as stores keep it that cannot append. Each has the files that were there, and whether recovery
by the same version led to all as before or to all as after.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver, Stored
from aiofs.driver import Entry
from aiofs.filesystem import FileSystem
from aiofs.testing.kills import OLD
from aiofs.transactions.journal import Journal
from aiofs.transactions.records import FOLDER
from transaction.test_troubles import Plain

LEFT: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("left_by_2_0_0a1.json").read_text("utf-8"))
NEW = {
    "kept": b"never touched",
    "new/deep/file": b"new",
    "over/written": b"the new bytes" * 7,
    "appended": b"one, two",
    "moved/onto": b"to BE covered",
    "moved/to/here": b"moved",
}
OUTCOMES = {"before": OLD, "after": NEW}


def line(record: dict[str, Any], number: int) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode()
    return b"aiofs-journal/%d %s %s" % (number, hashlib.blake2b(body, digest_size=8).hexdigest().encode(), body)


def put_back(root: Path, files: list[dict[str, Any]]) -> None:
    """Write the files to the disk. Their versions and locks bear numbers of the disk that they were on."""
    made: dict[str, Path] = {}
    for file in files:
        path = root / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if file["inode"] in made:
            os.link(made[file["inode"]], path)
        else:
            path.write_text(file["data"], "utf-8")
            path.chmod(int(file["mode"], 8))
            os.utime(path, ns=(file["mtime"], file["mtime"]))
            made[file["inode"]] = path
    numbers = {old: f"{path.stat().st_ino:x}" for old, path in made.items()}
    for log in (root / FOLDER).glob("*.log"):
        log.write_bytes(b"\n".join(renumbered(old, numbers) for old in log.read_bytes().split(b"\n")))


def renumbered(old: bytes, numbers: dict[str, str]) -> bytes:
    body = old.partition(b" ")[2].partition(b" ")[2]
    try:
        record = json.loads(body)
    except ValueError:
        return old  # cut short
    text = json.dumps(record)
    return line(json.loads(re.sub(r'(?<=")[0-9a-f]+(?=-)', lambda found: numbers.get(found[0], found[0]), text)), 1)


def stored(files: list[dict[str, Any]]) -> FileSystem:
    """Return a store in memory with the files, in the versions that they had."""
    driver = MemoryDriver()
    for file in files:
        data = file["data"].encode()
        entry = Entry(file["path"], len(data), datetime.now(UTC), file["version"], file["metadata"])
        driver.files.stored[file["path"]] = Stored(entry, data)
    return FileSystem(driver).over(Plain(resume=False))


async def check_end(fs: FileSystem, expected: str) -> None:
    report = await aiofs.recover(fs)
    assert report.live + report.foreign + report.overtaken == []
    assert {path: await fs.read_bytes(path) for path in await fs.ls()} == OUTCOMES[expected]
    assert await aiofs.fsck(fs) == []


@pytest.mark.parametrize("left", LEFT["local"], ids=lambda left: left["killed"])
@pytest.mark.may_block
async def test_local_files(left: dict[str, Any], tmp_path: Path) -> None:
    put_back(tmp_path, left["files"])
    await check_end(aiofs.OSFileSystem(tmp_path), left["then"])


@pytest.mark.parametrize("left", LEFT["line by line"], ids=lambda left: left["killed"])
async def test_a_log_of_a_file_for_each_line(left: dict[str, Any]) -> None:
    await check_end(stored(left["files"]), left["then"])


async def test_a_newer_format_is_refused_by_name_and_left_alone() -> None:
    (left,) = [left for left in LEFT["line by line"] if left["killed"] == "decided"]
    for file in left["files"]:
        file["data"] = file["data"].replace("aiofs-journal/1 ", "aiofs-journal/3 ")
    fs = stored(left["files"])
    before = {entry.path: entry.version async for entry in fs.driver.list()}
    with pytest.raises(aiofs.Unsupported, match="'aiofs-journal/3'"):
        await aiofs.recover(fs)
    with pytest.raises(aiofs.Unsupported, match="'aiofs-journal/3'"):
        async with aiofs.transaction(fs):
            pass
    assert {entry.path: entry.version async for entry in fs.driver.list()} == before
    await fs.write_bytes("plain", b"writes go on")


async def test_a_kind_of_line_that_is_not_known_is_refused_by_name() -> None:
    fs = aiofs.MemoryFileSystem()
    log = Journal(fs.driver).log("0" * 32)
    await log.write({"do": "open", "stores": {"": "x"}})
    await log.write({"do": "dance"})
    with pytest.raises(aiofs.Unsupported, match="'dance'"):
        await aiofs.recover(fs)
