"""What leaves a transaction is one error, never a group: what else went wrong is in its notes, and in `others`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.errors import Unfinished, one_of
from aiofs.filesystem import FileSystem
from aiofs.testing import Stepped, Steps
from aiofs.transactions.journal import Journal
from transaction.test_troubles import Plain

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("holds", [True, False])
async def test_two_files_that_others_changed_are_one_conflict(holds: bool, tmp_path: Path) -> None:
    base: FileSystem = aiofs.OSFileSystem(tmp_path) if holds else FileSystem(MemoryDriver()).over(Plain(resume=False))
    for path in ("a", "b", "c"):
        await base.write_bytes(path, b"old")
    tx = aiofs.transaction(base)
    with pytest.raises(BlockingIOError) as caught:
        async with tx:
            for path in ("a", "b", "c"):
                await tx.read_bytes(path)
            for path in ("a", "c"):
                await base.write_bytes(path, b"somebody else's")
            for path in ("a", "b", "c"):
                await tx.write_bytes(path, b"new")
    assert isinstance(caught.value, aiofs.Conflict)
    assert caught.value.filename == "a"
    assert [getattr(other, "filename", None) for other in caught.value.others] == ["c"]
    assert any("'c'" in note for note in caught.value.__notes__)
    assert tx.state == "rolled back"
    assert {path: await base.read_bytes(path) for path in await base.ls()} == {
        "a": b"somebody else's",
        "b": b"old",
        "c": b"somebody else's",
    }


def test_a_conflict_goes_before_what_else_is_wrong() -> None:
    """Who tries again on a `BlockingIOError` is told of the other one then, if it still is so."""
    trouble, conflict = OSError(errno.EIO, "trouble", "a"), aiofs.Conflict.of("b")
    assert one_of([trouble, conflict]) is conflict
    assert conflict.others == (trouble,)
    assert conflict.__notes__ == ["also: OSError: [Errno 5] trouble: 'a'"]


async def test_what_cannot_be_put_back_is_said_by_one_error() -> None:
    steps, memory = Steps(), aiofs.MemoryFileSystem()
    await memory.write_bytes("a", b"old")
    await memory.write_bytes("b", b"old")
    fs = FileSystem(Stepped(steps).bind(memory.driver))
    for path in ("a", "b"):
        steps.fail_at(f"lock {path}", nth=2)
    steps.fail_at("commit b")
    steps.fail_at("commit b", nth=2)
    with pytest.raises(Unfinished) as caught:
        async with aiofs.transaction(fs) as tx:
            await tx.write_bytes("a", b"new")
            await tx.write_bytes("b", b"new")
    assert isinstance(caught.value.__cause__, OSError)
    assert set(steps.failed) <= {caught.value.__cause__, *caught.value.others}
    assert not any(isinstance(error, BaseExceptionGroup) for error in caught.value.others)
    await steps.heal()
    assert (await aiofs.recover(memory)).undone
    assert await memory.read_bytes("a") == b"old"


async def test_an_exception_of_the_block_stays_what_it_was(tmp_path: Path) -> None:
    steps, fs = Steps(), aiofs.OSFileSystem(tmp_path)
    with pytest.raises(KeyError, match="mine") as caught:
        async with aiofs.transaction(FileSystem(Stepped(steps).bind(fs.driver))) as tx:
            await tx.write_bytes("a", b"new")
            steps.fail(len(steps.taken) + 2)
            raise KeyError("mine")
    assert any("trouble at step" in note for note in caught.value.__notes__)
    await steps.heal()
    await aiofs.recover(fs)
    assert await fs.ls() == await Journal(fs.driver).units() == []


async def test_two_transactions_that_cannot_be_recovered_are_one_error(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    for number in range(2):
        await Journal(fs.driver).log(f"{number}" * 32).write({"do": "open"})
    with pytest.raises(aiofs.Damaged) as caught:
        await aiofs.recover(fs)
    assert "000" in str(caught.value.filename)
    assert ["111" in str(getattr(other, "filename", None)) for other in caught.value.others] == [True]
