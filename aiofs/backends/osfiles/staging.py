"""Staging: where a file's new bytes grow, beside the file, and how they take its name.

In a folder that one user writes alone, the staging file is the lock: its `flock` dies with its process. Where users
share a folder, the lock is an empty file that all of them may open, and the bytes are in a second file, of the
writer's own (`locking` says why). A prepared write changes to another name, `ready`, which no writer takes over: it
waits for a decision. All of this blocks and runs in worker threads.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeGuard

from aiofs.backends.osfiles import locking
from aiofs.backends.osfiles.attributes import belong, give_permissions, keep_attributes, permissions_of
from aiofs.backends.osfiles.errors import told_of
from aiofs.backends.osfiles.facts import check_match, entry_of, not_regular, parents_of, version_of
from aiofs.backends.osfiles.flock import holder_of, try_lock
from aiofs.backends.osfiles.names import LEASED, PART, READY, READY_SHARED, STAGE, check_token, digest_of
from aiofs.backends.osfiles.root import close_folder, is_file, open_folder
from aiofs.driver import ABSENT, Entry, Lease
from aiofs.errors import AlreadyExists, Conflict, IsAFolder, NotAFolder, NotFound, StoreMissing
from aiofs.locks import locked
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiofs.backends.osfiles.attributes import Permissions, Told
    from aiofs.backends.osfiles.root import Place, Root

_TRIES = 100
_STAMPS = os.utime in os.supports_fd
MARKS = 1_000_000
"""The nanoseconds of a millisecond: a staging file is stamped with one of them, which tells it from others."""
CLOSED = -1


class Stage(Lease):
    """A locked staging file, open, beside its file."""

    def __init__(
        self,
        root: Root,
        place: Place,
        fd: int,
        name: str,
        *,
        lock: int | None,
        ready: bool = False,
        leased: bool = False,
    ) -> None:
        self.path: str = place.path
        self.place = place
        self.fd: int = fd
        """The new bytes; `CLOSED` for those of another user, which need only be renamed."""
        self.name: str = name
        self.ready: bool = ready
        self._root = root
        self._lock = lock  # the lock, where that is another file
        self._leased = leased  # the lock is kept elsewhere, and may be lost at any moment
        self._published = False
        self._dropped = False
        status = place.status(name) if fd == CLOSED else os.fstat(fd)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place.path)
        self._status = status
        self._mark = status.st_mtime_ns % MARKS if ready else secrets.randbelow(MARKS)
        self.fence: str = self._fence()
        self._like: Permissions | None = None  # of the file that this is a copy of
        self._owner: int | None = None  # who prepared this, if perhaps somebody else

    @classmethod
    def take(cls, root: Root, path: str) -> Stage:
        """Make the staging file of `path`, and its folders, in place of one that somebody dead left.

        :raises Locked: if another writer has it, or an unfinished transaction is about to write the file.
        :raises AccessDenied: if what lies there is none of ours, or may not be removed.
        """
        return cls._make(root, path, cls._take_at)

    @classmethod
    def under_lease(cls, root: Root, path: str) -> Stage:
        """Make the staging file of a path whose lock another file system keeps."""
        return cls._make(root, path, cls._make_at)

    @classmethod
    def _make(cls, root: Root, path: str, make: Callable[[Root, Place], Stage | None]) -> Stage:
        for _ in range(_TRIES):
            place = None
            try:
                place = root.find(path, create=True)
                stage = make(root, place)
            except StoreMissing:
                raise
            except FileNotFoundError:  # the folder was pruned between making and using it: make it again
                stage = None
            except BaseException:
                if place is not None:
                    drop_folders(root, place)
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
        :raises Unsupported: if the token has a format that this version does not know.
        """
        check_token(token)
        path = token["path"]
        try:
            place = root.find(path)
        except (NotFound, NotAFolder):
            root.prune(parents_of(path))
            return None
        place.made = parents_of(path)
        try:
            stage = cls._take_ready(root, place, token) or cls._take_ready_shared(root, place, token)
            if stage is None and growing:
                stage = cls._take_growing(root, place)
        except BaseException:
            place.close()
            raise
        if stage is None:
            drop_folders(root, place)
        return stage

    @classmethod
    def _take_at(cls, root: Root, place: Place) -> Stage | None:
        """Lock the staging file; `None` if its name passed to another file meanwhile."""
        target = _target(place)
        folder = locking.folder_of(place)
        shared = locking.is_shared(folder)
        mode = locking.first_mode(place.path, target, folder)
        lock = locking.take_new(place, locking.lock_of(place), mode, shared=shared)
        if lock is None:
            return None
        fd, name, second = lock, locking.lock_of(place), None
        try:
            locking.check_ready(place)
            if shared:
                second = lock
                fd, name = locking.make_part(place, mode)
            return cls(root, place, fd, name, lock=second)
        except BaseException:
            if fd != lock:
                os.close(fd)
            locking.drop(place, locking.lock_of(place), lock)
            raise

    @classmethod
    def _make_at(cls, root: Root, place: Place) -> Stage:
        mode = locking.first_mode(place.path, _target(place), locking.folder_of(place))
        fd, name = locking.make_part(place, mode, LEASED)
        try:
            return cls(root, place, fd, name, lock=None, leased=True)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def _take_ready(cls, root: Root, place: Place, token: Mapping[str, Any]) -> Stage | None:
        """Take over a prepared write whose process has it locked while it lives."""
        name = place.beside(READY + digest_of(place.leaf))
        status = place.status(name)
        if not _is_meant(status, token):
            return None
        fd = locking.open_found(place, name, status)
        if fd is None:
            return None
        taken = False
        try:
            if not _is_meant(os.fstat(fd), token):
                return None
            if not try_lock(fd):
                raise locked(place.path, holder_of(fd))
            stage = cls(root, place, fd, name, lock=None, ready=True)
            taken = stage.is_current()
            return stage if taken else None
        finally:
            if not taken:
                os.close(fd)

    @classmethod
    def _take_ready_shared(cls, root: Root, place: Place, token: Mapping[str, Any]) -> Stage | None:
        """Take over a prepared write whose process has the lock of the file while it lives."""
        name = place.beside(READY_SHARED + digest_of(place.leaf))
        status = place.status(name)
        if not _is_meant(status, token):
            return None
        lock = locking.take(place, locking.lock_of(place))
        fd = CLOSED
        try:
            with suppress(PermissionError):
                found = locking.open_existing(place, name)
                if found is None:
                    locking.drop(place, locking.lock_of(place), lock)
                    return None
                fd = found
            return cls(root, place, fd, name, lock=lock, ready=True)
        except BaseException:
            if fd != CLOSED:
                os.close(fd)
            locking.drop(place, locking.lock_of(place), lock)
            raise

    @classmethod
    def _take_growing(cls, root: Root, place: Place) -> Stage | None:
        """Take over what a killed writer left that had prepared nothing."""
        digest = digest_of(place.leaf)
        if all(place.status(place.beside(kind + digest)) is None for kind in (STAGE, PART)):
            return None
        lock = locking.take(place, locking.lock_of(place))
        try:
            fd, name = locking.make_part(place, locking.OURSELVES)
        except BaseException:
            locking.drop(place, locking.lock_of(place), lock)
            raise
        return cls(root, place, fd, name, lock=lock)

    def is_current(self) -> bool:
        """Whether staging file and lock still have their names: if not, somebody removed or published them."""
        if self._lock is not None and not locking.is_named(
            self.place, locking.lock_of(self.place), os.fstat(self._lock)
        ):
            return False
        return locking.is_named(self.place, self.name, self._status)

    def empty(self) -> None:
        """Begin anew, with no bytes, and in a file of our own alone where the file to be is no new one any more."""
        with told_of(self.path):
            if self._status.st_mode & locking.OTHERS and self.place.status() is not None:
                self.close_to_others()
            os.ftruncate(self.fd, 0)
            self._like = None

    def liken(self, source: int) -> None:
        """Have the file to be let in those whom the open file `source` lets in, and nobody else until then either."""
        with told_of(self.path):
            self._like = permissions_of(source)
            self.close_to_others(but_for=self._like.mode)

    def permit(self, told: Told) -> None:
        """Have the file to be as it was to be when it was prepared."""
        with told_of(self.path):
            self._like, self._owner = told.permissions, told.owner
            self.close_to_others(but_for=told.permissions.mode)
            for folder in self.place.made:
                with self._root.place(folder, follow=False) as made:
                    give_folder(made, told.owner)

    def close_to_others(self, *, but_for: int = 0) -> None:
        """Go on in a file that nobody else can have opened, if more may than the mode `but_for` lets.

        It has another fence.
        """
        if not stat.S_IMODE(self._status.st_mode) & locking.OTHERS & ~but_for:
            return
        place = self.place
        if self._lock is not None:
            os.unlink(self.name, dir_fd=place.fd)
        fd, name = locking.make_part(place, locking.OURSELVES)
        try:
            if self._lock is None:
                if not self._leased and not try_lock(fd):
                    raise locked(place.path, holder_of(fd))
                os.replace(name, self.name, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        except BaseException:
            os.close(fd)
            raise
        old, self.fd, self._status = self.fd, fd, os.fstat(fd)
        self.fence = self._fence()
        os.close(old)

    def seal(self, *, durable: bool) -> None:
        """Give the bytes the time, owner, permissions and attributes of the file to be; to the disk, if `durable`.

        They are those of the file that is replaced; the permissions of a copy are its source's.
        """
        self.stamp()
        replaced = self.place.status()
        if self._like is None:
            keep_attributes(self.fd, self.place, replaced)
        else:
            folder = locking.folder_of(self.place)
            if replaced is None and self._owner == folder.st_uid:  # a journal may say anything: theirs is the folder
                belong(self.fd, folder, locking.OURSELVES)
            give_permissions(self.fd, self._like, self.place, replaced)
        if durable:
            os.fsync(self.fd)

    def stamp(self) -> None:
        """Set the time: finer than the kernel's clock, so that versions differ; its end is what tells this stage."""
        if _STAMPS:
            now = time.time_ns() // MARKS * MARKS + self._mark
            os.utime(self.fd, ns=(now, now))

    def make_ready(self, *, durable: bool) -> None:
        """Change to the name that waits for a decision."""
        kind = READY if self._lock is None else READY_SHARED
        if durable:
            self.place.bring_way()
        self._rename(self.place.beside(kind + digest_of(self.place.leaf)))
        self.ready = True
        if durable:
            self.place.sync()

    def make_growing(self) -> None:
        """Change back to the name of a staging file that is not ready."""
        kind = STAGE if self._lock is None else PART
        self._rename(self.place.beside(kind + digest_of(self.place.leaf)))
        self.ready = False

    def publish(self, match: str | None, *, durable: bool) -> Entry:
        """Take the file's name in one step.

        :raises Conflict: if the staging file, and so the lock, was lost, or `match` is not the file's version.
        :raises AlreadyExists: if there was to be no such file and there is.
        """
        if not self.is_current():
            raise Conflict.of(self.path, "the lock on this file was removed; nothing was overwritten")
        place = self.place
        status = self._now()
        if status.st_nlink > 1 and locking.is_named(place, place.leaf, status):
            os.unlink(self.name, dir_fd=place.fd)  # killed between the two steps of publishing a new file
            self._published = True
            if durable:
                place.bring_way()
                place.sync()
            return entry_of(self.path, status)
        check_match(place, match)
        if durable:
            place.bring_way()
        if self._leased:
            self._claim()
        if match == ABSENT and self._link():
            with suppress(FileNotFoundError):
                os.unlink(self.name, dir_fd=place.fd)
        else:
            if os.name == "nt":
                os.close(self.fd)
                self.fd = CLOSED
            os.replace(self.name, place.leaf, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        self._published = True
        if durable:
            place.sync()
        return entry_of(self.path, status)

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
        self.discard(durable=durable)
        return Entry(self.path) if status is None else entry_of(self.path, status)

    def discard(self, *, durable: bool) -> None:
        """Remove the staging file, whatever waits in it: for good if `durable`. Harmless when done twice."""
        with told_of(self.path):
            if not self._published and not self._dropped and self.is_current():
                os.unlink(self.name, dir_fd=self.place.fd)
                self._published = True
                if durable:
                    self.place.sync()

    def drop(self) -> None:
        """Unlock, and remove the staging file unless it was published or waits. Harmless when done twice."""
        if self._dropped:
            return
        self._dropped = True
        with told_of(self.path), ExitStack() as after:
            after.callback(drop_folders, self._root, self.place)
            after.callback(self._close)
            if not self._published and not self.ready and self.is_current():
                os.unlink(self.name, dir_fd=self.place.fd)

    def leave(self) -> None:
        """Unlock, and let the staging file wait for whoever comes next. Harmless when done twice."""
        if not self._dropped:
            self._dropped = True
            with told_of(self.path), ExitStack() as after:
                after.callback(self.place.close)
                self._close()

    async def release(self) -> None:
        """Unlock, and remove the staging file unless it was published."""
        if not self._dropped:
            await hop(self.drop)

    def abandon(self) -> None:
        """Unlock and remove the staging file."""
        self.drop()

    def token(self) -> dict[str, Any]:
        """Return by what a prepared write is told from others."""
        return {"path": self.path, "stage": version_of(self._now())}

    def _fence(self) -> str:
        return f"{self._status.st_ino:x}-{self._mark:x}"

    def _now(self) -> os.stat_result:
        return self._status if self.fd == CLOSED else os.fstat(self.fd)

    def _close(self) -> None:
        """Close the bytes, and give the lock back where that is another file."""
        fd, self.fd = self.fd, CLOSED
        lock, self._lock = self._lock, None
        with ExitStack() as after:
            if lock is not None:
                after.callback(locking.drop, self.place, locking.lock_of(self.place), lock)
            if fd != CLOSED:
                os.close(fd)

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

    def _claim(self) -> None:
        """Give the bytes a name that nobody else knows, so that what is published next is them, whoever has the lease.

        :raises Conflict: if they were somebody else's, who got the lease meanwhile.
        """
        name = self.name
        self._rename(f"{name}-{secrets.token_hex(8)}")
        if not self.is_current():
            self._rename(name)
            raise Conflict.of(self.path, "the lock on this file was lost; nothing was overwritten")

    def _rename(self, name: str) -> None:
        os.replace(self.name, name, src_dir_fd=self.place.fd, dst_dir_fd=self.place.fd)
        self.name = name


def _target(place: Place) -> os.stat_result | None:
    """Return the status of the file that is to be replaced, if there is one.

    :raises IsAFolder: if there is something else.
    """
    target = place.status()
    if target is not None and not is_file(target):
        raise IsAFolder.of(place.path, not_regular(target))
    return target


def refuse_locked(root: Root, place: Place, held: set[str]) -> None:
    """Raise `Locked` if somebody not among `held` writes the file at `place`; sweep what a killed writer left."""
    if place.path in held:
        return
    locking.check_free(place)
    if place.status(place.beside(PART + digest_of(place.leaf))) is not None:
        Stage.take(root, place.path).drop()


def give_folder(made: Place, owner: int) -> None:
    """Give a folder that was made on the way to whom the folder that it is in belongs, if that is `owner`."""
    if made.fd is None or (above := os.fstat(made.fd)).st_uid != owner:
        return
    fd = open_folder(made.leaf, made.fd)
    try:
        belong(fd, above, stat.S_IMODE(os.fstat(fd).st_mode))
    finally:
        close_folder(fd)


def drop_folders(root: Root, place: Place) -> None:
    """Close the place; take the folders that were made for it away again if nothing is in them."""
    place.close()
    root.prune(place.made)


def _is_meant(status: os.stat_result | None, token: Mapping[str, Any]) -> TypeGuard[os.stat_result]:
    """Whether the prepared staging file with this status is the one that a token tells of."""
    if status is None or not is_file(status):
        return False
    if "stage" in token:
        return bool(version_of(status) == token["stage"])
    return not _STAMPS or token.get("fence") == f"{status.st_ino:x}-{status.st_mtime_ns % MARKS:x}"
