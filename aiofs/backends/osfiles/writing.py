"""Writing."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from aiofs.backends.osfiles import locks
from aiofs.backends.osfiles.attributes import belong, keep_attributes, owner_of
from aiofs.backends.osfiles.errors import check_regular, errors_about
from aiofs.backends.osfiles.locks import holder_of, try_lock
from aiofs.backends.osfiles.names import (
    BEFORE,
    FORMAT,
    LEASED,
    PART,
    READY,
    READY_SHARED,
    STAGE,
    check_token,
    digest_of,
    parents_of,
)
from aiofs.backends.osfiles.places import EXISTING, NO_LINK, entry_of, is_file, version_of
from aiofs.backends.osfiles.staging import CLOSED, MARKS, STAMPS, Stage, copy_bytes, prune_folders, write_at
from aiofs.driver import ABSENT, Entry, Part, WriteSession
from aiofs.errors import AccessDenied, Conflict, NotAFolder, NotFound, StoreMissing
from aiofs.locks import locked
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiofs.backends.osfiles.names import Root
    from aiofs.backends.osfiles.places import Place
    from aiofs.driver import Entry


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
        """Overwrite bytes that were handed over."""
        await hop(self._write, data, offset)

    async def resize(self, size: int) -> None:
        """Forget what was handed over from `size` on."""
        await hop(self._resize, size)
        self._size = size

    async def copy_range(self, start: int, stop: int) -> None:
        """Take bytes of the version that is replaced, within the kernel."""
        await hop(self._copy_range, start, stop)
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Bring the bytes to the disk under a name that waits for a decision."""
        token = await hop(self._prepare)
        return {**token, "version": token["stage"], "match": self._match, "format": FORMAT}

    async def commit(self) -> Entry:
        """Publish."""
        entry = await hop(self._commit)
        if self._owns_stage:
            await self._stage.release()
        return entry

    async def abort(self) -> None:
        """Leave no trace; a staging file that does not wait goes with the lease."""
        try:
            if self._stage.ready:
                await hop(partial(self._stage.discard, durable=self._durable))
        finally:
            if self._owns_stage:
                await self._stage.release()

    async def leave(self) -> None:
        """Unlock the staging file if this session took it over, and let it wait."""
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
        with errors_about(self._stage.path):
            self._copy_base(start, stop)

    def _copy_base(self, start: int, stop: int) -> None:
        place = self._stage.place
        base = os.open(place.leaf, os.O_RDONLY | EXISTING, dir_fd=place.fd)
        try:
            if self._match is not None and version_of(os.fstat(base)) != self._match:
                raise Conflict.of(place.path, "the file was changed meanwhile")
            copy_bytes(base, self._stage.fd, start, stop, self._size)
        finally:
            os.close(base)


class OSRemoval(OSSession):
    """A removal: its staging file is empty, and only keeps other writers out until the decision."""

    async def prepare(self) -> dict[str, Any]:
        """Bring the empty staging file to the disk under the name that waits for a decision."""
        return {**await super().prepare(), "version": ABSENT, "removal": True}

    def _commit(self) -> Entry:
        with errors_about(self._stage.path):
            return self._stage.remove_file(self._match, durable=self._durable)


_TRIES = 100


def new_stage(root: Root, path: str) -> Stage:
    """Make the staging file of `path`, and its folders, in place of one that somebody dead left.

    :raises Locked: if another writer has it, or an unfinished transaction is about to write the file.
    :raises AccessDenied: if what lies there is none of ours, or may not be removed.
    """
    return _new_stage(root, path, _stage_with_lock)


def new_leased_stage(root: Root, path: str) -> Stage:
    """Make the staging file of a path whose lock another file system keeps."""
    return _new_stage(root, path, _stage_under_lease)


def _new_stage(root: Root, path: str, make: Callable[[Root, Place], Stage | None]) -> Stage:
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
                prune_folders(root, place)
            raise
        if stage is not None:
            return stage
        if place is not None:
            place.close()
    raise OSError(errno.EAGAIN, "its folder keeps being removed", path)


def take_over(root: Root, token: Mapping[str, Any], *, growing: bool = False) -> Stage | None:
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
        stage = _take_ready(root, place, token) or _take_ready_shared(root, place, token)
        if stage is None and growing:
            stage = _take_growing(root, place)
    except BaseException:
        place.close()
        raise
    if stage is None:
        prune_folders(root, place)
    return stage


