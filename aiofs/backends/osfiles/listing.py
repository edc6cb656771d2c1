"""Walking a folder in the order of UTF-8 bytes, one page of entries at a time."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Literal

from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.names import kind_of
from aiofs.backends.osfiles.place import NOWHERE, entry_of, is_file
from aiofs.backends.osfiles.position import Position
from aiofs.driver import Entry
from aiofs.errors import AccessDenied
from aiofs.names import JOURNAL, RESERVED, is_in_journal, under

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator

    from aiofs.backends.osfiles.root import Root

Kind = Literal["folder", "link", "file", "other", "planted"]
"""What has a name; "planted" is anything that has one of aiofs's own names and cannot be what aiofs calls so."""


def list_files(root: Root, prefix: str, after: str, *, one_level: bool, ours: bool = False) -> Generator[Entry]:
    """Yield what begins with `prefix` and comes behind `after`.

    Code points and UTF-8 bytes sort alike; a folder sorts as its name with a `/`, which is where its files come. Names
    that are not UTF-8 have no path and are passed over; folders behind links are not entered, files behind links are
    listed if they lie below the root. With `ours`, anything that has one of aiofs's own names is yielded too, even if
    it is no file; it has no size then. Things in the folder of a journal are always yielded so.
    """
    folder, _, head = prefix.rpartition("/")
    place = Position.at(root, folder)
    if place is not None:
        with closing(place):
            yield from _below(place, head, after, one_level=one_level, ours=ours)


def _below(place: Position, head: str, after: str, *, one_level: bool, ours: bool = False) -> Generator[Entry]:
    """Walk without recursion: there may be thousands of levels."""
    levels = [(under(place.path), _names(place, head, ours=ours))]
    while levels:
        above, names = levels[-1]
        name, kind = next(names, ("", "other"))
        path = above + name
        if not name:
            levels.pop()
            if levels:
                place.up()
        elif kind != "folder":
            if path > after and (entry := described(place, path, kind)) is not None:
                yield entry
        elif path <= after and not after.startswith(path):
            continue  # all that is below comes before `after`
        elif one_level:
            if path > after and _has_files(place, name[:-1]):
                yield Entry(path)
        elif _enter(place, name[:-1], ours=ours):
            levels.append((path, _names(place, "", ours=ours)))


def _enter(place: Position, folder: str, *, ours: bool) -> bool:
    """Enter a folder on the way; return False if it is gone, or if it is one of aiofs's own that we may not read.

    :raises AccessDenied: if we may not read another folder, as its files would be left out in silence.
    """
    try:
        return place.down(folder)
    except AccessDenied:
        if ours or not folder.startswith(RESERVED):
            raise
        return False


def _names(place: Position, head: str, *, ours: bool) -> Iterator[tuple[str, Kind]]:
    """Return the sorted names in the folder that begin with `head`, those of folders with a `/`."""
    names: list[tuple[str, Kind]] = []
    in_journal = is_in_journal(under(place.path))  # anything that has the name of a log stops transactions
    for child in place.scan():
        if child.name.startswith(head):
            with suppress(UnicodeEncodeError):
                child.name.encode()
                kind = kind_of_child(child)
                if (ours and _is_planted(child.name, kind)) or (
                    in_journal and kind != "file" and kind_of(child.name) is None
                ):
                    kind = "planted"
                names.append((f"{child.name}/" if kind == "folder" else child.name, kind))
    names.sort()
    return iter(names)


def _is_planted(name: str, kind: Kind) -> bool:
    """Whether something has one of aiofs's own names and cannot be what aiofs calls so."""
    if name == JOURNAL:
        return kind in {"file", "other"}
    return kind != "file" and kind_of(name) is not None


def kind_of_child(child: os.DirEntry[str]) -> Kind:
    """Return what kind of thing a scan found."""
    if child.is_dir(follow_symlinks=False):
        return "folder"
    if child.is_symlink():
        return "link"
    return "file" if child.is_file(follow_symlinks=False) else "other"


def described(place: Position, path: str, kind: Kind) -> Entry | None:
    """Describe a file; `None` if it vanished or is not a regular file below the root.

    :raises OSError: if that cannot be told: a file that is there is never left out in silence.
    """
    if kind in {"other", "planted"}:
        return Entry(path) if kind == "planted" else None
    try:
        with told_of(path):
            if kind == "link":
                with place.root.place(path) as target:
                    status = target.status()
            else:
                status = place.status(path.rpartition("/")[2])
    except OSError as error:
        if error.errno in NOWHERE or (kind == "link" and isinstance(error, AccessDenied)):
            return None
        raise
    return entry_of(path, status) if status is not None and is_file(status) else None


def _has_files(place: Position, folder: str) -> bool:
    """Whether there is a file at any level below: a folder without files is no folder to the portable side."""
    depth = len(place.names)
    if not _enter(place, folder, ours=False):
        return False
    try:
        with closing(_below(place, "", "", one_level=False)) as entries:
            return any(f"/{RESERVED}" not in entry.path for entry in entries)
    finally:
        place.rise(depth)
