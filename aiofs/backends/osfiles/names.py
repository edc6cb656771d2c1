"""Names: how a path becomes a place on the disk, and what aiofs's own files beside a file are called.

No name leads out of the root, not even while somebody changes links. Where the system has `dir_fd` (POSIX), every
segment is opened in the folder before it and never through a link: `Resolver` reads links and follows them itself.
Elsewhere the real path is compared with the root's.

These names are reserved, beside the file to which they belong:

| name | what it is |
|---|---|
| `.aiofs-stage-D` | the lock of the file; where its folder is written by one user alone, the new bytes as well |
| `.aiofs-part-D` | the new bytes, where users share the folder: a file of the writer's own |
| `.aiofs-ready-D` | a prepared write; its own lock says whether its process lives |
| `.aiofs-ready-shared-D` | the same where users share the folder; the lock of the file says whether its process lives |
| `.aiofs-leased-D` | new bytes whose lock another file system keeps; when they are published, `-N` is added |
| `.aiofs-partial-I-S-D` | a partial write: its id, and how many bytes of it are safe, in hexadecimal digits |
| `.aiofs-before-D` | what the file was before a transaction |
| `.aiofs-number-D` | in the folder `.aiofs-locks`: the number of the last holder of a lock with a name |

D is a digest of the file's name. Format 1 is that of 2.0.0a1, which had neither `part` nor `ready-shared`, and wrote
no number into its tokens. A later format puts its number before the digest (`.aiofs-stage3-D`). It keeps older
programs out by a link at the old name that leads to `aiofs-format-3`.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import itertools
import os
import re
import stat
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiofs.backends.osfiles.attributes import belong
from aiofs.backends.osfiles.places import NO_FOLLOW, PASS, Place, close_folder, errors_about, readable, remove_folder
from aiofs.errors import AccessDenied, NotAFolder, NotFound, RootIsAFile, StoreMissing
from aiofs.kit import unknown_format
from aiofs.names import RESERVED
from aiofs.partials import KIND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FORMAT = 2
KNOWN = (1, 2)
STAGE = f"{RESERVED}-stage-"
PART = f"{RESERVED}-part-"
READY = f"{RESERVED}-ready-"
READY_SHARED = f"{RESERVED}-ready-shared-"
LEASED = f"{RESERVED}-leased-"
BEFORE = f"{RESERVED}-before-"
NUMBER = f"{RESERVED}-number-"
PARTIAL = f"{RESERVED}-partial-"
HAS_DIR_FD = {"open", "stat", "mkdir", "unlink", "rename"} <= {function.__name__ for function in os.supports_dir_fd}
"""Compared by name, as tools that watch for blocking calls replace these functions by their own."""
KINDS = {
    STAGE: "staging file",
    PART: "staging file",
    LEASED: "staging file",
    READY: "prepared write",
    BEFORE: "before-image",
    NUMBER: "number of a lock",
    PARTIAL: KIND,
}
_MOST_LINKS = 40
_LINK = re.compile(r"aiofs-format-(\d+)")
_NUMBERED = re.compile(rf"{re.escape(RESERVED)}-(stage|part|ready|leased|before|number)(\d+)-")


def digest_of(leaf: str) -> str:
    """Return the digest with which the names beside the file `leaf` end."""
    return hashlib.blake2b(os.fsencode(os.path.basename(leaf)), digest_size=16).hexdigest()


def digest_of_lock(path: str) -> str:
    """Return the name of the lock with a name for which `path` stands, in the folder of such locks."""
    return hashlib.blake2b(path.encode(), digest_size=16).hexdigest()


def kind_of(path: str) -> str | None:
    """Return what the file with this name is, if the name is one of ours."""
    leaf = path.rpartition("/")[2]
    if numbered := _NUMBERED.match(leaf):
        return f"{numbered[1]} file of format {numbered[2]}, which this version of aiofs does not know"
    return next((kind for prefix, kind in KINDS.items() if leaf.startswith(prefix)), None)


def is_of_unknown_format(path: str) -> bool:
    """Whether this is a name that a later version gives."""
    return _NUMBERED.match(path.rpartition("/")[2]) is not None


def check_token(token: Mapping[str, Any]) -> None:
    """Raise `Unsupported` if the token of a prepared write has a format that this version does not know."""
    number = token.get("format", 1)
    if number not in KNOWN:
        raise unknown_format(str(token.get("path")), "a prepared write", number, *KNOWN)


def format_of(target: str) -> str | None:
    """Return the number of the format that a link at one of our names states, if it states one."""
    match = _LINK.fullmatch(target)
    return None if match is None else match[1]


def check_link(path: str, target: str) -> None:
    """Raise `Unsupported` if a link at one of our names states that a later version locks the file."""
    if (number := format_of(target)) is not None:
        raise unknown_format(path, "the lock of this file", number, *KNOWN)


def parents_of(path: str) -> list[str]:
    """Return the folders that `path` is in, outermost first."""
    segments = path.split("/")[:-1]
    return ["/".join(segments[: depth + 1]) for depth in range(len(segments))]


class Root:
    """The folder that all names stay in, and folders in it that bound them more narrowly.

    On the way to a narrower folder, links may lead anywhere within the wider one. From there on, no link leads out of
    the narrower one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.given: str = os.fsdecode(path) or os.curdir
        self._known = [os.path.normpath(self.given)] if os.path.isabs(self.given) else []  # shared with narrower ones
        self.bounds: tuple[int, ...] = ()
        """The number of segments that lead to each narrower folder, the widest first."""

    @property
    def known(self) -> str | None:
        """The whole path, or `None` until it is known: finding it out may be a call into the system."""
        return self._known[0] if self._known else None

    @property
    def path(self) -> str:
        """The whole path, which stays the same from the first use on."""
        if not self._known:
            self._known.append(os.path.abspath(self.given))
        return self._known[0]

    def narrowed(self, depth: int) -> Root:
        """Return this root with one more bound: the folder to which the first `depth` segments of each name lead."""
        root = copy.copy(self)
        root.bounds = (*self.bounds, depth)
        return root

    def whole(self) -> Root:
        """Return this root without the narrower folders that bound its names."""
        root = copy.copy(self)
        root.bounds = ()
        return root

    def parts_of(self, path: str) -> list[str]:
        """Return the parts of a name: one for each bounding folder, relative to the one before, and the rest."""
        if not self.bounds:
            return [path]
        segments = path.split("/")
        cuts = [0, *(depth for depth in self.bounds if depth < len(segments)), len(segments)]
        return ["/".join(segments[start:stop]) for start, stop in itertools.pairwise(cuts)]

    @contextmanager
    def place(self, path: str, *, create: bool = False, follow: bool = True) -> Iterator[Place]:
        """Give the place of `path`, as `find` does, and close it when the block ends."""
        place = self.find(path, create=create, follow=follow)
        try:
            yield place
        finally:
            place.close()

    def find(self, path: str, *, create: bool = False, follow: bool = True) -> Place:
        """Return the place of `path`; the caller closes it. With `create`, missing folders are made.

        Links on the way are followed; one in the last segment only with `follow`.

        :raises ValueError: if a segment is `..`. Links may have one.
        :raises NotFound: if a folder on the way is missing.
        :raises NotAFolder: if a file is on the way.
        :raises AccessDenied: if a link leads out of the root.
        :raises RootIsAFile: if the root itself is not a folder.
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
        """Return the folder `path`, opened for reading; the caller closes it. `None` if there is none.

        Without `dir_fd`, return its whole path.
        """
        try:
            with errors_about(path or self.path), self.place(f"{path}/." if path else ".") as place:
                return os.path.dirname(place.leaf) if place.fd is None else readable(place.fd)
        except (NotFound, NotAFolder):
            return None

    def prune(self, folders: Sequence[str]) -> None:
        """Remove the folders, the last first, as long as they are empty or gone already.

        A folder of aiofs's own is removed only with the folder that it is in: the next user of it finds it synced.
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
            with self.errors_about_root(path):
                os.makedirs(self.path, exist_ok=True)
        except (FileNotFoundError, PermissionError) as error:
            kind = AccessDenied if isinstance(error, PermissionError) else StoreMissing
            raise kind.of(path, f"the root {self.path!r} is missing and cannot be made") from error

    @contextmanager
    def errors_about_root(self, path: str) -> Iterator[None]:
        """Raise `RootIsAFile` where the root itself is not a folder: the error is not about the path."""
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise RootIsAFile.of(path, f"the root {self.path!r} is not a folder") from error

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

    The place moves up from folder to folder, so that each takes one step and not the whole way from the root.
    """
    above = list(place.folders)
    for removed in range(most):
        if not place.leaf.startswith(RESERVED):
            try:
                remove_folder(place)
            except OSError:
                return removed
        if place.fd is None or not above:
            return removed + 1
        place.go_up(above.pop())
    return most


class Resolver:
    """Walks from the root to the leaf of one name, with the folder that it has reached open.

    At a `..` in a link it starts again at the bounding folder. Somebody may have moved the folder that it has
    reached, and then `..` would lead elsewhere.
    """

    def __init__(self, root: Root, path: str, *, create: bool, follow: bool) -> None:
        self._root = root
        self._path = path
        self._create = create
        self._follow = follow
        self._todo = _steps(root, path)
        self._here = -1
        self._bound = -1  # the bounding folder, open; -1 if that is the root
        self._bound_paths = [root.path]  # whole paths that absolute links may use for it
        self._above: list[str] = []  # the folders from the root to the bounding folder
        self._names: list[str] = []  # the folders from there to the folder that is open
        self._made: list[str] = []
        self._links = 0

    def resolve(self) -> Place:
        """Return the place of the name.

        :raises NotFound: if a folder on the way is missing and is not to be made.
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
            with self._root.errors_about_root(self._path):
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
        """Make the folder that is open the bounding one; the first `depth` segments led there."""
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
        """Go back to the bounding folder, to enter these folders and then the segments that are left."""
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
        """Let all users who may write the folder write aiofs's own new folder in it, whatever our umask is."""
        above = os.fstat(self._here)
        fd = os.open(segment, os.O_RDONLY | NO_FOLLOW, dir_fd=self._here)
        try:
            if not os.listdir(fd):  # else somebody put another folder in its place
                belong(fd, above, stat.S_IMODE(above.st_mode))
        finally:
            os.close(fd)

    def _through_link(self, segment: str) -> bool:
        """If `segment` is a link, go on with the segments of its target; return whether it is one."""
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
        """Return an absolute path as one relative to the bounding folder.

        :raises AccessDenied: if it leads out of that folder.
        """
        for path in self._bound_paths:
            below = os.path.relpath(target, path)
            if below.split(os.sep)[0] != os.pardir:
                return below
        raise self._leads_out()


def _steps(root: Root, path: str) -> deque[str | int]:
    """Return the segments of a name; after those of a bounding folder comes the number of segments up to it."""
    first, *more = root.parts_of(path)
    steps: deque[str | int] = deque(first.split("/"))
    for depth, part in zip(root.bounds, more, strict=False):
        steps.append(depth)
        steps.extend(part.split("/"))
    return steps


def leads_out(path: str, folder: str) -> AccessDenied:
    """Return the error about a link that leads out of a folder, or of the root if `folder` is empty."""
    bound = f"folder {folder!r}" if folder else "root"
    advice = "remove the link, or use a file system in which it stays"
    return AccessDenied.of(path, f"a link leads out of the {bound}: {advice}")
