"""Staging: where a file's new bytes grow, beside the file, and how they take its name.

The staging file is the lock. Its name follows from the file's, its `flock` dies with its process, and what a killed
writer left is taken over by the next one. A prepared write changes to a second name, `ready`, which no writer takes
over: it waits for a decision. All of this blocks and runs in worker threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiofs.backends.osfiles.flock import holder_of, try_lock
from aiofs.backends.osfiles.root import is_file
from aiofs.driver import ABSENT, Entry, Lease
from aiofs.errors import AlreadyExists, Conflict, IsAFolder, NotAFolder, NotFound, StoreMissing
from aiofs.locks import locked
from aiofs.paths import RESERVED, is_reserved
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.osfiles.root import Place, Root

STAGE = f"{RESERVED}-stage-"
READY = f"{RESERVED}-ready-"
_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_TRIES = 100
_STAMPS = os.utime in os.supports_fd
ALL_BITS, PERMISSIONS = 0o7777, 0o777
MARKS = 1_000_000
"""The nanoseconds of a millisecond: a staging file is stamped with one of them, which tells it from others."""


def stage_names(leaf: str) -> tuple[str, str]:
    """Return what the staging file of `leaf` is called, while it grows and when it is ready."""
    digest = hashlib.blake2b(os.fsencode(os.path.basename(leaf)), digest_size=16).hexdigest()
    return STAGE + digest, READY + digest


def version_of(status: os.stat_result) -> str:
    """Return a version that changes with every publication and every change in place."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def entry_of(path: str, status: os.stat_result) -> Entry:
    """Describe the file with this status."""
    return Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), version_of(status))


