"""The way from a root to a name in it: each segment is opened below the one before, never through a link.

Links are read, and walked here, below the folder that bounds them.
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
from aiofs.paths import RESERVED

if TYPE_CHECKING:
    from aiofs.backends.osfiles.root import Root

_MOST_LINKS = 40


class Walk:
    """One walk from the root to a leaf, with the folder that it is in open.

    For a `..` in a link it begins again at the folder that bounds it: what is above the folder where it is now may not
    be what it came through.
    """

    def __init__(self, root: Root, path: str, *, create: bool, follow: bool) -> None:
        self._root = root
        self._path = path
        self._create = create
        self._follow = follow
        self._todo = _steps(root, path)
        self._here = -1
        self._bound = -1  # the folder that no link leads out of, where that is not the root
        self._called = [root.path]  # how absolute links may call it
        self._above: list[str] = []  # the names of the folders down to it
        self._names: list[str] = []  # and from there to where the walk is
        self._made: list[str] = []
        self._links = 0

    def go(self) -> Place:
        """Walk."""
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
        """Have no link lead out of the folder where the walk is, which is that of the first `depth` segments."""
        bound, self._bound = self._bound, os.dup(self._here)
        if bound != -1:
            close_folder(bound)
        self._above += self._names
        self._names.clear()
        given = self._path.split("/")[:depth]
        self._called = [os.path.join(self._root.path, *names) for names in (given, self._above)]

    def _leave(self) -> None:
        if not self._names:
            raise self._led_out()
        self._begin_again(self._names[:-1])

    def _led_out(self) -> AccessDenied:
        return led_out(self._path, "" if self._bound == -1 else "/".join(self._above))

    def _begin_again(self, names: list[str]) -> None:
        """Be at the folder that bounds the walk, and go through these folders before what is left to walk."""
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
        """Put what the link `segment` says before what is left to walk; return whether it is a link."""
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
        """Return what an absolute path is below the folder that bounds the walk."""
        for called in self._called:
            below = os.path.relpath(target, called)
            if below.split(os.sep)[0] != os.pardir:
                return below
        raise self._led_out()


def _steps(root: Root, path: str) -> deque[str | int]:
    """Return the segments of a name, and behind a folder that bounds it how many there were."""
    first, *more = root.parts_of(path)
    steps: deque[str | int] = deque(first.split("/"))
    for depth, part in zip(root.bounds, more, strict=False):
        steps.append(depth)
        steps.extend(part.split("/"))
    return steps


def led_out(path: str, folder: str) -> AccessDenied:
    """Return the error that a link leads out of a folder, or of the root."""
    return AccessDenied.of(path, f"a link leads out of the {f'folder {folder!r}' if folder else 'root'}")
