"""Resolves a name below a root: opens each segment below the one before, and never lets the system follow a link.

Links are read and followed here, within the folder that bounds them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.attributes import belong
from aiofs.backends.osfiles.place import NO_FOLLOW, Place, close_folder
from aiofs.backends.osfiles.synced import PASS
from aiofs.errors import AccessDenied, NotAFolder, NotFound
from aiofs.names import RESERVED

if TYPE_CHECKING:
    from aiofs.backends.osfiles.root import Root

_MOST_LINKS = 40


class Resolver:
    """Goes from the root to the leaf of one name, and keeps the folder open where it is.

    At a `..` in a link it begins again at the folder that bounds it, because somebody may have moved the folder where
    it is, and `..` would lead elsewhere.
    """

    def __init__(self, root: Root, path: str, *, create: bool, follow: bool) -> None:
        self._root = root
        self._path = path
        self._create = create
        self._follow = follow
        self._todo = _steps(root, path)
        self._here = -1
        self._bound = -1  # the folder that bounds links, open; -1 where that is the root
        self._bound_paths = [root.path]  # the whole paths by which absolute links may name that folder
        self._above: list[str] = []  # the folders from the root to the bounding folder
        self._names: list[str] = []  # the folders from there to where this is now
        self._made: list[str] = []
        self._links = 0

    def resolve(self) -> Place:
        """Return the place of the name.

        :raises NotFound: if a folder on the way is missing, unless missing ones are to be made.
        :raises NotAFolder: if something on the way is a file.
        :raises AccessDenied: if a link leads out of the folder that bounds it.
        """
        self._here = self._enter_root()
        try:
            leaf = self._to_leaf()
        except BaseException:
            close_folder(self._here)
            raise
        finally:
            if self._bound != -1:
                close_folder(self._bound)
        return Place(self._path, self._here, leaf, self._made, (*self._above, *self._names))

    def _enter_root(self) -> int:
        try:
            with self._root.being_a_folder(self._path):
                return os.open(self._root.path, PASS)
        except FileNotFoundError as error:
            raise NotFound.of(self._path) from error

    def _to_leaf(self) -> str:
        while self._todo:
            segment = self._todo.popleft()
            if isinstance(segment, int):
                self._stay_below(segment)
            elif segment in {"", "."}:
                continue
            elif segment == "..":
                self._leave()
            elif self._todo:
                self._enter(segment)
            elif not self._follow or not self._through_link(segment):
                return segment
        return "."

    def _stay_below(self, depth: int) -> None:
        """Bound links by the folder where this is now, to which the first `depth` segments led."""
        bound, self._bound = self._bound, os.dup(self._here)
        if bound != -1:
            close_folder(bound)
        self._above += self._names
        self._names.clear()
        given = self._path.split("/")[:depth]
        self._bound_paths = [os.path.join(self._root.path, *names) for names in (given, self._above)]

    def _leave(self) -> None:
        if not self._names:
            raise self._leads_out()
        self._begin_again(self._names[:-1])

    def _leads_out(self) -> AccessDenied:
        return leads_out(self._path, "" if self._bound == -1 else "/".join(self._above))

    def _begin_again(self, names: list[str]) -> None:
        """Go back to the bounding folder, and enter these folders before the segments that are left."""
        top = self._enter_root() if self._bound == -1 else os.dup(self._bound)
        here, self._here = self._here, top
        close_folder(here)
        self._todo.extendleft(reversed(names))
        self._names.clear()

    def _enter(self, segment: str) -> None:
        try:
            fd = os.open(segment, PASS | NO_FOLLOW, dir_fd=self._here)
        except FileNotFoundError:
            if not self._create:
                raise NotFound.of(self._path) from None
            self._make(segment)
            self._todo.appendleft(segment)
            return
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                raise
            if not self._through_link(segment):
                raise NotAFolder.of(self._path, f"{segment!r} on the way is a file") from error
            return
        here, self._here = self._here, fd
        close_folder(here)
        self._names.append(segment)

    def _make(self, segment: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(segment, dir_fd=self._here)
            self._made.append("/".join([*self._above, *self._names, segment]))
            if segment.startswith(RESERVED):
                self._share(segment)

    def _share(self, segment: str) -> None:
        """Let those who may write the folder write the new folder of our own in it, too, whatever our umask is."""
        above = os.fstat(self._here)
        fd = os.open(segment, os.O_RDONLY | NO_FOLLOW, dir_fd=self._here)
        try:
            if not os.listdir(fd):  # or somebody put another one in its place
                belong(fd, above, stat.S_IMODE(above.st_mode))
        finally:
            os.close(fd)

    def _through_link(self, segment: str) -> bool:
        """Put the target of the link `segment` before the segments that are left; return whether it is a link."""
        try:
            target = os.readlink(segment, dir_fd=self._here)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT}:
                return False
            raise
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        if os.path.isabs(target):
            target = self._below(target)
            self._begin_again([])
        self._todo.extendleft(reversed(target.split("/")))
        return True

    def _below(self, target: str) -> str:
        """Return an absolute path relative to the bounding folder.

        :raises AccessDenied: if it leads elsewhere.
        """
        for path in self._bound_paths:
            below = os.path.relpath(target, path)
            if below.split(os.sep)[0] != os.pardir:
                return below
        raise self._leads_out()


def _steps(root: Root, path: str) -> deque[str | int]:
    """Return the segments of a name; behind each bounding folder comes the number of segments that lead to it."""
    first, *more = root.parts_of(path)
    steps: deque[str | int] = deque(first.split("/"))
    for depth, part in zip(root.bounds, more, strict=False):
        steps.append(depth)
        steps.extend(part.split("/"))
    return steps


def leads_out(path: str, folder: str) -> AccessDenied:
    """Return the error that says that a link leads out of a folder, or of the root."""
    bound = f"folder {folder!r}" if folder else "root"
    advice = "remove the link, or use a file system in which it stays"
    return AccessDenied.of(path, f"a link leads out of the {bound}: {advice}")
