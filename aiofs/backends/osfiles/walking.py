"""Walks a tree folder by folder, from the top down. The time grows with the size of the tree, not with its depth.

A folder without any file below it is left out, so the walk looks ahead to the first file. It remembers what it read on
the way, and reads no folder twice.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.listing import described, kind_of_child
from aiofs.backends.osfiles.position import Position
from aiofs.names import RESERVED, under

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from aiofs.backends.osfiles.root import Root
    from aiofs.driver import Level


@dataclass(slots=True)
class _Folder:
    """The names in a folder, and what is known of the folders among them."""

    names: list[str]
    """The folders on the way to this one, from the top down."""
    files: list[str] = field(default_factory=list)
    folders: dict[str, _Folder | None] = field(default_factory=dict)
    """What is in each folder; `None` where it was not read yet."""
    has_files: bool = False
    """Whether there is a file in it, or at any level below."""


def levels_below(root: Root, top: str) -> Generator[Level]:
    """Yield `(folder, folders in it, files in it)`; folders that the caller removes from the list are not entered."""
    place = Position.at(root, top)
    if place is None:
        return
    with closing(place):
        folder = _read_folder(place)
        if top and not _finds_files(place, folder):
            return
        levels: list[tuple[_Folder, Iterator[str]]] = []
        while True:
            folders = [name for name in folder.folders if _has_files_below(place, folder, name)]
            yield under(top) + "/".join(folder.names) if folder.names else top, folders, folder.files
            levels.append((folder, iter(folders)))
            below = None
            while levels and below is None:
                above, names = levels[-1]
                name = next(names, None)
                if name is None:
                    levels.pop()
                else:
                    below = above.folders.pop(name, None)
            if below is None:
                return
            folder = below


def _read_folder(place: Position) -> _Folder:
    """Read the folder where the walk is, without the names that aiofs keeps for itself."""
    folder = _Folder([*place.names])
    above = under(place.path)
    for child in place.scan():
        name = child.name
        with suppress(UnicodeEncodeError):
            name.encode()
            if name.startswith(RESERVED):
                continue
            kind = kind_of_child(child)
            if kind == "folder":
                folder.folders[name] = None
            elif kind == "file" or (kind == "link" and described(place, above + name, kind) is not None):
                folder.files.append(name)
    folder.files.sort()
    folder.folders = dict.fromkeys(sorted(folder.folders))
    return folder


def _has_files_below(place: Position, folder: _Folder, name: str) -> bool:
    """Whether there is a file at any level below `name`, which is a folder in `folder`."""
    known = folder.folders[name]
    if known is None:
        place.go(folder.names)
        if not place.down(name):
            return False
        known = folder.folders[name] = _read_folder(place)
        return _finds_files(place, known)
    return known.has_files


def _finds_files(place: Position, folder: _Folder) -> bool:
    """Whether there is a file in the folder where the walk is, or below; each folder on the way remembers it."""
    way = [(folder, iter([*folder.folders]))]
    while way:
        last, names = way[-1]
        if last.files:
            for found, _ in way:
                found.has_files = True
            return True
        name = next(names, None)
        if name is None:
            way.pop()
            if way:
                place.up()
        elif place.down(name):
            below = last.folders[name] = _read_folder(place)
            way.append((below, iter([*below.folders])))
    return False
