"""Partial writes: new bytes in a file beside their target, whose name says how many of them are safe.

A checkpoint brings the bytes to the disk, and then renames the file. So a length in a name counts only bytes that are
on the disk. The file is not a lock: while somebody writes, the lock of the path keeps others out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aiofs.backends.osfiles import locks
from aiofs.backends.osfiles.attributes import owner_of
from aiofs.backends.osfiles.names import PARTIAL, digest_of, parents_of
from aiofs.backends.osfiles.places import close_folder, errors_about, readable
from aiofs.backends.osfiles.writing import Stage, write_at
from aiofs.driver import Entry, Part, PartialSession
from aiofs.errors import AccessDenied, Conflict, Damaged
from aiofs.partials import partial_gone, token_of
from aiofs.properties import PERMISSIONS, permissions_of
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.osfiles.names import Root
    from aiofs.backends.osfiles.places import Place

STORE = "local"


class OSPartial(PartialSession):
    """A partial write of local files. `lock` is the staging file that keeps others out, `file` has the bytes."""

    def __init__(self, lock: Stage, file: Stage, identity: str, match: str, *, durable: bool) -> None:
        self.token: Mapping[str, Any] = token_of(STORE, lock.path, identity)
        self._lock = lock
        self._file = file
        self._id = identity
        self._match = match
        self._durable = durable
        self._size = 0

    def grant(self, asked: str | None) -> None:
        """Give the published file the permissions that were asked for when the write began, as octal digits."""
        if asked is not None:
            self.token = {**self.token, PERMISSIONS: asked}
            self._file.grant(permissions_of(asked))

    def continue_from(self, size: int) -> None:
        """Continue behind the bytes that were safe."""
        self._size = size
        self.sent: int = size
        self.kept: bool = True

    async def write(self, part: Part) -> None:
        """Take the next part."""
        await hop(self._write, part)

    async def keep(self, rest: Part) -> bool:
        """Bring the bytes to the disk, and then the name that counts them."""
        await hop(self._keep, rest)
        self.kept = True
        return True

    async def commit(self) -> Entry:
        """Publish."""
        entry = await hop(self._commit)
        await hop(self._file.release_now)
        return entry

    async def abort(self) -> None:
        """Remove the file with the bytes."""
        self._lock.place.made = parents_of(self._lock.path)
        await hop(self._file.release_now)

    async def leave(self) -> None:
        """Close the file with the bytes."""
        await hop(self._file.leave)

    def abandon(self) -> None:
        """Close the file with the bytes, and remove it if nothing was kept."""
        if self.kept:
            self._file.leave()
        else:
            self._file.release_now()

    def _write(self, part: Part) -> None:
        with errors_about(self._lock.path):
            write_at(self._file.fd, part, self._size)
            self._size += len(part)

    def _keep(self, rest: Part) -> None:
        file = self._file
        with errors_about(self._lock.path):
            self._check_lock()
            write_at(file.fd, rest, self._size)
            self._size += len(rest)
            file.stamp()
            if self._durable:
                os.fsync(file.fd)
                file.place.sync_way()
            file.rename(file.place.beside(_kind(self._id, self._size) + digest_of(file.place.leaf)))
            if self._durable:
                file.place.sync()

    def _commit(self) -> Entry:
        with errors_about(self._lock.path):
            self._check_lock()
            self._file.seal(durable=self._durable)
            return self._file.publish(self._match, durable=self._durable)

    def _check_lock(self) -> None:
        if not self._lock.is_current():
            raise Conflict.of(self._lock.path, "the lock on this file was removed; what was kept before stays")


def make_file(root: Root, path: str, identity: str, *, private: bool) -> Stage:
    """Make the file for the bytes of a new partial write. The caller has the lock of the path.

    If it is `private`, only this user can open it until it gets the permissions that were asked for.
    """
    with errors_about(path):
        place = root.find(path, create=True)
        try:
            usual = locks.staging_mode(path, place.status(), locks.folder_status(place))
            mode = locks.OURSELVES if private else usual
            fd, name = locks.make_part(place, mode, _kind(identity, 0))
            return Stage(root, place, fd, name, lock=None)
        except BaseException:
            place.close()
            raise


def find_file(root: Root, path: str, identity: str) -> tuple[Stage, int]:
    """Open the file of a partial write, cut to the bytes that are safe. Returns how many these are, too.

    :raises NotFound: if there is none any more.
    :raises Damaged: if the disk lost some of the bytes.
    """
    with errors_about(path):
        try:
            place = root.find(path)
        except FileNotFoundError as error:
            raise partial_gone(path) from error
        try:
            return _open_file(root, place, identity)
        except BaseException:
            place.close()
            raise


def _open_file(root: Root, place: Place, identity: str) -> tuple[Stage, int]:
    leaf = _leaf_of(place, identity)
    if leaf is None:
        raise partial_gone(place.path)
    name = place.beside(leaf)
    status = place.status(name)
    fd = None if status is None else locks.open_existing(place, name)
    if status is None or fd is None:
        raise partial_gone(place.path)
    try:
        if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
            raise AccessDenied.of(
                place.path, f"this partial write belongs to {owner_of(status)}: only they can continue it"
            )
        if status.st_nlink > 1 and locks.is_named(place, place.leaf, status):  # killed while it published
            os.unlink(name, dir_fd=place.fd)
            raise partial_gone(place.path, "it was published")
        locks.check_is_ours(place, name, status)
        size = int(leaf.split("-")[3], 16)
        if os.fstat(fd).st_size < size:
            raise Damaged.of(
                place.path, f"{size} bytes of this partial write were safe, and {os.fstat(fd).st_size} are there"
            )
        os.ftruncate(fd, size)
        return Stage(root, place, fd, name, lock=None), size
    except BaseException:
        os.close(fd)
        raise


def _leaf_of(place: Place, identity: str) -> str | None:
    beginning, end = f"{PARTIAL}{identity}-", f"-{digest_of(place.leaf)}"
    folder = os.path.dirname(place.leaf) if place.fd is None else readable(place.fd)
    try:
        return next((leaf for leaf in os.listdir(folder) if leaf.startswith(beginning) and leaf.endswith(end)), None)
    finally:
        if isinstance(folder, int):
            close_folder(folder)


def _kind(identity: str, size: int) -> str:
    return f"{PARTIAL}{identity}-{size:x}-"
