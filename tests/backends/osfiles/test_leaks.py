"""What the system refuses, or says late, costs no descriptor and leaves no file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

import aiofs
from disks.faults import Faults
from guards import descriptors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP], ids=["no locks", "not supported"])
async def test_a_file_system_without_locks_is_told_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_fd: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    fs = aiofs.OSFileSystem(tmp_path)
    (tmp_path / "file").write_bytes(b"old")
    before = descriptors()
    for name in ("file", "new", "folder/new"):
        for mode in ("w", "a"):
            with pytest.raises(aiofs.Unsupported, match="give locks=") as refused:
                await fs.open(name, mode)
            assert (refused.value.errno, refused.value.filename) == (number, name)
    with pytest.raises(aiofs.Unsupported):
        await fs.open("file", "r+")
    assert descriptors() == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["file", "folder/below/file"])
async def test_an_error_of_close_leaks_no_other_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whichever of them fails. The system closes a descriptor also where it reports an error."""
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes(name, b"old")
    close = os.close
    before = descriptors()
    for nth in range(1, 12):
        left = nth

        def fail(fd: int) -> None:
            nonlocal left
            close(fd)
            left -= 1
            if not left:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "close", fail)
        for attempt in _attempts(fs, name):
            try:
                await attempt()
            except OSError as error:
                assert str(error.filename).startswith(name)  # noqa: PT017 -- every attempt may fail or succeed
        monkeypatch.setattr(os, "close", close)
        assert descriptors() == before, f"after an error of the {nth}th close"
        assert (await fs.read_bytes(name)) in {b"old", b"new"}


@pytest.mark.may_block
async def test_a_listing_that_fails_closes_its_folders(tmp_path: Path) -> None:
    """Whichever look at an open folder fails; the folders are deeper than a listing keeps open."""
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes(f"{'d/' * 40}file", b"")
    before = descriptors()
    nth, faults = 0, None
    while faults is None or faults.raised is not None:
        nth += 1
        faults = Faults(nth, errno.EIO, only="fstat")
        with faults.at_work(), contextlib.suppress(OSError):
            await fs.ls()
        assert descriptors() == before, f"after an error of the {nth}th fstat"
    assert nth > 1


def _attempts(fs: aiofs.OSFileSystem, name: str) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: fs.stat(name),
        lambda: fs.read_bytes(name),
        lambda: fs.write_bytes(name, b"new"),
        lambda: fs.stat(f"{name}-missing"),
        lambda: fs.copy(name, "copy"),
        lambda: fs.rm(f"{name}-missing", missing_ok=True),
    ]
