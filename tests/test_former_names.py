"""What programs for aiofs 1 say: it works and warns, or the warning says what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

import aiofs


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("OsFileSystem", "OSFileSystem"),
        ("AzFileSystem", "AzureFileSystem"),
        ("InMemFileSystem", "MemoryFileSystem"),
    ],
)
def test_classes(former: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"aiofs.{former} of aiofs 1 is aiofs.{name} now"):
        found = getattr(aiofs, former)
    assert found is getattr(aiofs, name)
    assert former not in aiofs.__all__


async def test_cp_and_mv() -> None:
    fs = aiofs.MemoryFileSystem()
    await fs.write_bytes("a", b"bytes")
    with pytest.warns(DeprecationWarning, match=r"cp\(\) of aiofs 1 is copy\(\) now"):
        await fs.cp("a", "b")
    with pytest.warns(DeprecationWarning, match=r"mv\(\) of aiofs 1 is move\(\) now"):
        await fs.mv("b", "c")
    assert await fs.ls() == ["a", "c"]


def test_a_folder_that_was_a_file_system() -> None:
    folder: Any = aiofs.MemoryFileSystem() / "folder"
    with pytest.raises(AttributeError, match=r"call path\.system\.ls\(\) or path\.at\(\)\.ls\(\)"):
        folder.ls()


@pytest.mark.parametrize("pattern", ["*.txt", "folder/?"])
async def test_a_pattern_as_a_folder_warns(pattern: str) -> None:
    fs = aiofs.MemoryFileSystem()
    await fs.write_bytes("a.txt", b"")
    for listing in (fs.ls(pattern), fs.scan(pattern)):
        with pytest.warns(UserWarning, match="names are literal, and a pattern is given as glob="):
            assert await listing == []


async def test_a_folder_of_that_name_does_not() -> None:
    fs = aiofs.MemoryFileSystem()
    await fs.write_bytes("*.txt/a", b"")
    assert await fs.ls("*.txt") == ["*.txt/a"]
    assert await fs.ls("missing") == []