def _stage_with_lock(root: Root, place: Place) -> Stage | None:
    """Lock the staging file; `None` if its name passed to another file meanwhile."""
    target = _target(place)
    folder = locks.folder_status(place)
    shared = locks.is_shared(folder)
    mode = locks.staging_mode(place.path, target, folder)
    lock = locks.make_lock(place, locks.lock_name(place), mode, shared=shared)
    if lock is None:
        return None
    fd, name, second = lock, locks.lock_name(place), None
    try:
        locks.check_not_prepared(place)
        if shared:
            second = lock
            fd, name = locks.make_part(place, mode)
        return Stage(root, place, fd, name, lock=second)
    except BaseException:
        if fd != lock:
            os.close(fd)
        locks.release(place, locks.lock_name(place), lock)
        raise


def _stage_under_lease(root: Root, place: Place) -> Stage:
    mode = locks.staging_mode(place.path, _target(place), locks.folder_status(place))
    fd, name = locks.make_part(place, mode, LEASED)
    try:
        return Stage(root, place, fd, name, lock=None, leased=True)
    except BaseException:
        os.close(fd)
        raise


def _take_ready(root: Root, place: Place, token: Mapping[str, Any]) -> Stage | None:
    """Take over a prepared write whose process has it locked while it lives."""
    name = place.beside(READY + digest_of(place.leaf))
    status = place.status(name)
    if not _is_meant(status, token):
        return None
    fd = locks.open_found(place, name, status)
    if fd is None:
        return None
    taken = False
    try:
        if not _is_meant(os.fstat(fd), token):
            return None
        if not try_lock(fd):
            raise locked(place.path, holder_of(fd))
        stage = Stage(root, place, fd, name, lock=None, ready=True)
        taken = stage.is_current()
        return stage if taken else None
    finally:
        if not taken:
            os.close(fd)


def _take_ready_shared(root: Root, place: Place, token: Mapping[str, Any]) -> Stage | None:
    """Take over a prepared write whose process has the lock of the file while it lives."""
    name = place.beside(READY_SHARED + digest_of(place.leaf))
    status = place.status(name)
    if not _is_meant(status, token):
        return None
    lock = locks.take(place, locks.lock_name(place))
    fd = CLOSED
    try:
        with suppress(PermissionError):
            found = locks.open_existing(place, name)
            if found is None:
                locks.release(place, locks.lock_name(place), lock)
                return None
            fd = found
        return Stage(root, place, fd, name, lock=lock, ready=True)
    except BaseException:
        if fd != CLOSED:
            os.close(fd)
        locks.release(place, locks.lock_name(place), lock)
        raise


def _take_growing(root: Root, place: Place) -> Stage | None:
    """Take over what a killed writer left that had prepared nothing."""
    digest = digest_of(place.leaf)
    if all(place.status(place.beside(kind + digest)) is None for kind in (STAGE, PART)):
        return None
    lock = locks.take(place, locks.lock_name(place))
    try:
        fd, name = locks.make_part(place, locks.OURSELVES)
    except BaseException:
        locks.release(place, locks.lock_name(place), lock)
        raise
    return Stage(root, place, fd, name, lock=lock)


def _target(place: Place) -> os.stat_result | None:
    """Return the status of the file that is to be replaced, if there is one.

    :raises IsAFolder: if there is something else.
    """
    target = place.status()
    if target is not None:
        check_regular(place.path, target)
    return target


def check_not_locked(root: Root, place: Place, held: set[str]) -> None:
    """Raise `Locked` if somebody not among `held` writes the file at `place`; sweep what a killed writer left."""
    if place.path in held:
        return
    locks.check_free(place)
    if place.status(place.beside(PART + digest_of(place.leaf))) is not None:
        new_stage(root, place.path).release_now()


def _is_meant(status: os.stat_result | None, token: Mapping[str, Any]) -> TypeGuard[os.stat_result]:
    """Whether the prepared staging file with this status is the one that a token tells of."""
    if status is None or not is_file(status):
        return False
    if "stage" in token:
        return bool(version_of(status) == token["stage"])
    return not STAMPS or token.get("fence") == f"{status.st_ino:x}-{status.st_mtime_ns % MARKS:x}"


