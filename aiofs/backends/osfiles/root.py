"""The root: turns a name into an open folder and a leaf in it, and lets no name lead out, not even while links change.

Where the system has `dir_fd` (POSIX), every segment is opened relative to the folder before it and never through a
link (`resolving`). Elsewhere the real path is compared with the root's.
"""

from __future__ import annotations

import copy
import errno
import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiofs.backends.osfiles import synced
from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.place import Place, close_folder, open_folder
from aiofs.backends.osfiles.resolving import Resolver, leads_out
from aiofs.errors import AccessDenied, NotAFolder, NotFound, RootIsAFile, StoreMissing
from aiofs.names import JOURNAL, RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HAS_DIR_FD = {"open", "stat", "mkdir", "unlink", "rename"} <= {function.__name__ for function in os.supports_dir_fd}
"""Asked by name: what watches for blocking calls puts functions of its own in their places."""


class Root:
    """A folder that bounds all names, and folders in it that bound them more narrowly.

    Links on the way to a narrower folder may lead anywhere within the wider one. From there on, no link leads out of
    the narrower one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.given: str = os.fsdecode(path) or os.curdir
        self._known = [os.path.normpath(self.given)] if os.path.isabs(self.given) else []  # shared with narrower ones
        self.bounds: tuple[int, ...] = ()
        """How many segments of a name lead to each narrower folder, the widest first."""

    @property
    def known(self) -> str | None:
        """The whole path, once it is known: asking for the working folder is a call into the system."""
        return self._known[0] if self._known else None

    @property
    def path(self) -> str:
        """The whole path, fixed at the first use."""
        if not self._known:
            self._known.append(os.path.abspath(self.given))
        return self._known[0]

    def narrowed(self, depth: int) -> Root:
        """Return this root with one more bound: the folder that the first `depth` segments of each name lead to."""
        root = copy.copy(self)
        root.bounds = (*self.bounds, depth)
        return root

    def parts_of(self, path: str) -> list[str]:
        """Return the name in parts: one that leads to each bounding folder, each below the one before, and the rest."""
        if not self.bounds:
            return [path]
        segments = path.split("/")
        cuts = [0, *(depth for depth in self.bounds if depth < len(segments)), len(segments)]
        return ["/".join(segments[start:stop]) for start, stop in itertools.pairwise(cuts)]

    @contextmanager
    def place(self, path: str, *, create: bool = False, follow: bool = True) -> Iterator[Place]:
        """Give the place of `path` while the block lasts. See `find`."""
        place = self.find(path, create=create, follow=follow)
        try:
            yield place
        finally:
            place.close()

    def find(self, path: str, *, create: bool = False, follow: bool = True) -> Place:
        """Return the place of `path`, to be closed by the caller; its folders are made if `create`.

        A link in the last segment is followed if `follow`, those before it always.

        :raises ValueError: if a segment is `..`: only in a link may one lead upwards.
        :raises NotFound: if a folder on the way is missing.
        :raises NotAFolder: if a file is on the way.
        :raises AccessDenied: if a link leads out of the root.
        :raises RootIsAFile: if the root itself is no folder.
        :raises StoreMissing: if the root is missing and cannot be made.
        """
        if ".." in path.split("/"):
            raise ValueError(f"path {path!r} has a segment '..'")
        if create:
            self._make(path)
        if HAS_DIR_FD:
            return Resolver(self, path, create=create, follow=follow).resolve()
        return self._find_by_path(path, create=create)

    def folder(self, path: str) -> int | str | None:
        """Return the folder `path` opened to be read, to be closed by the caller; without `dir_fd`, its name.

        `None` if there is none.
        """
        try:
            with told_of(path or self.path), self.place(f"{path}/." if path else ".") as place:
                return os.path.dirname(place.leaf) if place.fd is None else synced.readable(place.fd)
        except (NotFound, NotAFolder):
            return None

    def prune(self, folders: Sequence[str]) -> None:
        """Remove the folders, the last first, as long as they are empty (or gone already).

        A folder of our own stays as long as that which it is in: the next who needs it finds it on the disk.
        """
        left = list(folders)
        while left:
            try:
                with self.place(left[-1], follow=False) as place:
                    removed = _remove_upwards(place, len(left))
            except FileNotFoundError:
                removed = 1
            except OSError:
                return
            if not removed:
                return
            del left[-removed:]

    def _make(self, path: str) -> None:
        try:
            with self.being_a_folder(path):
                os.makedirs(self.path, exist_ok=True)
        except (FileNotFoundError, PermissionError) as error:
            kind = AccessDenied if isinstance(error, PermissionError) else StoreMissing
            raise kind.of(path, f"the root {self.path!r} is missing and cannot be made") from error

    @contextmanager
    def being_a_folder(self, path: str) -> Iterator[None]:
        """Say so where the root itself is no folder, which is no fault of the name."""
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise RootIsAFile.of(path, f"the root {self.path!r} is no folder") from error

    def _find_by_path(self, path: str, *, create: bool) -> Place:
        whole, folder = self.path, ""
        for part in self.parts_of(path):
            bound = os.path.realpath(whole)
            whole = os.path.join(whole, *part.split("/"))
            if os.path.commonpath([bound, os.path.realpath(whole)]) != bound:
                raise leads_out(path, folder)
            folder = part
        parent = os.path.dirname(whole)
        made: list[str] = []
        if create:
            missing = path.rpartition("/")[0]
            while missing and not os.path.isdir(os.path.join(self.path, missing)):
                made.insert(0, missing)
                missing = missing.rpartition("/")[0]
            os.makedirs(parent, exist_ok=True)
        elif not os.path.isdir(parent):
            raise NotFound.of(path)
        return Place(path, None, whole, made)


def _remove_upwards(place: Place, most: int) -> int:
    """Remove the folder at a place, and those above it, as long as they are empty; return how many.

    The place goes up with it, so that each takes one step and not the whole way.
    """
    above = list(place.folders)
    for removed in range(most):
        if not place.leaf.startswith(RESERVED):
            try:
                _remove_folder(place)
            except OSError:
                return removed
        if place.fd is None or not above:
            return removed + 1
        place.go_up(above.pop())
    return most


def _remove_folder(place: Place) -> None:
    """Remove a folder that is empty but for one of our own, which is empty as well, or that is gone."""
    try:
        os.rmdir(place.leaf, dir_fd=place.fd)
    except FileNotFoundError:
        return
    except OSError as error:
        journal = os.path.join(place.leaf, JOURNAL)
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or place.status(journal) is None or _has_others(place):
            raise
        os.rmdir(journal, dir_fd=place.fd)
        os.rmdir(place.leaf, dir_fd=place.fd)
    if place.fd is not None:
        synced.forget(place.fd, place.leaf)


def _has_others(place: Place) -> bool:
    """Whether anything but the folder of a journal is in the folder at a place."""
    folder = place.leaf if place.fd is None else open_folder(place.leaf, place.fd)
    try:
        with os.scandir(folder) as children:
            return any(child.name != JOURNAL for child in children)
    finally:
        if isinstance(folder, int):
            close_folder(folder)
