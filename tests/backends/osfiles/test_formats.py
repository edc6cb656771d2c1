"""What 2.0.0a1 left is finished or undone; what a later version may leave is refused by its number, never guessed.

The files in `left_by_2_0_0a1` were made with its code: processes were killed after they had prepared a write or a
removal, left a lock, begun to write, or decided a transaction or not. Inodes cannot be kept in files, so that those of
the files that are made here take their place wherever they stand; a line of a journal then gets its checksum anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.backends.osfiles.names import PART, READY, STAGE, digest_of
from aiofs.powers import Parks

if TYPE_CHECKING:
    from collections.abc import Mapping

LEFT = Path(__file__).with_name("left_by_2_0_0a1")


def restore(name: str, root: Path) -> Mapping[str, Any]:
    """Make what was left, below `root`, and return what else was written down."""
    text = (LEFT / f"{name}.json").read_text()
    inodes: dict[str, str] = {}
    made: dict[str, Path] = {}
    for file in json.loads(text)["files"]:
        path = root / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if file["inode"] in made:
            os.link(made[file["inode"]], path)
            continue
        path.touch()
        made[file["inode"]] = path
        inodes[file["inode"]] = f"{path.stat().st_ino:x}"
    text = re.sub(f"({'|'.join(inodes)})-", lambda found: f"{inodes[found[1]]}-", text)
    for file in json.loads(text)["files"]:
        path = root / file["path"]
        path.write_text("\n".join(map(_checked, file["bytes"].split("\n"))))
        path.chmod(int(file["mode"], 8))
        os.utime(path, ns=(file["mtime_ns"], file["mtime_ns"]))
    left: Mapping[str, Any] = json.loads(text)
    return left


def _checked(line: str) -> str:
    if not line.startswith("aiofs-journal/"):
        return line
    mark, _, body = line.split(" ", 2)
    return f"{mark} {hashlib.blake2b(body.encode(), digest_size=8).hexdigest()} {body}"


def tree(root: Path) -> dict[str, bytes]:
    """All files but the empty folder of the journal."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("end", ["commit", "abort"])
@pytest.mark.parametrize("name", ["prepared_write", "prepared_creation", "prepared_removal"])
async def test_a_prepared_write_of_the_first_version(tmp_path: Path, name: str, end: str) -> None:
    left = restore(name, tmp_path)
    before = {path: data for path, data in tree(tmp_path).items() if ".aiofs" not in path}
    fs = aiofs.OSFileSystem(tmp_path)
    with pytest.raises(aiofs.Locked, match="unfinished transaction"):
        await fs.write_bytes("folder/file", b"another's")
    session = await fs.driver.resume(left["token"])
    await (session.commit() if end == "commit" else session.abort())
    after = {"prepared_removal": {}}.get(name, {"folder/file": b"new"})
    assert tree(tmp_path) == (after if end == "commit" else before)


@pytest.mark.parametrize("name", ["prepared_write", "prepared_creation", "prepared_removal"])
async def test_a_prepared_write_of_which_only_the_fence_is_known(tmp_path: Path, name: str) -> None:
    """So recovery withdraws what was prepared and not decided."""
    left = restore(name, tmp_path)
    fs = aiofs.OSFileSystem(tmp_path)
    session = await fs.driver.resume({"path": "folder/file", "fence": left["fence"]})
    await session.abort()
    assert not any(".aiofs" in path for path in tree(tmp_path))


async def test_a_lock_that_the_first_version_left(tmp_path: Path) -> None:
    left = restore("parked_lock", tmp_path)
    fs = aiofs.OSFileSystem(tmp_path)
    with pytest.raises(aiofs.Locked):
        await fs.write_bytes("folder/file", b"another's")
    parks: Any = fs.driver.offers(Parks)
    lease = await parks.unpark("folder/file", left["fence"])
    session = await fs.driver.begin("folder/file", lease)
    await session.write(b"new")
    await session.commit()
    await lease.release()
    assert tree(tmp_path) == {"folder/file": b"new"}


@pytest.mark.may_block
@pytest.mark.parametrize("mode", [0o755, 0o777])
async def test_a_lock_of_ours_keeps_the_first_version_out(tmp_path: Path, mode: int) -> None:
    """It opened the file of this name, made it where it was missing, and locked it with flock."""
    tmp_path.chmod(mode)
    fs = aiofs.OSFileSystem(tmp_path, durable=False)
    name = tmp_path / f".aiofs-stage-{hashlib.blake2b(b'file', digest_size=16).hexdigest()}"
    async with fs.open("file", "w"):
        fd = os.open(name, os.O_RDWR)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)
    assert not name.exists()


@pytest.mark.parametrize("how", ["write", "remove", "fsck"])
async def test_a_stage_that_the_first_version_was_writing(tmp_path: Path, how: str) -> None:
    restore("growing_stage", tmp_path)
    fs = aiofs.OSFileSystem(tmp_path)
    if how == "write":
        await fs.write_bytes("folder/file", b"new")
    elif how == "remove":
        await fs.rm("folder/file")
    else:
        assert [found.kind for found in await aiofs.fsck(fs, fix=True)] == ["staging file"]
    assert tree(tmp_path) == {"write": {"folder/file": b"new"}, "remove": {}, "fsck": {"folder/file": b"old"}}[how]


async def test_transactions_of_the_first_version(tmp_path: Path) -> None:
    for name in ("decided_transaction", "undecided_transaction"):
        restore(name, tmp_path / name)
        fs = aiofs.OSFileSystem(tmp_path / name)
        report = await aiofs.recover(fs)
        assert not report.failed
        assert (len(report.finished), len(report.undone)) == ((1, 0) if name == "decided_transaction" else (0, 1))
    assert tree(tmp_path / "decided_transaction") == {"folder/file": b"new", "other/made": b"made"}
    assert tree(tmp_path / "undecided_transaction") == {"folder/file": b"old", "folder/gone": b"to be removed"}


async def test_a_token_of_a_later_version(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    lease = await fs.driver.lock("file")
    token = await (await fs.driver.begin("file", lease)).prepare()
    await lease.release()
    assert token["format"] == 2
    before = tree(tmp_path)
    with pytest.raises(aiofs.Unsupported, match=r"a prepared write has format 3.*knows 1 and 2") as refused:
        await fs.driver.resume({**token, "format": 3})
    assert refused.value.filename == "file"
    assert tree(tmp_path) == before
    await (await fs.driver.resume(token)).abort()


@pytest.mark.parametrize("kind", [STAGE, READY])
async def test_a_lock_of_a_later_version(tmp_path: Path, kind: str) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("file", b"old")
    (tmp_path / (kind + digest_of("file"))).symlink_to("aiofs-format-3")
    with pytest.raises(aiofs.Unsupported, match="the lock of this file has format 3") as refused:
        await fs.write_bytes("file", b"new")
    assert refused.value.filename == "file"
    assert (tmp_path / "file").read_bytes() == b"old"
    (found,) = await aiofs.fsck(fs, fix=True)
    assert (found.kind, found.fixed) == ("lock of format 3", False)
    assert "use the version that wrote it" in found.why
    assert (tmp_path / (kind + digest_of("file"))).is_symlink()


async def test_files_of_a_later_version_are_found_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PART[:-1]}3-{digest_of('file')}").write_bytes(b"?")
    fs = aiofs.OSFileSystem(tmp_path)
    (found,) = await aiofs.fsck(fs, fix=True)
    assert found.kind == "part file of format 3, which this version of aiofs does not know"
    assert not found.fixed
    assert len(tree(tmp_path)) == 1
