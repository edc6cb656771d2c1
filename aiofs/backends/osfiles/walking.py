"""Walking a tree from the top down, folder by folder, in a time that grows with the tree and not with its depth too.

A folder is told of only if there is a file below it, so the walk looks ahead, down to the first file. What it read on
the way it remembers, and reads no folder twice.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.listing import described, kind_of_child
from aiofs.backends.osfiles.position import Position
from aiofs.paths import RESERVED, under

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from aiofs.backends.osfiles.root import Root
    from aiofs.driver import Level


@dataclass(slots=True)
class _Folder:
    """What is in a folder, and what is known of those in it."""

    names: list[str]
    """Those in it, from the top down."""
    files: list[str] = field(default_factory=list)
    folders: dict[str, _Folder | None] = field(default_factory=dict)
    """`None` where it was not read yet."""
    has_files: bool = False
    """Whether there is a file in it, or below."""


def tree(root: Root, top: str) -> Generator[Level]:
    """Yield `(folder, folders in it, files in it)`; of the folders, those are entered that the caller leaves in."""
    place = Position.at(root, top)
    if place is None:
        return
    with closing(place):
        folder = _read(place)
        if top and not _finds_files(place, folder):
            return
        levels: list[tuple[_Folder, Iterator[str]]] = []
        while True:
            folders = [name for name in folder.folders if _has_files(place, folder, name)]
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


def _read(place: Position) -> _Folder:
    """Read the folder where the walk is; what is aiofs's own is left out."""
    folder = _Folder([*place.names])
    above = under(place.path)
    for child in place.scan():
        name = child.name
        with suppress(UnicodeEncodeError):
            name.encode()
            kind = kind_of_child(child)
            if name.startswith(RESERVED):
                continue
            if kind == "folder":
                folder.folders[name] = None
            elif kind == "file" or (kind == "link" and described(place, above + name, kind) is not None):
                folder.files.append(name)
    folder.files.sort()
    folder.folders = dict.fromkeys(sorted(folder.folders))
    return folder


def _has_files(place: Position, folder: _Folder, name: str) -> bool:
    """Whether there is a file below a folder in the folder."""
    known = folder.folders[name]
    if known is None:
        place.go(folder.names)
        if not place.down(name):
            return False
        known = folder.folders[name] = _read(place)
        return _finds_files(place, known)
    return known.has_files


def _finds_files(place: Position, folder: _Folder) -> bool:
    """Look for a file in the folder where the walk is, and below it, and remember for all on the way what was found."""
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
            below = last.folders[name] = _read(place)
            way.append((below, iter([*below.folders])))
    return False
