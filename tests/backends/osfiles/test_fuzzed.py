"""Any name and any mode: a round trip, or a clear error before anything is touched; and nothing outside the root."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiofs.stores import OSFileSystem

SEGMENT = 255
ACTIONS = {"r", "r+", "w", "x", "a"}

ODD = (".", "..", "", "a", ".aiofs", "CON", "~", "a" * 255, "é" * 128)

segments = st.text(min_size=1, max_size=8) | st.sampled_from(ODD)
names = st.lists(segments, min_size=1, max_size=4).map("/".join) | st.text(max_size=20)
anything = names | st.none() | st.integers() | st.binary() | st.lists(st.text())
modes = st.text(alphabet="rwxabt+U ", max_size=5) | st.text(max_size=4)


def is_name(path: Any) -> bool:
    """What a name is, said once more and otherwise than the package says it."""
    if not isinstance(path, str) or "\0" in path or any("\ud800" <= letter <= "\udfff" for letter in path):
        return False
    parts = path.split("/")
    return all(part not in {"", ".", ".."} and not part.startswith(".aiofs") for part in parts)


def is_mode(mode: str) -> bool:
    """What a mode is, said once more."""
    kinds = sum(letter in "bt" for letter in mode)
    rest = mode.replace("b", "", 1) if "b" in mode else mode.replace("t", "", 1)
    return kinds <= 1 and (rest in ACTIONS or rest == "+r")


def tree(folder: Path) -> dict[str, bytes | None]:
    """All there is below a folder, with the bytes of files."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def alone(work: Any) -> None:
    """Run a piece of work on a fresh root beside files that are none of its business."""
    with tempfile.TemporaryDirectory() as name:
        around = Path(name)
        (around / "outside").write_bytes(b"outside")
        (around / "root").mkdir()
        asyncio.run(work(around / "root"))
        beside = {path: data for path, data in tree(around).items() if not path.startswith("root")}
        assert beside == {"outside": b"outside"}


@pytest.mark.may_block
@given(path=anything)
@example(path="../outside")
@example(path="/etc/passwd")
@example(path="a/../../outside")
@example(path="a\0b")
def test_names(path: Any) -> None:
    async def work(root: Path) -> None:
        fits = is_name(path) and all(len(part.encode()) <= SEGMENT for part in path.split("/"))
        async with OSFileSystem(root, durable=False) as fs:
            if not fits:
                with pytest.raises(ValueError if isinstance(path, str) else TypeError):
                    await fs.write_bytes(path, b"data")
                assert tree(root) == {}
                return
            await fs.write_bytes(path, b"data")
            assert await fs.read_bytes(path) == b"data"
            assert (await fs.stat(path)).path == path
            assert await fs.ls() == [path]
            assert (root / path).read_bytes() == b"data"
            await fs.rm(path)
            assert tree(root) == {}

    alone(work)


@pytest.mark.may_block
@given(mode=modes)
@example(mode="rb+")
@example(mode="+br")
@example(mode="w+")
def test_modes(mode: str) -> None:
    async def work(root: Path) -> None:
        async with OSFileSystem(root, durable=False) as fs:
            if not is_mode(mode):
                with pytest.raises(ValueError, match="mode"):
                    fs.open("file", mode)
                assert tree(root) == {}
                return
            opening = fs.open("file", mode)
            if "r" in mode:
                with pytest.raises(FileNotFoundError):
                    await opening
                assert tree(root) == {}
                return
            async with opening as file:
                await file.write("data" if "t" in mode else b"data")
            assert tree(root) == {"file": b"data"}

    alone(work)
