"""Path: a file system and a name in it, with the methods of `pathlib.Path`; those that read or write are awaited.

    notes = fs / "notes"
    async for path in notes.glob("*.txt"):
        print(path.stem, await path.read_text())

    path = aiofs.Path("s3://bucket/reports/2026.csv")

`aiofs.path.Path.open` reads and writes bytes unless its mode has a `t`, as on file systems.
"""

from __future__ import annotations

import errno
import os
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from aiofs.driver import ANY
from aiofs.errors import AiofsError, NotAFolder, NotFound, RootIsAFile
from aiofs.filesystem import FileSystem
from aiofs.listing import Listing, Pattern
from aiofs.names import under
from aiofs.pathcontent import PathContent
from aiofs.pathnames import PlainPath
from aiofs.powers import HasLocalPaths
from aiofs.system import FileLikeSystem
from aiofs.urls import is_url, local_of, local_system, part_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from aiofs.copying import Drop, Progress
    from aiofs.driver import Entry
    from aiofs.names import AnyName


class Path(PathContent):
    """A file system and a name in it: `fs / "folder" / "file.txt"`, or `aiofs.Path("s3://bucket/folder/file.txt")`.

    `place` is a URL, the path of a local file, a file system (its root) or another `Path`; `names` are below it. Paths
    of one store are equal if they mean the same file. They can be sorted and pickled. Only methods that are awaited or
    listed do I/O. A folder is there as long as a file is in it. A path of local files is a `LocalPath`, which programs
    that want an `os.PathLike` can open.
    """

    __slots__ = ()

    def __new__(cls, place: AnyName | FileLikeSystem | Path, *names: AnyName) -> Path:  # noqa: PYI034 -- or a subclass
        """Return the path. A `str` with `://` is a URL; any other is a local path, which may begin with `~`."""
        if isinstance(place, Path):
            found = place
        elif isinstance(place, FileLikeSystem):
            found = _rooted(place, "")
        elif isinstance(place, str) and is_url(place):
            local = local_of(place)
            found = _rooted(*part_url(place)) if local is None else DiskPath.of(*local)
        else:
            found = DiskPath.of(os.path.expanduser(place) if isinstance(place, str | os.PathLike) else place)
        return found.joinpath(*names)

    async def stat(self) -> Entry:
        """Describe the file, as `FileSystem.stat`.

        :raises NotFound: if there is no such file, also if there is a folder of this name.
        """
        return await self.system.stat(self._file())

    async def is_file(self) -> bool:
        """Whether there is a file of this name."""
        return not self._is_root() and await self.system.exists(self.path)

    async def is_dir(self) -> bool:
        """Whether this is a folder: the root, or a name with a file below it."""
        return await self.system.is_folder(self.path)

    async def exists(self) -> bool:
        """Whether there is a file or a folder of this name."""
        return await self.is_file() or await self.is_dir()

    def iterdir(self) -> Listing[Self]:
        """List the files and folders in this folder: `async for path in folder.iterdir()`, or `await` it for a list.

        :raises NotFound: when it is read, if there is no such folder.
        :raises NotAFolder: when it is read, if this is a file.
        """
        return Listing(self._children, lambda: f"{self!r}")

    def glob(self, pattern: str) -> Listing[Self]:
        """List the files below this folder whose whole name in it matches, as `FileSystem.glob`; no folders.

        The name of this folder is taken literally, whatever characters it has.

        :raises ValueError: if the pattern has an empty segment, `.` or `..`.
        """
        wanted = Pattern(pattern)
        return Listing(lambda: self._matching(wanted), lambda: f"{pattern!r} in {self!r}")

    def rglob(self, pattern: str) -> Listing[Self]:
        """List the files at all levels below this folder that match: `glob` with `**/` before the pattern."""
        Pattern(pattern)
        return self.glob(f"**/{pattern}")

    async def walk(self) -> AsyncIterator[tuple[Self, list[str], list[str]]]:
        """Yield `(folder, folders in it, files in it)` from this folder downwards; nothing if there is no such folder.

        Names that are removed from the list of folders are not entered where the store has real folders.
        """
        system, top = self.system, self.path
        async for folder, folders, files in system.walk(top):
            yield self.joinpath(folder[len(under(top)) :]), folders, files

    async def unlink(self, missing_ok: bool = False, *, wait: float = 0, match: str = ANY) -> None:
        """Remove the file, as `FileSystem.rm`.

        :raises NotFound: if there is none, unless `missing_ok`.
        :raises Locked: if somebody is writing it.
        """
        await self.system.rm(self._file(), missing_ok=missing_ok, wait=wait, match=match)

    async def copy(
        self,
        target: AnyName | Path,
        *,
        wait: float = 0,
        match: str = ANY,
        drop: Drop | None = None,
        on_progress: Progress | None = None,
    ) -> Path:
        """Make the file `target`, also in another store, the same as this one, as `aiofs.copy`; return it as a path.

        `target` is a `Path`, or a name in the same file system (for local paths: a local path).
        """
        from aiofs.between import copy  # noqa: PLC0415 -- it stands on this module

        other = self._target(target)
        await copy(self, other, wait=wait, match=match, drop=drop, on_progress=on_progress)
        return other

    async def move(
        self,
        target: AnyName | Path,
        *,
        wait: float = 0,
        match: str = ANY,
        drop: Drop | None = None,
        on_progress: Progress | None = None,
    ) -> Path:
        """Make this the file `target`, also in another store, as `aiofs.move`; return it as a path.

        `target` is as for `copy`.
        """
        from aiofs.between import move  # noqa: PLC0415 -- it stands on this module

        other = self._target(target)
        await move(self, other, wait=wait, match=match, drop=drop, on_progress=on_progress)
        return other

    async def rename(self, target: AnyName | Path, *, wait: float = 0, match: str = ANY) -> Path:
        """Do as `move`: a file of the new name is replaced. The name that it has already is allowed, too."""
        other = self._target(target)
        if other == self:
            await self.system.move(self._file(), self._file(), wait=wait, match=match)
            return other
        return await self.move(other, wait=wait, match=match)

    async def replace(self, target: AnyName | Path, *, wait: float = 0, match: str = ANY) -> Path:
        """Do as `rename`."""
        return await self.rename(target, wait=wait, match=match)

    async def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Check that a folder can be made here, as `FileSystem.mkdir`; make nothing, as folders come with files."""
        await self.system.mkdir(self.path, parents=parents, exist_ok=exist_ok)

    async def rmdir(self) -> None:
        """Check that the folder is empty; remove nothing, as it went with its last file.

        :raises OSError: with `ENOTEMPTY`, if there are files in it.
        :raises NotAFolder: if this is a file.
        """
        if await _has_files(self.system, self.path):
            raise AiofsError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(self))
        if await self.is_file():
            raise NotAFolder.of(str(self))

    async def touch(self, *, exist_ok: bool = True, wait: float = 0) -> None:
        """Make an empty file if there is none, as `FileSystem.touch`; one that is there stays as it is."""
        await self.system.touch(self._file(), exist_ok=exist_ok, wait=wait)

    async def url(self, method: Literal["GET", "PUT"] = "GET", *, expires: float = 3600) -> str:
        """Return a URL with which anybody can read or write the file for `expires` seconds, as `FileSystem.url`."""
        return await self.system.url(self._file(), method, expires=expires)

    def history(self) -> Listing[Entry]:
        """List the versions of the file that the store still has, as `FileSystem.history`."""
        return self.system.history(self._file())

    async def restore(self, version_id: str, *, wait: float = 0) -> Entry:
        """Make the file again what it was at that version, as `FileSystem.restore`."""
        return await self.system.restore(self._file(), version_id, wait=wait)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rooted, (self._system, self.path)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Say how to call methods of file systems, as `fs / "folder"` was a file system in 2.0.0a1."""
            hint = ""
            if hasattr(FileSystem, name):
                hint = f": it is a method of file systems, so call path.system.{name}() or path.at().{name}()"
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def _target(self, target: AnyName | Path) -> Path:
        return cast("Path", self._other(target))

    def _is_root(self) -> bool:
        return not self.path

    async def _children(self) -> AsyncIterator[Self]:
        system, folder = self.system, self.path
        cut, files, empty = len(under(folder)), list[str](), True
        async for name in system.ls(prefix=under(folder), recursive=False):
            empty = False
            files = [file for file in files if name.startswith(file)]
            if name.removesuffix("/") in files:
                continue  # it is a file and a folder, and was yielded as a file
            if not name.endswith("/"):
                files.append(name)
            yield self.joinpath(name[cut:])
        if empty and not self._is_root():
            raise (NotAFolder if await self.is_file() else NotFound).of(str(self))

    async def _matching(self, wanted: Pattern) -> AsyncIterator[Self]:
        system, start = self.system, under(self.path)
        async for name in system.ls(prefix=start + under(wanted.folder), recursive=not wanted.one_level):
            below = name[len(start) :]
            if not below.endswith("/") and wanted.matches(below):
                yield self.joinpath(below)


