"""Writing: the staging file in which new bytes grow, how it takes the file's name, and the sessions that fill it.

In a folder that one user writes alone, the staging file is the lock too. Where users share a folder, the lock is an
empty file that all of them may open, and the bytes are in a second file of the writer's own (`locks` says why). A
prepared write has another name, with `ready`. No writer takes that over: it waits for the decision of its transaction.
All functions here that are not asynchronous block, and run in worker threads.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.osfiles import locks
from aiofs.backends.osfiles.attributes import (
    Permissions,
    belong,
    give_permissions,
    keep_attributes,
    permissions_of,
)
from aiofs.backends.osfiles.locks import holder_of, try_lock
from aiofs.backends.osfiles.names import FORMAT, PART, READY, READY_SHARED, STAGE, digest_of, parents_of
from aiofs.backends.osfiles.places import EXISTING, close_folder, entry_of, errors_about, open_folder, version_of
from aiofs.driver import ABSENT, Entry, Lease, Part, WriteSession
from aiofs.errors import AlreadyExists, Conflict
from aiofs.kit import check_match
from aiofs.locks import locked
from aiofs.threads import hop

if TYPE_CHECKING:
    from aiofs.backends.osfiles.attributes import Ownership
    from aiofs.backends.osfiles.names import Root
    from aiofs.backends.osfiles.places import Place

STAMPS = os.utime in os.supports_fd
MARKS = 1_000_000
"""The nanoseconds in a millisecond: each staging file has one of them in its time, which tells it from others."""
CLOSED = -1
COPY_STEP = 1 << 24


class Stage(Lease):
    """An open staging file, and the right to write the file that it will replace.

    If it is `leased`, another file system keeps that right.
    """

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
        """The new bytes; `CLOSED` if they are of another user, as they only need to be renamed."""
        self.name: str = name
        self.ready: bool = ready
        self._root = root
        self._lock = lock  # the lock, if that is another file
        self._leased = leased  # another file system keeps the lock, which may be lost at any moment
        self._published = False
        self._dropped = False
        status = place.status(name) if fd == CLOSED else os.fstat(fd)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place.path)
        self._status = status
        self._mark = status.st_mtime_ns % MARKS if ready else int(clock.token(8), 16) % MARKS
        self.fence: str = self._fence()
        self._like: Permissions | None = None  # those that were asked for, or of the file of which this is a copy
        self._owner: int | None = None  # the user who prepared this write, if a journal says it

    async def confirm(self) -> bool:
        """Return whether the lock was neither released nor removed by somebody."""
        return not self._dropped and await hop(self.is_current)

    def is_current(self) -> bool:
        """Whether the staging file and the lock still have their names: else somebody removed or published them."""
        if self._lock is not None and not locks.is_named(self.place, locks.lock_name(self.place), os.fstat(self._lock)):
            return False
        return locks.is_named(self.place, self.name, self._status)

    def empty(self) -> None:
        """Remove all bytes. If the file to replace exists by now, go on in one that only this user can open."""
        with errors_about(self.path):
            if self._status.st_mode & locks.OTHERS and self.place.status() is not None:
                self.close_to_others()
            os.ftruncate(self.fd, 0)
            self._like = None

    def copy_permissions(self, source: int) -> None:
        """Give the published file, and the staging file until then, the permissions of the open file `source`."""
        with errors_about(self.path):
            self._like = permissions_of(source)
            self.close_to_others(but_for=self._like.mode)

    def set_ownership(self, ownership: Ownership) -> None:
        """Give the published file this owner and these permissions, and the folders made for it this owner."""
        with errors_about(self.path):
            self._like, self._owner = ownership.permissions, ownership.owner
            self.close_to_others(but_for=ownership.permissions.mode)
            for folder in self.place.made:
                with self._root.place(folder, follow=False) as made:
                    give_folder(made, ownership.owner)

    def permissions(self) -> Permissions:
        """Return the permissions that a new file of this staging file gets."""
        return permissions_of(self.fd) if self._like is None else self._like

    def grant(self, mode: int, *, new_only: bool = False) -> None:
        """Give the published file this mode; with `new_only`, only if it replaces no file."""
        with errors_about(self.path):
            if not new_only or self.place.status() is None:
                self._like = Permissions(mode, None)
                self.close_to_others(but_for=mode)

    def close_to_others(self, *, but_for: int = 0) -> None:
        """If users whom the mode `but_for` does not let in may have opened the file, go on in a new one.

        The new one has another fence.
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
        """Give the staging file the time, owner, permissions and attributes to publish; sync it if `durable`.

        Owner and attributes are those of the replaced file, and so are the permissions, unless others were asked for.
        A copy has those of its source.
        """
        self.stamp()
        replaced = self.place.status()
        if self._like is not None:
            folder = locks.folder_status(self.place)
            # A journal may be forged, so its owner counts only where the folder belongs to the same user.
            if replaced is None and self._owner == folder.st_uid:
                belong(self.fd, folder, locks.OURSELVES)
            give_permissions(self.fd, self._like, self.place, replaced)
        elif replaced is not None:
            keep_attributes(self.fd, self.place, replaced)
        if durable:
            os.fsync(self.fd)

    def stamp(self) -> None:
        """Set the time, more finely than the kernel's clock so that versions differ. Its last digits are the mark."""
        if STAMPS:
            now = int(clock.now().timestamp() * 1000) * MARKS + self._mark
            os.utime(self.fd, ns=(now, now))

    def make_ready(self, *, durable: bool) -> None:
        """Change to the name of a prepared write."""
        kind = READY if self._lock is None else READY_SHARED
        if durable:
            self.place.sync_way()
        self.rename(self.place.beside(kind + digest_of(self.place.leaf)))
        self.ready = True
        if durable:
            self.place.sync()

    def make_growing(self) -> None:
        """Change back to the name of a staging file that is not prepared."""
        kind = STAGE if self._lock is None else PART
        self.rename(self.place.beside(kind + digest_of(self.place.leaf)))
        self.ready = False

    def publish(self, match: str | None, *, durable: bool) -> Entry:
        """Give the staging file the file's name in one step.

        :raises Conflict: if the staging file, and so the lock, was lost, or `match` is not the file's version.
        :raises AlreadyExists: if there must be no such file and there is one.
        """
        if not self.is_current():
            raise Conflict.of(self.path, "the lock on this file was removed; nothing was overwritten")
        place = self.place
        status = self._now()
        if status.st_nlink > 1 and locks.is_named(place, place.leaf, status):
            os.unlink(self.name, dir_fd=place.fd)  # its writer was killed between linking and unlinking
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
        """Remove the staging file, also a prepared one; sync that if `durable`. Harmless when done twice."""
        with errors_about(self.path):
            if not self._published and not self._dropped and self.is_current():
                os.unlink(self.name, dir_fd=self.place.fd)
                self._published = True
                if durable:
                    self.place.sync()

    def release_now(self) -> None:
        """Unlock, and remove the staging file unless it was published or prepared. Harmless when done twice."""
        if self._dropped:
            return
        self._dropped = True
        with errors_about(self.path), ExitStack() as after:
            after.callback(prune_folders, self._root, self.place)
            after.callback(self._close)
            if not self._published and not self.ready and self.is_current():
                os.unlink(self.name, dir_fd=self.place.fd)

    def leave(self) -> None:
        """Unlock, and leave the staging file where it is. Harmless when done twice."""
        if not self._dropped:
            self._dropped = True
            with errors_about(self.path), ExitStack() as after:
                after.callback(self.place.close)
                self._close()

    async def release(self) -> None:
        """Unlock, and remove the staging file unless it was published or prepared."""
        if not self._dropped:
            await hop(self.release_now)

    def abandon(self) -> None:
        """Unlock and remove the staging file."""
        self.release_now()

    def token(self) -> dict[str, Any]:
        """Return what tells a prepared write from others."""
        return {"path": self.path, "stage": version_of(self._now())}

    def _fence(self) -> str:
        return f"{self._status.st_ino:x}-{self._mark:x}"

    def _now(self) -> os.stat_result:
        return self._status if self.fd == CLOSED else os.fstat(self.fd)

    def _close(self) -> None:
        """Close the bytes, and release the lock if that is another file."""
        fd, self.fd = self.fd, CLOSED
        lock, self._lock = self._lock, None
        with ExitStack() as after:
            if lock is not None:
                after.callback(locks.release, self.place, locks.lock_name(self.place), lock)
            if fd != CLOSED:
                os.close(fd)

    def _link(self) -> bool:
        """Link the file to its name, which must not exist yet; return False if the system has no hard links."""
        try:
            os.link(
                self.name, self.place.leaf, src_dir_fd=self.place.fd, dst_dir_fd=self.place.fd, follow_symlinks=False
            )
        except FileExistsError:
            raise AlreadyExists.of(self.path) from None
        except (OSError, NotImplementedError):
            return False  # `publish` checked the name under the lock, which must do
        return True

    def _claim(self) -> None:
        """Give the staging file a name that nobody else knows, so that nothing else can be published in its place.

        :raises Conflict: if it is not this stage's file: another writer got the lease meanwhile.
        """
        name = self.name
        self.rename(f"{name}-{clock.token(8)}")
        if not self.is_current():
            self.rename(name)
            raise Conflict.of(self.path, "the lock on this file was lost; nothing was overwritten")

    def rename(self, name: str) -> None:
        """Give the staging file another name."""
        os.replace(self.name, name, src_dir_fd=self.place.fd, dst_dir_fd=self.place.fd)
        self.name = name


