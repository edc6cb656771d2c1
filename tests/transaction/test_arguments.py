"""What a transaction cannot be over is told before anything is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import aiofs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("stores", [None, 3, "memory://", {"a": 1}, {"a": None}])
def test_no_file_systems(stores: Any) -> None:
    with pytest.raises(TypeError, match=r"give an aiofs\.FileLikeSystem"):
        aiofs.transaction(stores)


def test_no_file_system_to_keep_the_journal() -> None:
    journal: Any = "memory://"
    with pytest.raises(TypeError, match="'memory://'"):
        aiofs.transaction(aiofs.MemoryFileSystem(), journal=journal)


def test_names_that_are_none() -> None:
    stores: Any = {1: aiofs.MemoryFileSystem()}
    with pytest.raises(TypeError, match="not 1"):
        aiofs.transaction(stores)
    with pytest.raises(ValueError, match="each with a name"):
        aiofs.transaction({"": aiofs.MemoryFileSystem()})
    with pytest.raises(ValueError, match="each with a name"):
        aiofs.transaction({})


async def test_a_closed_file_system() -> None:
    fs = aiofs.MemoryFileSystem()
    await fs.aclose()
    with pytest.raises(ValueError, match="closed"):
        aiofs.transaction(fs)


async def test_a_journal_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(path: str, _: bytes, *, durable: bool) -> None:
        assert not durable
        raise aiofs.NoSpace.of(path, "the disk is full")

    async def refuse_to_remove(paths: list[str], *, missing_ok: bool) -> None:
        assert missing_ok
        raise aiofs.AccessDenied.of(paths[0])

    fs, journal = aiofs.MemoryFileSystem(), aiofs.OSFileSystem(tmp_path)
    monkeypatch.setattr(journal.driver, "append", refuse)
    monkeypatch.setattr(journal.driver, "delete", refuse_to_remove)
    with pytest.raises(aiofs.NoSpace) as caught:
        async with aiofs.transaction(fs, journal=journal) as tx:
            await tx.write_bytes("new", b"new")
    assert "could not be removed either" in caught.value.__notes__[0]
    assert await fs.ls() == []
