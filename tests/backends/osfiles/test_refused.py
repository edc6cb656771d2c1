"""What the system refuses is told as an error of the family, about the user's own name."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from typing import TYPE_CHECKING

import pytest

import aiofs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_NEEDED = 30


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Have the process run out of descriptors after `count` more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + MOST_NEEDED, hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_too_few_descriptors(tmp_path: Path) -> None:
    """Too many open files: whoever tries again later may have more luck, and is told so."""
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("folder/file", b"old")
    for attempt in (fs.read_bytes, fs.stat, fs.rm):
        with descriptors_left(0), pytest.raises(aiofs.Unavailable) as caught:
            await attempt("folder/file")
        assert caught.value.errno == errno.EMFILE
        assert caught.value.filename == "folder/file"
        assert caught.value.retryable
    assert await fs.read_bytes("folder/file") == b"old"


async def test_a_listing_is_whole_or_fails(tmp_path: Path) -> None:
    """However early the descriptors run out, no file is left out in silence."""
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("folder/below/file", b"")
    (tmp_path / "link").symlink_to("folder/below/file")
    (tmp_path / "nowhere").symlink_to("missing")
    outcomes = []
    for count in range(12):
        with descriptors_left(count):
            try:
                outcomes.append(await fs.ls())
            except aiofs.Unavailable as error:
                assert error.filename  # noqa: PT017 -- every attempt may fail or succeed
                outcomes.append([])
    assert outcomes[0] == []
    assert outcomes[-1] == ["folder/below/file", "link"]
    assert all(found in ([], outcomes[-1]) for found in outcomes)


async def test_root_is_a_file(tmp_path: Path) -> None:
    """A root that is a file is named as what is wrong, and is not taken for an empty folder."""
    root = tmp_path / "root"
    root.touch()
    for folder in (root, root / "below"):
        fs = aiofs.OSFileSystem(folder)
        with pytest.raises(NotADirectoryError, match="root"):
            await fs.write_bytes("file", b"")
        with pytest.raises(NotADirectoryError, match="root"):
            await fs.read_bytes("file")
        with pytest.raises(NotADirectoryError, match="root"):
            await fs.ls()
    assert root.read_bytes() == b""
