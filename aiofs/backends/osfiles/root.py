"""The root: turns a name into an open folder and a leaf in it, and lets no name lead out, not even while links change.

Where the system has `dir_fd` (POSIX), every segment is opened relative to the folder before it and never through a
link; links are read and walked here, below the root. Elsewhere the real path is compared with the root's.
"""

from __future__ import annotations

import copy
import errno
import itertools
import os
import stat
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from aiofs.backends.osfiles import synced
from aiofs.backends.osfiles.attributes import belong
from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.synced import PASS
from aiofs.errors import AccessDenied, AiofsError, NotAFolder, NotFound, StoreMissing
from aiofs.paths import JOURNAL, RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HAS_DIR_FD = {"open", "stat", "mkdir", "unlink", "rename"} <= {function.__name__ for function in os.supports_dir_fd}
"""Asked by name: what watches for blocking calls puts functions of its own in their places."""
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_MOST_LINKS = 40
NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""It vanished, or a link leads to nothing."""


class RootIsAFile(AiofsError, NotADirectoryError):
    """The root is there, but it is no folder: no name can be right."""

    code: ClassVar[int] = errno.ENOTDIR


@dataclass(slots=True)
class Place:
    """Where a file is or would be: `leaf` in the open folder `fd` (without `dir_fd`: `leaf` is a whole path)."""

    path: str
    fd: int | None
    leaf: str
    made: list[str] = field(default_factory=list)
    """The folders that were made on the way, outermost first, as paths below the root."""
    folders: tuple[str, ...] = ()
    """The names of the folders on the way, links resolved."""

    def beside(self, name: str) -> str:
        """Return what to call a neighbour of the leaf."""
        return name if self.fd is not None else os.path.join(os.path.dirname(self.leaf), name)

    def status(self, name: str | None = None) -> os.stat_result | None:
        """Return the status of the leaf or a neighbour, links not followed, or `None` if it is not there."""
        try:
            return os.stat(self.leaf if name is None else name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def go_up(self, name: str) -> None:
        """Become the place of the folder that this one is in, which has this name.

        :raises NotFound: if that was moved meanwhile.
        """
        assert self.fd is not None  # noqa: S101 -- the caller looked
        above = os.open("..", PASS, dir_fd=self.fd)
        here, self.fd, self.leaf = self.fd, above, name
        try:
            status = self.status()
            if status is None or not os.path.samestat(status, os.fstat(here)):
                raise NotFound.of(self.path)
        finally:
            close_folder(here)

    def sync(self) -> None:
        """Bring the names in the folder to the disk, where the system can."""
        if self.fd is not None:
            synced.sync(self.fd)

    def bring_way(self) -> None:
        """Bring the names of the folders on the way to the disk, as far as the system can and they may be new."""
        if self.fd is not None:
            synced.bring_way(self.fd, self.folders)

    def bring(self, file: int) -> None:
        """Bring the name of the open file that is here to the disk, with those of the folders on the way."""
        if self.fd is not None:
            self.bring_way()
            synced.bring(self.fd, self.leaf, file)

    def close(self) -> None:
        """Close the folder. Harmless when done twice."""
        fd, self.fd = self.fd, None
        if fd is not None:
            close_folder(fd)


class Root:
    """A folder that bounds all names, and folders in it that bound them more narrowly.

    The way to such a folder may lead through links within what bounds it; from there on none leads out of it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.given: str = os.fsdecode(path) or os.curdir
        self._known = [os.path.normpath(self.given)] if os.path.isabs(self.given) else []  # shared with narrower ones
        self.bounds: tuple[int, ...] = ()
        """After how many segments of each name such a folder is reached, the widest first."""

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
        """Return this root for names whose first `depth` segments are a folder that bounds them."""
        root = copy.copy(self)
        root.bounds = (*self.bounds, depth)
        return root

    def parts_of(self, path: str) -> list[str]:
        """Return the name in parts: the folders that bound it, each below the one before, and the rest."""
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
            return _Walk(self, path, create=create, follow=follow).go()
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
                raise _led_out(path, folder)
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


class _Walk:
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
        return _led_out(self._path, "" if self._bound == -1 else "/".join(self._above))

    def _begin_again(self, names: list[str]) -> None:
        """Be at the folder that bounds the walk, and go through these folders before what is left to walk."""
        top = self._enter_root() if self._bound == -1 else os.dup(self._bound)
        here, self._here = self._here, top
        close_folder(here)
        self._todo.extendleft(reversed(names))
        self._names.clear()

    def _enter(self, segment: str) -> None:
        try:
            fd = os.open(segment, PASS | _NO_FOLLOW, dir_fd=self._here)
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
        fd = os.open(segment, os.O_RDONLY | _NO_FOLLOW, dir_fd=self._here)
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


def _led_out(path: str, folder: str) -> AccessDenied:
    return AccessDenied.of(path, f"a link leads out of the {f'folder {folder!r}' if folder else 'root'}")


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


def close_folder(fd: int) -> None:
    """Close a folder. Nothing was written through it, so an error says nothing; and it is closed all the same."""
    with suppress(OSError):
        os.close(fd)


def open_folder(name: str, folder: int) -> int:
    """Return the folder of this name in an open one, opened to be read; it must not be a link."""
    return os.open(name, os.O_RDONLY | synced.FOLDER | _NO_FOLLOW, dir_fd=folder)


def is_file(status: os.stat_result | None) -> bool:
    """Whether this is the status of a regular file."""
    return status is not None and stat.S_ISREG(status.st_mode)
