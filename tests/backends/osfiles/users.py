"""Two users of one machine, and what a killed one left."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.osfiles.workers import forkserver, killed_before_publishing

if TYPE_CHECKING:
    from collections.abc import Iterator

ALICE, BOB = 54321, 54322

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="left out: two users are needed, and only root can become both (docs/contributing.md, Two users)",
)


@contextlib.contextmanager
def as_user(user: int) -> Iterator[None]:
    """Be somebody, in their own group alone."""
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.contextmanager
def folder_of(user: int, mode: int) -> Iterator[Path]:
    """Give a folder of somebody's, which everybody can reach."""
    with tempfile.TemporaryDirectory(prefix="aiofs-") as name:
        Path(name).chmod(0o755)
        folder = Path(name, "root")
        folder.mkdir()
        os.chown(folder, user, user)
        folder.chmod(mode)
        yield folder


def killed(root: Path, name: str, user: int) -> None:
    """Have somebody write a file, and die where it would get its name."""
    process = forkserver.Process(target=killed_before_publishing, args=(root, name, user))
    process.start()
    process.join()
    process.close()


def hidden(folder: Path) -> list[Path]:
    """What of this package's own lies in a folder."""
    return [path for path in folder.iterdir() if path.name.startswith(".aiofs")]