class Stage(Lease):
    """A locked staging file, open, beside its file."""

    def __init__(self, root: Root, place: Place, fd: int, name: str, *, ready: bool) -> None:
        self.path: str = place.path
        self.place = place
        self.fd: int = fd
        self.name: str = name
        self.ready: bool = ready
        self._root = root
        self._published = False
        self._dropped = False
        status = os.fstat(fd)
        self._mark = status.st_mtime_ns % MARKS if ready else secrets.randbelow(MARKS)
        self.fence: str = f"{status.st_ino:x}-{self._mark:x}"

    @classmethod
    def take(cls, root: Root, path: str) -> Stage:
        """Make or take over the staging file of `path`, and its folders.

        :raises Locked: if another writer has it, or an unfinished transaction is about to write the file.
        """
        for _ in range(_TRIES):
            place = None
            try:
                place = root.find(path, create=True)
                if is_reserved(path):
                    place.made = parents_of(path)  # our own folders go when the last of us has left them
                stage = cls._take_at(root, place)
            except StoreMissing:
                raise
            except FileNotFoundError:  # the folder was pruned between making and using it: make it again
                stage = None
            except BaseException:
                if place is not None:
                    _drop_folders(root, place)
                raise
            if stage is not None:
                return stage
            if place is not None:
                place.close()
        raise OSError(errno.EAGAIN, "its folder keeps being removed", path)

    @classmethod
    def take_over(cls, root: Root, token: Mapping[str, Any], *, growing: bool = False) -> Stage | None:
        """Take over the prepared staging file that `token` tells of, or a `growing` one that a killed writer left.

        Returns `None` if there is none any more. Folders that are empty at its end go with it.

        :raises Locked: if whoever made it is alive.
        """
        path = token["path"]
        try:
            place = root.find(path)
        except (NotFound, NotAFolder):
            root.prune(parents_of(path))
            return None
        place.made = parents_of(path)
        try:
            for name in reversed(stage_names(place.leaf)[0 if growing else 1 :]):
                fd = _open(place, place.beside(name), create=False)
                if fd is None:
                    continue
                if name.startswith(READY) and not _is_meant(os.fstat(fd), token):
                    os.close(fd)
                    continue
                stage = cls(root, place, fd, place.beside(name), ready=name.startswith(READY))
                if not try_lock(fd):
                    holder = holder_of(fd)
                    os.close(fd)
                    raise locked(path, holder)
                if stage.is_current():
                    return stage
                os.close(fd)
        except BaseException:
            place.close()
            raise
        _drop_folders(root, place)
        return None

    @classmethod
    def _take_at(cls, root: Root, place: Place) -> Stage | None:
        """Lock the staging file; `None` if its name passed to another file meanwhile."""
        growing, ready = (place.beside(name) for name in stage_names(place.leaf))
        target = place.status()
        if target is not None and not is_file(target):
            kind = "a folder" if stat.S_ISDIR(target.st_mode) else "not a regular file"
            raise IsAFolder.of(place.path, f"this is {kind}")
        fd = _open(place, growing, create=True)
        assert fd is not None  # noqa: S101 -- it creates
        stage = cls(root, place, fd, growing, ready=False)
        if not try_lock(fd):
            holder = holder_of(fd)
            os.close(fd)
            raise locked(place.path, holder)
        if place.status(ready) is not None:
            stage.drop()
            raise locked(place.path, "an unfinished transaction; recover() ends it")
        if not stage.is_current():
            os.close(fd)
            return None
        if os.fstat(fd).st_nlink > 1:  # published, by a writer who was killed before this name was gone
            os.unlink(growing, dir_fd=place.fd)
            os.close(fd)
            return None
        return stage

    def is_current(self) -> bool:
        """Whether the staging file still has its name: if not, somebody removed or published it."""
        named = self.place.status(self.name)
        return named is not None and os.path.samestat(named, os.fstat(self.fd))

    def empty(self) -> None:
        """Cut what a former writer left."""
        os.ftruncate(self.fd, 0)

    def seal(self, *, durable: bool, like: os.stat_result | None = None) -> None:
        """Give the bytes the time and mode of the file to be, and bring them to the disk if `durable`.

        The mode is that of the file that is replaced, or the permissions of a file that it is made `like`.
        """
        target = self.place.status() if like is None else like
        if target is not None and hasattr(os, "fchmod"):
            os.fchmod(self.fd, stat.S_IMODE(target.st_mode) & (ALL_BITS if like is None else PERMISSIONS))
        self.stamp()
        if durable:
            os.fsync(self.fd)

    def stamp(self) -> None:
        """Set the time: finer than the kernel's clock, so that versions differ; its end is what tells this stage."""
        if _STAMPS:
            now = time.time_ns() // MARKS * MARKS + self._mark
            os.utime(self.fd, ns=(now, now))

    def make_ready(self, *, durable: bool) -> None:
        """Change to the name that waits for a decision."""
        name = self.place.beside(stage_names(self.place.leaf)[1])
        self._rename(name)
        self.name, self.ready = name, True
        if durable:
            self.sync_folders()

    def make_growing(self) -> None:
        """Change back to the name of a staging file that is not ready."""
        name = self.place.beside(stage_names(self.place.leaf)[0])
        self._rename(name)
        self.name, self.ready = name, False

    def publish(self, match: str | None, *, durable: bool) -> Entry:
        """Take the file's name in one step.

        :raises Conflict: if the staging file, and so the lock, was lost, or `match` is not the file's version.
        :raises AlreadyExists: if there was to be no such file and there is.
        """
        if not self.is_current():
            raise Conflict.of(self.path, "the lock on this file was removed; nothing was overwritten")
        place = self.place
        status = os.fstat(self.fd)
        if status.st_nlink > 1:  # killed between the two steps of publishing a new file
            os.unlink(self.name, dir_fd=place.fd)
            self._published = True
            return entry_of(self.path, status)
        check_match(place, match)
        if match == ABSENT and self._link():
            with suppress(FileNotFoundError):
                os.unlink(self.name, dir_fd=place.fd)
        else:
            if os.name == "nt":
                os.close(self.fd)
                self.fd = -1
            self._rename(place.leaf)
        self._published = True
        if durable:
            self.sync_folders()
        return entry_of(self.path, status)

    def sync_folders(self) -> None:
        """Bring the names to the disk: of the file, and of the folders that were made for it."""
        self.place.sync()
        for made in self.place.made:
            with self._root.place(made, follow=False) as parent:
                parent.sync()

    def remove(self, match: str | None, *, durable: bool) -> Entry:
        """Remove the file, unless it is gone already, and the staging file with it.

        :raises Conflict: if the staging file, and so the lock, was lost, or `match` is not the file's version.
        """
        if not self.is_current():
            raise Conflict.of(self.path, "the lock on this file was removed; nothing was removed")
        place = self.place
        place.made = parents_of(self.path)
        status = place.status()
        if status is not None:
            check_match(place, match)
            os.unlink(place.leaf, dir_fd=place.fd)
            if durable:
                place.sync()
        self.discard()
        return Entry(self.path) if status is None else entry_of(self.path, status)

    def discard(self) -> None:
        """Remove the staging file, whatever waits in it. Harmless when done twice."""
        if not self._published and not self._dropped and self.is_current():
            os.unlink(self.name, dir_fd=self.place.fd)
            self._published = True

    def drop(self) -> None:
        """Unlock, and remove the staging file unless it was published or waits. Harmless when done twice."""
        if self._dropped:
            return
        self._dropped = True
        try:
            if not self._published and not self.ready and self.is_current():
                os.unlink(self.name, dir_fd=self.place.fd)
        finally:
            if self.fd >= 0:
                os.close(self.fd)
            _drop_folders(self._root, self.place)

    def leave(self) -> None:
        """Unlock, and let the staging file wait for whoever comes next. Harmless when done twice."""
        if not self._dropped:
            self._dropped = True
            os.close(self.fd)
            self.place.close()

    async def release(self) -> None:
        """Unlock, and remove the staging file unless it was published."""
        if not self._dropped:
            await hop(self.drop)

    def abandon(self) -> None:
        """Unlock and remove the staging file."""
        self.drop()

    def _link(self) -> bool:
        """Give the file a second name, which fails where there is one already; return whether the system can."""
        try:
            os.link(
                self.name, self.place.leaf, src_dir_fd=self.place.fd, dst_dir_fd=self.place.fd, follow_symlinks=False
            )
        except FileExistsError:
            raise AlreadyExists.of(self.path) from None
        except (OSError, NotImplementedError):
            return False  # no hard links here: the check before, under the lock, has to do
        return True

    def _rename(self, name: str) -> None:
        os.replace(self.name, name, src_dir_fd=self.place.fd, dst_dir_fd=self.place.fd)