class LocalPath(Path):
    """A path of local files, which programs that want an `os.PathLike` can open.

    `Path` makes one by itself; `LocalPath("notes.txt")` says the same to type checkers.

    :raises TypeError: if it is not the path of a local file.
    """

    __slots__ = ()

    def __new__(cls, place: AnyName | FileLikeSystem | Path, *names: AnyName) -> LocalPath:  # noqa: PYI034 -- or a subclass
        """Return the path, as `Path` does."""
        found = Path(place, *names)
        if not isinstance(found, LocalPath):
            raise TypeError(f"{found!r} is not the path of a local file")
        return found

    def __fspath__(self) -> str:
        files = self.system.driver.offers(HasLocalPaths)
        if files is None:
            raise TypeError(f"{self.path!r} in {self.system.driver} is not a local file")
        return files.local_path(self.path)

    def __str__(self) -> str:
        try:
            return os.fspath(self)
        except TypeError:  # in a transaction
            return super().__str__()

    def __repr__(self) -> str:
        return f"aiofs.Path({str(self)!r})"


class DiskPath(LocalPath):
    """A local path by its own name, as `aiofs.Path("notes.txt")` is; its parents end where those of pathlib end.

    Its file system is the folder that it is in. So its verbs never remove that folder, and its locks are those of the
    disk where the folder is. A relative path depends on the current folder at the time of its first use.
    """

    __slots__ = ("_query",)

    _query: str

    @classmethod
    def of(cls, path: str | os.PathLike[str], query: str = "") -> DiskPath:
        """Return the path of a local file. `query` has the settings of a `file://` URL."""
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not isinstance(text, str):
            raise TypeError(f"a path is a str or a PurePath, not {type(path).__name__}: {path!r}")
        if not text or "\0" in text:
            raise ValueError(f"path {text!r} {'has a NUL character' if text else 'is empty'}")
        made: DiskPath = object.__new__(cls)
        made._pure, made._query = PurePath(text), query
        return made

    @property
    def system(self) -> FileSystem:
        """The folder in which the file is, as a file system."""
        try:
            return self._system
        except AttributeError:
            self._system = local_system(str(self._pure.parent if self.path else self._pure), self._query)
            return self._system

    @property
    def path(self) -> str:
        """The name in `system`: the last segment."""
        return self._pure.name if self._pure.name != ".." else ""

    def at(self) -> FileSystem:
        """Return the folder as a file system of its own."""
        return local_system(str(self._pure), self._query)

    def place(self) -> tuple[Hashable, str]:
        return "file", self._pure.as_posix()

    async def is_file(self) -> bool:
        """Whether there is a file of this name; there is none below a file."""
        try:
            return await super().is_file()
        except RootIsAFile:
            return False

    async def is_dir(self) -> bool:
        """Whether this is a folder with a file in it."""
        try:
            return await super().is_dir()
        except RootIsAFile:
            return False

    def full_match(self, pattern: str) -> bool:
        """Whether the whole path matches; an absolute path matches an absolute pattern only."""
        anchor = PurePath(self._pure.anchor).as_posix() if self._pure.anchor else ""
        below = self._pure.as_posix().removeprefix(anchor)
        return pattern.startswith(anchor) and Pattern(pattern.removeprefix(anchor)).matches(below)

    def __rtruediv__(self, folder: AnyName) -> Self:
        return self._with(folder / self._pure) if isinstance(folder, str | PurePath) else NotImplemented

    def __fspath__(self) -> str:
        return str(self._pure)

    def __reduce__(self) -> tuple[Any, ...]:
        return DiskPath.of, (str(self._pure), self._query)

    def _with(self, pure: PurePath) -> Self:
        made = object.__new__(type(self))
        made._pure, made._query = pure, self._query
        return made

    def _other(self, other: AnyName | PlainPath) -> PlainPath:
        return other if isinstance(other, PlainPath) else DiskPath.of(other, self._query)


async def _has_files(system: FileSystem, folder: str) -> bool:
    async for _ in system.ls(prefix=under(folder), recursive=False):
        return True
    return False


def _rooted(system: FileLikeSystem, name: str) -> Path:
    """Return the path of a name in a file system; a system of three methods gets a file system over it."""
    made_of = system if isinstance(system, FileSystem) else system.over()
    kind = LocalPath if made_of.driver.offers(HasLocalPaths) is not None else Path
    made = object.__new__(kind)
    made._pure, made._system = PurePosixPath(), made_of
    return made.joinpath(name)
