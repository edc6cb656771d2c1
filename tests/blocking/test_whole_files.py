"""Whole files without asyncio: sources, downloads, many files, and files on the disk."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

import aiofs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_whole_files(tmp_path: Path) -> None:
    fs = aiofs.MemoryFileSystem().blocking
    fs.write_bytes("file", io.BytesIO(b"bytes"))
    fs.append_bytes("file", iter([b"!"]))
    with fs.open("file") as source:
        fs.write_bytes("copy", source)
    assert fs.read_bytes("copy") == b"bytes!"
    fs.write_json("json", [1])
    assert fs.read_json("json") == [1]
    fs.download("file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"bytes!"
    with fs.local("file", "r+") as path:
        path.write_bytes(b"changed")
    with fs.local("file") as path:
        assert path.read_bytes() == b"changed"
    assert not path.exists()
    with pytest.raises(ZeroDivisionError), fs.local("file", "w") as path:
        raise ZeroDivisionError
    assert fs.read_bytes("file") == b"changed"
    assert list(fs.ls(limit=1)) == ["copy"]


def test_many_files_are_not_read_ahead() -> None:
    fs = aiofs.MemoryFileSystem().blocking
    assert all(isinstance(entry, aiofs.Entry) for _, entry in fs.write_many({"a": b"1", "b": b"2"}))
    assert dict(fs.read_many(["a", "b"])) == {"a": b"1", "b": b"2"}
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "a"

    for number, (_, data) in enumerate(fs.read_many(endless(), concurrency=2)):
        assert data == b"1"
        if number == 40:
            break
    assert taken <= 43
