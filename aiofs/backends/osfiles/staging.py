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
from typing import TYPE_CHECKING, Any

from aiofs.backends.osfiles import locks
from aiofs.backends.osfiles.attributes import belong, give_permissions, keep_attributes, permissions_of
from aiofs.backends.osfiles.errors import errors_about
from aiofs.backends.osfiles.locks import holder_of, try_lock
from aiofs.backends.osfiles.names import PART, READY, READY_SHARED, STAGE, digest_of, parents_of
from aiofs.backends.osfiles.places import close_folder, entry_of, open_folder, version_of
from aiofs.driver import ABSENT, Entry, Lease, Part
from aiofs.errors import AlreadyExists, Conflict
from aiofs.locks import locked
from aiofs.threads import hop

if TYPE_CHECKING:
    from aiofs.backends.osfiles.attributes import Ownership, Permissions
    from aiofs.backends.osfiles.names import Root
    from aiofs.backends.osfiles.places import Place

STAMPS = os.utime in os.supports_fd
MARKS = 1_000_000
"""The nanoseconds of a millisecond: a staging file is stamped with one of them, which tells it from others."""
CLOSED = -1
COPY_STEP = 1 << 24


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
        self._owner: int | None = None  # who prepared this write, where a journal says it

    def is_current(self) -> bool:
        """Whether staging file and lock still have their names: if not, somebody removed or published them."""
        if self._lock is not None and not locks.is_named(self.place, locks.lock_name(self.place), os.fstat(self._lock)):
            return False
        return locks.is_named(self.place, self.name, self._status)

    def empty(self) -> None:
        """Begin anew, with no bytes, and in a file of our own alone where the file to be is no new one any more."""
        with errors_about(self.path):
            if self._status.st_mode & locks.OTHERS and self.place.status() is not None:
                self.close_to_others()
            os.ftruncate(self.fd, 0)
            self._like = None

    def liken(self, source: int) -> None:
        """Have the file to be let in those whom the open file `source` lets in, and nobody else until then either."""
        with errors_about(self.path):
            self._like = permissions_of(source)
            self.close_to_others(but_for=self._like.mode)

    def set_ownership(self, ownership: Ownership) -> None:
        """Give the file this owner and these permissions when it is published, and its new folders this owner."""
        with errors_about(self.path):
            self._like, self._owner = ownership.permissions, ownership.owner
            self.close_to_others(but_for=ownership.permissions.mode)
            for folder in self.place.made:
                with self._root.place(folder, follow=False) as made:
                    give_folder(made, ownership.owner)

    def close_to_others(self, *, but_for: int = 0) -> None:
        """Go on in a file that nobody else can have opened, if more may than the mode `but_for` lets.

        It has another fence.
        """
        if not stat.S_IMODE(self._status.st_mode) & locks.OTHERS & ~but_for:
            return
        place = self.place
        if self._lock is not None:
            os.unlink(self.name, dir_fd=place.fd)
        fd, name = locks.make_part(place, locks.OURSELVES)
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
            folder = locks.folder_status(self.place)
            # A journal may be forged, so its owner counts only where the folder belongs to the same user.
            if replaced is None and self._owner == folder.st_uid:
                belong(self.fd, folder, locks.OURSELVES)
            give_permissions(self.fd, self._like, self.place, replaced)
        if durable:
            os.fsync(self.fd)

    def stamp(self) -> None:
        """Set the time: finer than the kernel's clock, so that versions differ; its end is what tells this stage."""
        if STAMPS:
            now = time.time_ns() // MARKS * MARKS + self._mark
            os.utime(self.fd, ns=(now, now))

    def make_ready(self, *, durable: bool) -> None:
        """Change to the name that waits for a decision."""
        kind = READY if self._lock is None else READY_SHARED
        if durable:
            self.place.sync_way()
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
        if status.st_nlink > 1 and locks.is_named(place, place.leaf, status):
            os.unlink(self.name, dir_fd=place.fd)  # killed between the two steps of publishing a new file
            self._published = True
            if durable:
                place.sync_way()
                place.sync()
            return entry_of(self.path, status)
        place.check_match(match)
        if durable:
            place.sync_way()
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

    def remove_file(self, match: str | None, *, durable: bool) -> Entry:
        """Remove the file, unless it is gone already, and the staging file with it.

        :raises Conflict: if the staging file, and so the lock, was lost, or `match` is not the file's version.
        """
        if not self.is_current():
            raise Conflict.of(self.path, "the lock on this file was removed; nothing was removed")
        place = self.place
        place.made = parents_of(self.path)
        status = place.status()
        if status is not None:
            place.check_match(match)
            os.unlink(place.leaf, dir_fd=place.fd)
        self.discard(durable=durable)
        return Entry(self.path) if status is None else entry_of(self.path, status)

    def discard(self, *, durable: bool) -> None:
        """Remove the staging file, whatever waits in it: for good if `durable`. Harmless when done twice."""
        with errors_about(self.path):
            if not self._published and not self._dropped and self.is_current():
                os.unlink(self.name, dir_fd=self.place.fd)
                self._published = True
                if durable:
                    self.place.sync()

    def release_now(self) -> None:
        """Unlock, and remove the staging file unless it was published or waits. Harmless when done twice."""
        if self._dropped:
            return
        self._dropped = True
        with errors_about(self.path), ExitStack() as after:
            after.callback(prune_folders, self._root, self.place)
            after.callback(self._close)
            if not self._published and not self.ready and self.is_current():
                os.unlink(self.name, dir_fd=self.place.fd)

    def leave(self) -> None:
        """Unlock, and let the staging file wait for whoever comes next. Harmless when done twice."""
        if not self._dropped:
            self._dropped = True
            with errors_about(self.path), ExitStack() as after:
                after.callback(self.place.close)
                self._close()

    async def release(self) -> None:
        """Unlock, and remove the staging file unless it was published."""
        if not self._dropped:
            await hop(self.release_now)

    def abandon(self) -> None:
        """Unlock and remove the staging file."""
        self.release_now()

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
                after.callback(locks.release, self.place, locks.lock_name(self.place), lock)
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


def give_folder(made: Place, owner: int) -> None:
    """Give a new folder to the owner of the folder above it, if that is `owner`."""
    if made.fd is None or (above := os.fstat(made.fd)).st_uid != owner:
        return
    fd = open_folder(made.leaf, made.fd)
    try:
        belong(fd, above, stat.S_IMODE(os.fstat(fd).st_mode))
    finally:
        close_folder(fd)


def prune_folders(root: Root, place: Place) -> None:
    """Close the place; take the folders that were made for it away again if nothing is in them."""
    place.close()
    root.prune(place.made)


def copy_bytes(source: int, target: int, start: int, stop: int, offset: int) -> None:
    """Copy `start` to `stop` of one descriptor to `offset` of another, within the kernel where it can."""
    while start < stop:
        step = min(COPY_STEP, stop - start)
        copied = _copy_in_kernel(source, target, step, start, offset)
        if not copied:
            data = os.pread(source, step, start)
            if not data:
                raise Conflict.of(None, "the file was cut meanwhile")
            write_at(target, data, offset)
            copied = len(data)
        start += copied
        offset += copied


def _copy_in_kernel(source: int, target: int, size: int, start: int, offset: int) -> int:
    """Return how many bytes the kernel copied; none where it does not do that."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, size, start, offset)
    except OSError:
        return 0


def write_at(fd: int, data: Part, offset: int) -> None:
    """Write all of the data."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