def _is_meant(status: os.stat_result, token: Mapping[str, Any]) -> bool:
    """Whether the prepared staging file with this status is the one that a token tells of."""
    if "stage" in token:
        return bool(version_of(status) == token["stage"])
    return not _STAMPS or token.get("fence") == f"{status.st_ino:x}-{status.st_mtime_ns % MARKS:x}"


def check_match(place: Place, match: str | None) -> None:
    """Raise `AlreadyExists` or `Conflict` unless `match` is the version of the file at `place`."""
    if match is None:
        return
    status = place.status()
    if match == ABSENT:
        if status is not None:
            raise AlreadyExists.of(place.path)
    elif status is None or version_of(status) != match:
        raise Conflict.of(place.path, "the file was changed meanwhile")


def refuse_locked(place: Place, held: set[str]) -> None:
    """Raise `Locked` if somebody not among `held` writes the file at `place`; sweep a stale staging file."""
    growing, ready = (place.beside(name) for name in stage_names(place.leaf))
    if place.path in held:
        return
    if place.status(ready) is not None:
        raise locked(place.path, "an unfinished transaction; recover() ends it")
    fd = _open(place, growing, create=False)
    if fd is None:
        return
    try:
        if not try_lock(fd):
            raise locked(place.path, holder_of(fd))
        with suppress(FileNotFoundError):
            os.unlink(growing, dir_fd=place.fd)
    finally:
        os.close(fd)


def _open(place: Place, name: str, *, create: bool) -> int | None:
    try:
        return os.open(name, _FLAGS | (os.O_CREAT if create else 0), 0o666, dir_fd=place.fd)
    except FileNotFoundError:
        if create:
            raise
        return None
    except PermissionError:
        fd = _open_protected(place, name)
        if fd is None:
            raise
        return fd


def _open_protected(place: Place, name: str) -> int | None:
    """Open a staging file that was given the mode of a file that may not be written; `None` if that is not why.

    :raises Locked: if its writer lives.
    """
    if not hasattr(os, "fchmod"):
        return None
    try:
        look = os.open(name, os.O_RDONLY | _FLAGS & ~os.O_RDWR, dir_fd=place.fd)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        if not try_lock(look):
            raise locked(place.path, holder_of(look))
        mode = stat.S_IMODE(os.fstat(look).st_mode)
        os.fchmod(look, mode | stat.S_IWUSR)
        try:
            return os.open(name, _FLAGS, dir_fd=place.fd)
        finally:
            os.fchmod(look, mode)
    finally:
        os.close(look)


def parents_of(path: str) -> list[str]:
    """Return the folders that `path` is in, outermost first."""
    segments = path.split("/")[:-1]
    return ["/".join(segments[: depth + 1]) for depth in range(len(segments))]


def _drop_folders(root: Root, place: Place) -> None:
    """Close the place; take the folders that were made for it away again if nothing is in them."""
    place.close()
    root.prune(place.made)