class OSSession(WriteSession):
    """New bytes in a staging file."""

    def __init__(self, stage: Stage, match: str | None, *, durable: bool, owns_stage: bool = False) -> None:
        self._stage = stage
        self._match = match
        self._durable = durable
        self._owns_stage = owns_stage
        self._size = 0

    async def write(self, part: Part) -> None:
        """Take the next part."""
        await hop(self._write, part, self._size)
        self._size += len(part)

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were written."""
        await hop(self._write, data, offset)

    async def resize(self, size: int) -> None:
        """Cut off what was written from `size` on."""
        await hop(self._resize, size)
        self._size = size

    async def copy_range(self, start: int, stop: int) -> None:
        """Append bytes of the version that is to be replaced, copied within the kernel."""
        await hop(self._copy_range, start, stop)
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Bring the bytes to the disk under the name of a prepared write."""
        token = await hop(self._prepare)
        return {**token, "version": token["stage"], "match": self._match, "format": FORMAT}

    async def commit(self) -> Entry:
        """Publish."""
        entry = await hop(self._commit)
        if self._owns_stage:
            await self._stage.release()
        return entry

    async def abort(self) -> None:
        """Remove a prepared write. Releasing the lease removes what is not prepared."""
        try:
            if self._stage.ready:
                await hop(partial(self._stage.discard, durable=self._durable))
        finally:
            if self._owns_stage:
                await self._stage.release()

    async def leave(self) -> None:
        """Unlock the staging file if this session took it over, and leave it where it is."""
        if self._owns_stage:
            await hop(self._stage.leave)

    def _write(self, data: Part, offset: int) -> None:
        with errors_about(self._stage.path):
            write_at(self._stage.fd, data, offset)

    def _resize(self, size: int) -> None:
        with errors_about(self._stage.path):
            os.ftruncate(self._stage.fd, size)

    def _prepare(self) -> dict[str, Any]:
        with errors_about(self._stage.path):
            self._stage.seal(durable=self._durable)
            self._stage.make_ready(durable=self._durable)
            return self._stage.token()

    def _commit(self) -> Entry:
        with errors_about(self._stage.path):
            if not self._stage.ready:
                self._stage.seal(durable=self._durable)
            return self._stage.publish(self._match, durable=self._durable)

    def _copy_range(self, start: int, stop: int) -> None:
        place = self._stage.place
        with errors_about(place.path):
            base = os.open(place.leaf, os.O_RDONLY | EXISTING, dir_fd=place.fd)
            try:
                check_match(place.path, self._match, version_of(os.fstat(base)))
                copy_bytes(base, self._stage.fd, start, stop, self._size)
            finally:
                os.close(base)


