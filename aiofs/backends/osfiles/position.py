"""The position of a walk through a tree: one open folder, from which it goes down to a folder in it, or up again."""

from __future__ import annotations

import itertools
import os
from operator import eq
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.place import NOWHERE, close_folder, open_folder
from aiofs.backends.osfiles.synced import FOLDER
from aiofs.names import under

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from aiofs.backends.osfiles.root import Root

_KEPT = 32
"""How many folders on the way stay open at most; those further up are opened again through `..`."""


class Position:
    """An open folder below a root, and the names of the folders that led there.

    Folders are entered by name and never through a link. A step takes the same time at every depth. Without `dir_fd`
    the folder is not open, and its path stands for it.
    """

    def __init__(self, root: Root, path: str, top: int | str) -> None:
        self.root = root
        self.names: list[str] = []
        """The folders from the top down."""
        self._top = path
        self._open: list[int | str | None] = [top]
        self._marks: list[tuple[int, int] | None] = [None]  # which folders the closed ones were

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
        """The folder, open; `None` if it is gone."""
        return self._open[-1]

    def scan(self) -> Sequence[os.DirEntry[str]]:
        """Return what is in the folder.

        :raises OSError: if it cannot be read.
        """
        if self.here is None:
            return []
        with told_of(self.path or self.root.path), os.scandir(self.here) as children:
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
        """Enter a folder in this one; return False if it is gone, or is no folder."""
        deeper = self._enter(name)
        if deeper is not None:
            self._add(name, deeper)
        return deeper is not None

    def up(self) -> None:
        """Go back to the folder above, which is opened again if it was closed."""
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
        """Go to the folder that these names lead to from the top; `here` is `None` if it is gone."""
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
        for level in range(len(self._open)):
            self._close(level)

    def _add(self, name: str, folder: int | str | None) -> None:
        self.names.append(name)
        self._open.append(folder)
        self._marks.append(None)
        if len(self._open) > _KEPT:
            self._close(len(self._open) - _KEPT - 1)

    def _enter(self, name: str) -> int | str | None:
        here, path = self.here, under(self.path) + name
        if here is None:
            return None
        try:
            with told_of(path):
                return open_folder(name, here) if isinstance(here, int) else self.root.folder(path)
        except OSError as error:
            if error.errno in NOWHERE:
                return None
            raise

    def _above(self, below: int | str | None) -> int | str | None:
        """Return the folder above: through `..` if that is still the same folder, else by its path from the root."""
        if isinstance(below, int):
            try:
                above = os.open("..", os.O_RDONLY | FOLDER, dir_fd=below)
            except OSError:
                return self.root.folder(self.path)
            if _mark(above) == self._marks[-1]:
                return above
            close_folder(above)
        return self.root.folder(self.path)

    def _close(self, level: int) -> None:
        folder = self._open[level]
        if isinstance(folder, int):
            self._marks[level] = _mark(folder)
            self._open[level] = None
            close_folder(folder)


def _mark(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino
