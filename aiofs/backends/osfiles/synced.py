"""Bringing names to the disk: of files, and of the folders on the way to them that may be new, whoever made those.

What a folder holds is on the disk once the folder was synced; that the folder itself is found there takes syncing the
one above it, and so on up. POSIX promises no more, though many systems do. So whoever depends on a folder syncs
the way to it, up to the end of the disk. What this process brought there once it need not bring again: a folder is
known by its number and the time it was made, which nobody can have again, and by the name and the folder it is in.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from aiofs.localio import birth_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
PASS = getattr(os, "O_PATH", os.O_RDONLY) | FOLDER
"""To walk through a folder takes less than to read it: one of mode 0711 lets others pass."""
MOST = 10_000
"""So many names are remembered."""
_CANNOT = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}

_sure: dict[tuple[int, int, str], tuple[int, int]] = {}
"""What is on the disk: for a folder and a name in it, which file or folder."""


def readable(folder: int) -> int:
    """Return the folder that is open to be walked through, opened to be read as well."""
    return os.open(".", os.O_RDONLY | FOLDER, dir_fd=folder)


def sync(folder: int) -> None:
    """Bring the names in an open folder to the disk."""
    try:
        opened = readable(folder)
    except PermissionError:
        os.sync()  # a folder that may be written but not read is synced with everything else
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def bring(folder: int, name: str, file: int) -> None:
    """Bring the name of an open file to the disk, once."""
    if not _is_sure(folder, name, file):
        sync(folder)
        _remember(folder, name, file)


def bring_way(folder: int, names: Sequence[str]) -> None:
    """Bring the names of an open folder, and of all above it, to the disk: `names` are those from the root down."""
    left = list(names)
    here = os.dup(folder)
    try:
        while True:
            try:
                above = os.open("..", PASS, dir_fd=here)
            except PermissionError:
                if left:
                    raise
                return  # what this user may not walk through holds no names of theirs
            try:
                done = _is_end(here, above) or _bring_folder(above, left.pop() if left else None, here)
            except BaseException:
                os.close(above)
                raise
            here, below = above, here
            os.close(below)
            if done:
                return
    finally:
        os.close(here)


def forget(folder: int, name: str) -> None:
    """Forget a name that was removed: what has it next is something else."""
    _sure.pop(_key(folder, name), None)


def _bring_folder(above: int, name: str | None, here: int) -> bool:
    """Bring the name of an open folder to the disk. Return whether all names above it are there, too.

    The name of one above the root is not known. One that this user can neither read nor write holds no names of theirs,
    and a file system that syncs no folders is not ours to refuse up there.
    """
    if name is not None:
        bring(above, name, here)
        return False
    name = str(os.fstat(here).st_ino)
    if _is_sure(above, name, here):
        return True
    try:
        if os.access(".", os.R_OK, dir_fd=above) or os.access(".", os.W_OK, dir_fd=above):
            sync(above)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    _remember(above, name, here)
    return False


def _is_end(here: int, above: int) -> bool:
    """Whether the disk ends here: there is nothing above, or that is another disk."""
    ours, theirs = os.fstat(here), os.fstat(above)
    return ours.st_dev != theirs.st_dev or ours.st_ino == theirs.st_ino


def _is_sure(folder: int, name: str, file: int) -> bool:
    return _sure.get(_key(folder, name)) == _mark(file)


def _remember(folder: int, name: str, file: int) -> None:
    if len(_sure) >= MOST:
        _sure.clear()
    _sure[_key(folder, name)] = _mark(file)


def _key(folder: int, name: str) -> tuple[int, int, str]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino, name


def _mark(file: int) -> tuple[int, int]:
    return os.fstat(file).st_ino, birth_of(file)