class OSRemoval(OSSession):
    """A removal. Its staging file is empty and only keeps other writers out until the decision."""

    async def prepare(self) -> dict[str, Any]:
        """Bring the empty staging file to the disk under the name of a prepared write."""
        return {**await super().prepare(), "version": ABSENT, "removal": True}

    def _commit(self) -> Entry:
        with errors_about(self._stage.path):
            return self._stage.remove_file(self._match, durable=self._durable)


def give_folder(made: Place, owner: int) -> None:
    """Give a new folder to the owner of the folder above it, if that owner is `owner`."""
    if made.fd is None or (above := os.fstat(made.fd)).st_uid != owner:
        return
    fd = open_folder(made.leaf, made.fd)
    try:
        belong(fd, above, stat.S_IMODE(os.fstat(fd).st_mode))
    finally:
        close_folder(fd)


def prune_folders(root: Root, place: Place) -> None:
    """Close the place, and remove the folders that were made for it if nothing is in them."""
    place.close()
    root.prune(place.made)


def copy_bytes(source: int, target: int, start: int, stop: int, offset: int) -> None:
    """Copy the bytes `start` to `stop` of one open file to `offset` of another, within the kernel where it can."""
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
    """Return how many bytes the kernel copied; 0 if it cannot."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, size, start, offset)
    except OSError:
        return 0


def write_at(fd: int, data: Part, offset: int) -> None:
    """Write all of the data at this offset."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
