"""Listing: all files in the order of UTF-8 bytes, and folder by folder from the top down.

Both move one `Position` through the tree, so that the time grows with the size of the tree and not with its depth.
"""

from __future__ import annotations

import itertools
import os
from contextlib import closing, suppress
from dataclasses import dataclass, field
from operator import eq
from typing import TYPE_CHECKING, Literal

from aiofs.backends.osfiles.names import kind_of
from aiofs.backends.osfiles.places import FOLDER, NOWHERE, close_folder, entry_of, errors_about, is_file, open_folder
from aiofs.driver import Entry
from aiofs.errors import AccessDenied
from aiofs.names import JOURNAL, RESERVED, is_in_journal, under

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import Self

    from aiofs.backends.osfiles.names import Root
    from aiofs.powers import Level

_KEPT = 32
"""How many folders on the way stay open; those further up are closed, and opened again through `..`."""


class Position:
    """An open folder below a root, from which a walk goes down to a folder in it, or up again.

    Folders are entered by name and never through a link. A step takes the same time at every depth. Without `dir_fd`
    the folder is not open, and its whole path stands for it.
    """

    def __init__(self, root: Root, path: str, top: int | str) -> None:
        self.root = root
        self.names: list[str] = []
        """The names of the folders from the top down to here."""
        self._top = path
        self._open: list[int | str | None] = [top]
        self._marks: list[tuple[int, int] | None] = [None]  # device and number of those that were closed

    @classmethod
    def at(cls, root: Root, path: str) -> Self | None:
        """Return the position in the folder `path`; `None` if there is no such folder."""
        top = root.folder(path)
        return None if top is None else cls(root, path, top)

    @property
    def path(self) -> str:
        """The path of the folder, relative to the root."""
        return "/".join([self._top, *self.names] if self._top else self.names)

    @property
    def here(self) -> int | str | None:
        """The open folder; `None` if it is gone."""
        return self._open[-1]

    def scan(self) -> Sequence[os.DirEntry[str]]:
        """Return what is in the folder.

        :raises OSError: if it cannot be read.
        """
        if self.here is None:
            return []
        with errors_about(self.path or self.root.path), os.scandir(self.here) as children:
            return list(children)

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of a name in the folder, links not followed; `None` if the folder is gone."""
        here = self.here
        if here is None:
            return None
        if isinstance(here, str):
            return os.stat(os.path.join(here, name), follow_symlinks=False)
        return os.stat(name, dir_fd=here, follow_symlinks=False)

    def down(self, name: str) -> bool:
        """Enter a folder in this one; return False if it is gone or not a folder."""
        deeper = self._enter(name)
        if deeper is not None:
            self._add(name, deeper)
        return deeper is not None

    def up(self) -> None:
        """Go back to the folder above, and open it again if it was closed."""
        below = self._open.pop()
        self._marks.pop()
        self.names.pop()
        try:
            if self._marks[-1] is not None:
                self._open[-1] = self._above(below)
                self._marks[-1] = None
        finally:
            if isinstance(below, int):
                close_folder(below)

    def go(self, names: Sequence[str]) -> None:
        """Go to the folder with these names from the top down; `here` is `None` if it is gone."""
        same = sum(1 for _ in itertools.takewhile(bool, map(eq, names, self.names)))
        self.rise(same)
        for name in names[same:]:
            if not self.down(name):
                self._add(name, None)

    def rise(self, depth: int) -> None:
        """Go up until the folder is `depth` levels below the top."""
        while len(self.names) > depth:
            self.up()

    def close(self) -> None:
        """Close all folders. Harmless when done twice."""
        for level, folder in enumerate(self._open):
            self._open[level] = None
            if isinstance(folder, int):
                close_folder(folder)

    def _add(self, name: str, folder: int | str | None) -> None:
        self.names.append(name)
        self._open.append(folder)
        self._marks.append(None)
        if len(self._open) > _KEPT:
            self._close_for_now(len(self._open) - _KEPT - 1)

    def _enter(self, name: str) -> int | str | None:
        here, path = self.here, under(self.path) + name
        if here is None:
            return None
        try:
            with errors_about(path):
                return open_folder(name, here) if isinstance(here, int) else self.root.folder(path)
        except OSError as error:
            if error.errno in NOWHERE:
                return None
            raise

    def _above(self, below: int | str | None) -> int | str | None:
        """Open the folder above: through `..` if that is still the same folder, else by its path from the root."""
        if isinstance(below, int):
            try:
                above = os.open("..", os.O_RDONLY | FOLDER, dir_fd=below)
            except OSError:
                return self.root.folder(self.path)
            same = False
            try:
                same = _mark(above) == self._marks[-1]
            finally:
                if not same:
                    close_folder(above)
            if same:
                return above
        return self.root.folder(self.path)

    def _close_for_now(self, level: int) -> None:
        """Close a folder that is open, and remember which one it is: `up` opens it again."""
        folder = self._open[level]
        if isinstance(folder, int):
            self._open[level] = None
            try:
                self._marks[level] = _mark(folder)
            finally:
                close_folder(folder)


def _mark(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


Kind = Literal["folder", "link", "file", "other", "planted"]
"""What has a name. "planted": it has one of aiofs's own names, and cannot be what aiofs gives that name."""


def list_files(root: Root, prefix: str, after: str, *, one_level: bool, ours: bool = False) -> Generator[Entry]:
    """Yield the files that begin with `prefix` and come after `after`; folders too with `one_level`.

    Code points and UTF-8 bytes sort alike; a folder sorts as its name with a `/`, which is where its files come. Names
    that are not UTF-8 have no path and are passed over; folders behind links are not entered, files behind links are
    listed if they lie below the root. With `ours`, anything that has one of aiofs's own names is yielded too, even if
    it is not a file; it has no size then. Things in the folder of a journal are always yielded so.
    """
    folder, _, head = prefix.rpartition("/")
    position = Position.at(root, folder)
    if position is not None:
        with closing(position):
            yield from _below(position, head, after, one_level=one_level, ours=ours)


