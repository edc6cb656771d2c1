"""Walking a folder in the order of UTF-8 bytes, one page of entries at a time."""

from __future__ import annotations

import errno
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.facts import entry_of
from aiofs.backends.osfiles.root import is_file, open_folder
from aiofs.driver import Entry
from aiofs.errors import AccessDenied
from aiofs.paths import RESERVED, under

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiofs.backends.osfiles.root import Root

_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""It vanished, or a link leads to nothing."""
_KEPT = 32
"""So many folders are open at most; those further up are opened anew when the walk comes back to them."""


def walk(root: Root, prefix: str, after: str, *, one_level: bool) -> Generator[Entry]:
    """Yield what begins with `prefix` and comes behind `after`.

    Code points and UTF-8 bytes sort alike; a folder sorts as its name with a `/`, which is where its files come. Names
    that are not UTF-8 have no path and are passed over; folders behind links are not entered, files behind links are
    listed if they lie below the root.
    """
    folder, _, head = prefix.rpartition("/")
    yield from _below(root, folder, head, after, one_level=one_level)


class _Level:
    """A folder that the walk is in, and the names of it that are still to come."""

    def __init__(self, path: str, folder: int | str, head: str) -> None:
        self.path = path
        self._folder: int | str | None = folder
        try:
            with told_of(path):
                self.names = iter(_names(folder, head))
        except BaseException:
            self.close()
            raise

    def folder(self, root: Root) -> int | str | None:
        """Return the folder, opened anew where it was closed; `None` if it is gone."""
        if self._folder is None:
            self._folder = root.folder(self.path)
        return self._folder

    def below(self, root: Root, path: str) -> _Level | None:
        """Return the level of a folder in this one; `None` if it is gone, or is none any more."""
        folder = self.folder(root)
        try:
            with told_of(path):
                if isinstance(folder, int):
                    return _Level(path, open_folder(path.rpartition("/")[2], folder), "")
                deeper = root.folder(path)
                return None if deeper is None else _Level(path, deeper, "")
        except OSError as error:
            if error.errno in _NOWHERE:
                return None
            raise

    def close(self) -> None:
        """Close the folder. Harmless when done twice."""
        folder, self._folder = self._folder, None
        if isinstance(folder, int):
            os.close(folder)


def _below(root: Root, folder: str, head: str, after: str, *, one_level: bool) -> Generator[Entry]:
    """Walk without recursion, with few folders open: there may be thousands of levels."""
    top = root.folder(folder)
    levels = [] if top is None else [_Level(folder or root.path, top, head)]
    if levels:
        levels[0].path = folder
    try:
        while levels:
            level = levels[-1]
            deeper = yield from _through(root, level, after, one_level=one_level)
            if deeper is None:
                levels.pop().close()
                continue
            levels.append(deeper)
            if len(levels) > _KEPT:
                levels[-_KEPT - 1].close()
    finally:
        for level in levels:
            level.close()


def _through(root: Root, level: _Level, after: str, *, one_level: bool) -> Generator[Entry, None, _Level | None]:
    """Yield the files of a level that come next, and return the level of the first folder that is to be entered."""
    for name, is_link in level.names:
        path = under(level.path) + name
        if not name.endswith("/"):
            if path > after and (entry := _entry(root, level, path, is_link=is_link)) is not None:
                yield entry
        elif path <= after and not after.startswith(path):
            continue  # all that is below comes before `after`
        elif not one_level:
            deeper = level.below(root, path[:-1])
            if deeper is not None:
                return deeper
        elif path > after and _has_files(root, path[:-1]):
            yield Entry(path)
    return None


def _names(place: int | str, head: str) -> list[tuple[str, bool]]:
    """Return the sorted names in an open folder that begin with `head`, and whether each is a link."""
    names = []
    with os.scandir(place) as children:
        for child in children:
            if child.name.startswith(head):
                with suppress(UnicodeEncodeError):
                    child.name.encode()
                    is_folder = child.is_dir(follow_symlinks=False)
                    names.append((f"{child.name}/" if is_folder else child.name, child.is_symlink()))
    names.sort()
    return names


def _entry(root: Root, level: _Level, path: str, *, is_link: bool) -> Entry | None:
    """Describe a file; `None` if it vanished or is not a regular file below the root.

    :raises OSError: if that cannot be told: a file that is there is never left out in silence.
    """
    try:
        with told_of(path):
            if is_link:
                with root.place(path) as target:
                    status = target.status()
            elif (folder := level.folder(root)) is None:
                return None
            elif isinstance(folder, int):
                status = os.stat(path.rpartition("/")[2], dir_fd=folder, follow_symlinks=False)
            else:
                status = os.stat(os.path.join(folder, path.rpartition("/")[2]), follow_symlinks=False)
    except OSError as error:
        if error.errno in _NOWHERE or (is_link and isinstance(error, AccessDenied)):
            return None
        raise
    return entry_of(path, status) if status is not None and is_file(status) else None


def _has_files(root: Root, folder: str) -> bool:
    """Whether there is a file at any level below: a folder without files is no folder to the portable side."""
    with closing(_below(root, folder, "", "", one_level=False)) as entries:
        return any(f"/{RESERVED}" not in entry.path for entry in entries)
