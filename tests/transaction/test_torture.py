"""The command that kills transactions on a store of one's own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def torture(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aiofs", "torture", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("stores", [("one",), ("one", "other"), ("same", "same")])
def test_a_table_of_befores_and_afters(stores: tuple[str, ...], tmp_path: Path) -> None:
    urls = [f"file://{tmp_path}/{name}" for name in stores]
    result = torture(*urls, "--kills", "5")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "x after" in result.stdout
    assert "x before" in result.stdout
    assert "NEITHER" not in result.stdout
    assert "ORPHANS" not in result.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("url", ["memory://", "MEMORY://"])
def test_memory_cannot_be_recovered(url: str) -> None:
    result = torture(url)
    assert result.returncode == 2
    assert "memory:// ends with its process" in result.stdout


@pytest.mark.parametrize(
    ("option", "word"), [("--kills", "0"), ("--patience", "nan"), ("--patience", "-1"), ("--patience", "soon")]
)
def test_numbers_that_are_none_are_named(option: str, word: str, tmp_path: Path) -> None:
    result = torture(f"file://{tmp_path}/store", f"{option}={word}")
    assert result.returncode == 2
    assert f"{word!r} is not a number of" in result.stderr
    assert list(tmp_path.iterdir()) == []
