"""Walking a folder in the order of UTF-8 bytes, one page of entries at a time."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.facts import entry_of
from aiofs.backends.osfiles.root import is_file
from aiofs.driver import Entry
from aiofs.errors import AccessDenied
from aiofs.paths import RESERVED, under

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiofs.backends.osfiles.root import Root

_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""It vanished, or a link leads to nothing."""


def walk(root: Root, prefix: str, after: str, *, one_level: bool) -> Generator[Entry]:
    """Yield what begins with `prefix` and comes behind `after`.

    Code points and UTF-8 bytes sort alike; a folder sorts as its name with a `/`, which is where its files come. Names
    that are not UTF-8 have no path and are passed over; folders behind links are not entered, files behind links are
    listed if they lie below the root.
    """
    folder, _, head = prefix.rpartition("/")
    yield from _below(root, folder, head, after, one_level=one_level)


def _below(root: Root, folder: str, head: str, after: str, *, one_level: bool) -> Generator[Entry]:
    with root.folder(folder) as place:
        if place is None:
            return
        with told_of(folder or root.path):
            names = _names(place, head)
        for name, is_link in names:
            path = under(folder) + name
            if not name.endswith("/"):
                if path > after and (entry := _entry(root, place, path, name, is_link=is_link)) is not None:
                    yield entry
            elif path <= after and not after.startswith(path):
                continue  # all that is below comes before `after`
            elif not one_level:
                yield from _below(root, path[:-1], "", after, one_level=False)
            elif path > after and _has_files(root, path[:-1]):
                yield Entry(path)


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


def _entry(root: Root, place: int | str, path: str, name: str, *, is_link: bool) -> Entry | None:
    """Describe a file; `None` if it vanished or is not a regular file below the root.

    :raises OSError: if that cannot be told: a file that is there is never left out in silence.
    """
    try:
        with told_of(path):
            if is_link:
                with root.place(path) as target:
                    status = target.status()
            elif isinstance(place, int):
                status = os.stat(name, dir_fd=place, follow_symlinks=False)
            else:
                status = os.stat(os.path.join(place, name), follow_symlinks=False)
    except OSError as error:
        if error.errno in _NOWHERE or (is_link and isinstance(error, AccessDenied)):
            return None
        raise
    return entry_of(path, status) if status is not None and is_file(status) else None


def _has_files(root: Root, folder: str) -> bool:
    """Whether there is a file at any level below: a folder without files is no folder to the portable side."""
    return any(f"/{RESERVED}" not in entry.path for entry in _below(root, folder, "", "", one_level=False))