def _below(position: Position, head: str, after: str, *, one_level: bool, ours: bool = False) -> Generator[Entry]:
    """List without recursion, as there may be thousands of levels."""
    levels = [(under(position.path), _names(position, head, ours=ours))]
    while levels:
        above, names = levels[-1]
        name, kind = next(names, ("", "other"))
        path = above + name
        if not name:
            levels.pop()
            if levels:
                position.up()
        elif kind != "folder":
            if path > after and (entry := described(position, path, kind)) is not None:
                yield entry
        elif path <= after and not after.startswith(path):
            continue  # all files below come before `after`
        elif one_level:
            if path > after and _has_files(position, name[:-1]):
                yield Entry(path)
        elif _enter(position, name[:-1], ours=ours):
            levels.append((path, _names(position, "", ours=ours)))


def _enter(position: Position, folder: str, *, ours: bool) -> bool:
    """Enter a folder; return False if it is gone, or if it is one of aiofs's own and we may not read it.

    :raises AccessDenied: if we may not read another folder, as its files would be left out in silence.
    """
    try:
        return position.down(folder)
    except AccessDenied:
        if ours or not folder.startswith(RESERVED):
            raise
        return False


def _names(position: Position, head: str, *, ours: bool) -> Iterator[tuple[str, Kind]]:
    """Return the names in the folder that begin with `head`, sorted; those of folders end with `/`."""
    names: list[tuple[str, Kind]] = []
    in_journal = is_in_journal(under(position.path))  # there, whatever has the name of a log stops transactions
    for child in position.scan():
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
    """Whether something has one of aiofs's own names, and cannot be what aiofs gives that name."""
    if name == JOURNAL:
        return kind in {"file", "other"}
    return kind != "file" and kind_of(name) is not None


def kind_of_child(child: os.DirEntry[str]) -> Kind:
    """Return the kind of what a scan found."""
    if child.is_dir(follow_symlinks=False):
        return "folder"
    if child.is_symlink():
        return "link"
    return "file" if child.is_file(follow_symlinks=False) else "other"


def described(position: Position, path: str, kind: Kind) -> Entry | None:
    """Describe a file; `None` if it vanished or is not a regular file below the root.

    :raises OSError: if we cannot find out: a file that exists is never left out silently.
    """
    if kind in {"other", "planted"}:
        return Entry(path) if kind == "planted" else None
    try:
        with errors_about(path):
            if kind == "link":
                with position.root.place(path) as target:
                    status = target.status()
            else:
                status = position.status(path.rpartition("/")[2])
    except OSError as error:
        if error.errno in NOWHERE or (kind == "link" and isinstance(error, AccessDenied)):
            return None
        raise
    return entry_of(path, status) if status is not None and is_file(status) else None


def _has_files(position: Position, folder: str) -> bool:
    """Whether there is a file at any level below. Without one, a folder does not exist for users of a file system."""
    depth = len(position.names)
    if not _enter(position, folder, ours=False):
        return False
    try:
        with closing(_below(position, "", "", one_level=False)) as entries:
            return any(f"/{RESERVED}" not in entry.path for entry in entries)
    finally:
        position.rise(depth)


@dataclass(slots=True)
class _Folder:
    """The names in a folder, and what was read of the folders among them."""

    names: list[str]
    """The names of the folders from the top down to this one."""
    files: list[str] = field(default_factory=list)
    folders: dict[str, _Folder | None] = field(default_factory=dict)
    """The folders in it, by name; `None` for one that was not read yet."""
    has_files: bool = False
    """Whether there is a file in it, or at any level below."""


def levels_below(root: Root, top: str) -> Generator[Level]:
    """Yield `(folder, folders in it, files in it)` from the top down.

    Folders that the caller removes from the list are not entered. A folder without any file below it is left out, so
    the walk looks ahead to the first file. It remembers what it read there, and reads no folder twice.
    """
    position = Position.at(root, top)
    if position is None:
        return
    with closing(position):
        folder = _read_folder(position)
        if top and not _finds_files(position, folder):
            return
        levels: list[tuple[_Folder, Iterator[str]]] = []
        while True:
            folders = [name for name in folder.folders if _has_files_below(position, folder, name)]
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


def _read_folder(position: Position) -> _Folder:
    """Read the folder where the walk is, without aiofs's own names."""
    folder = _Folder([*position.names])
    above = under(position.path)
    for child in position.scan():
        name = child.name
        with suppress(UnicodeEncodeError):
            name.encode()
            if name.startswith(RESERVED):
                continue
            kind = kind_of_child(child)
            if kind == "folder":
                folder.folders[name] = None
            elif kind == "file" or (kind == "link" and described(position, above + name, kind) is not None):
                folder.files.append(name)
    folder.files.sort()
    folder.folders = dict.fromkeys(sorted(folder.folders))
    return folder


def _has_files_below(position: Position, folder: _Folder, name: str) -> bool:
    """Whether there is a file at any level below `name`, which is a folder in `folder`."""
    known = folder.folders[name]
    if known is None:
        position.go(folder.names)
        if not position.down(name):
            return False
        known = folder.folders[name] = _read_folder(position)
        return _finds_files(position, known)
    return known.has_files


def _finds_files(position: Position, folder: _Folder) -> bool:
    """Whether there is a file in the folder where the walk is, or below; each folder on the way remembers that."""
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
                position.up()
        elif position.down(name):
            below = last.folders[name] = _read_folder(position)
            way.append((below, iter([*below.folders])))
    return False