def keep_image(root: Root, path: str, tag: str, *, durable: bool) -> None:
    """Give the file a second name, or copy it where the system has no hard links."""
    try:
        with root.place(path) as place:
            if not is_file(place.status()):
                return
            image = _image_of(place, tag)
            try:
                os.link(place.leaf, image, src_dir_fd=place.fd, dst_dir_fd=place.fd, follow_symlinks=False)
            except FileExistsError:
                _check_kept(place, image)  # perhaps by somebody who was killed before it was on the disk
            except FileNotFoundError:
                return  # removed in this moment
            except (OSError, NotImplementedError):
                _copy_image(place, image, durable=durable)
            if durable:
                place.sync()
    except (NotFound, NotAFolder):
        return


def restore_image(stage: Stage, tag: str, match: str, *, durable: bool) -> Entry:
    """Rename the before-image to the file's name.

    :raises Conflict: if the lock was lost, or the file is not at version `match`.
    :raises NotFound: if there is no before-image.
    """
    place = stage.place
    if not stage.is_current():
        raise Conflict.of(stage.path, "the lock on this file was removed; nothing was overwritten")
    image = _image_of(place, tag)
    status = place.status(image)
    if status is None:
        raise NotFound.of(stage.path, "what the file was before is not kept")
    place.check_match(match)
    os.replace(image, place.leaf, src_dir_fd=place.fd, dst_dir_fd=place.fd)
    if durable:
        place.sync_way()
        place.sync()
    return entry_of(stage.path, status)


def drop_image(root: Root, path: str, tag: str) -> None:
    """Remove the before-image, and the folders that have no file left."""
    with suppress(NotFound, NotAFolder):
        with root.place(path) as place, suppress(FileNotFoundError):
            os.unlink(_image_of(place, tag), dir_fd=place.fd)
        root.prune(parents_of(path))


def park(stage: Stage) -> None:
    """Leave a staging file under the name that keeps writers out without anybody holding it."""
    stage.stamp()
    stage.make_ready(durable=False)
    stage.leave()


def unpark(root: Root, path: str, fence: str) -> Stage | None:
    """Take it back; nobody else can have it in between, as it is locked before it has its old name."""
    stage = take_over(root, {"path": path, "fence": fence})
    if stage is not None:
        stage.make_growing()
    return stage


def append(root: Root, path: str, data: bytes, *, durable: bool) -> None:
    """Add to the end of a file that is made where it is missing."""
    for _ in range(_TRIES):
        try:
            return _append(root, path, data, durable=durable)
        except StoreMissing:
            raise
        except FileNotFoundError:
            continue  # the folder was pruned between making and using it: make it again
    raise OSError(errno.EAGAIN, "its folder keeps being removed", path)


def _append(root: Root, path: str, data: bytes, *, durable: bool) -> None:
    with root.place(path, create=True, follow=False) as place:
        folder = locks.folder_status(place)
        mode = locks.mode_for_folder_writers(folder)  # it may have the bytes of files that others may not see
        fd = os.open(place.leaf, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK, mode, dir_fd=place.fd)
        try:
            if not os.fstat(fd).st_size:
                belong(fd, folder, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                os.fsync(fd)
                place.sync_name(fd)
        finally:
            os.close(fd)


def _image_of(place: Place, tag: str) -> str:
    digest = hashlib.blake2b(f"{tag}\0{os.path.basename(place.leaf)}".encode(), digest_size=16).hexdigest()
    return place.beside(BEFORE + digest)


def _check_kept(place: Place, image: str) -> None:
    """Raise `AccessDenied` if the before-image that is there is neither of the file's owner nor of ours."""
    kept, status = place.status(image), place.status()
    if kept is None or status is None or not hasattr(os, "geteuid"):
        return
    if not is_file(kept) or kept.st_uid not in {status.st_uid, os.geteuid()}:
        leaf = os.path.basename(image)
        raise AccessDenied.of(
            place.path, f"{leaf!r} beside this file is of {owner_of(kept)}, and no before-image of ours: remove it"
        )


def _copy_image(place: Place, image: str, *, durable: bool) -> None:
    growing = f"{image}-growing"
    source = os.open(place.leaf, os.O_RDONLY | EXISTING, dir_fd=place.fd)
    try:
        with suppress(FileNotFoundError):
            os.unlink(growing, dir_fd=place.fd)  # of a process that was killed at this
        target = os.open(growing, locks.NEW, locks.OURSELVES, dir_fd=place.fd)
        try:
            status = os.fstat(source)
            copy_bytes(source, target, 0, status.st_size, 0)
            keep_attributes(target, place, status)
            if durable:
                os.fsync(target)
        finally:
            os.close(target)
    finally:
        os.close(source)
    os.replace(growing, image, src_dir_fd=place.fd, dst_dir_fd=place.fd)
