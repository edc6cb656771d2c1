"""Staging: makes staging files and takes over those of others, and keeps what transactions need beside a file.

Transactions need before-images, locks that can be parked, and journals that grow. A before-image lies beside its file.
Both are on the same disk, whose own order of changes holds for both: if the file was changed, its before-image is
there. All functions here block and run in worker threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from aiofs.backends.osfiles import locks
from aiofs.backends.osfiles.attributes import belong, keep_attributes, owner_of
from aiofs.backends.osfiles.locks import holder_of, try_lock
from aiofs.backends.osfiles.names import (
    BEFORE,
    LEASED,
    NUMBER,
    PART,
    READY,
    READY_SHARED,
    STAGE,
    check_token,
    digest_of,
    digest_of_lock,
    parents_of,
)
from aiofs.backends.osfiles.places import EXISTING, NO_LINK, check_regular, entry_of, is_file, sync_name, version_of
from aiofs.backends.osfiles.writing import CLOSED, MARKS, STAMPS, Stage, copy_bytes, prune_folders, write_at
from aiofs.errors import AccessDenied, Conflict, NotAFolder, NotFound, StoreMissing
from aiofs.locks import locked, next_number
from aiofs.names import path_of_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiofs.backends.osfiles.names import Root
    from aiofs.backends.osfiles.places import Place
    from aiofs.driver import Entry

T = TypeVar("T")
_TRIES = 100
_DIGITS = 20
_LARGEST_NUMBER = 1 << 62
"""No clock leads to a larger number: somebody else wrote that."""


def new_stage(root: Root, path: str) -> Stage:
    """Make the staging file of `path`, and its folders, in the place of one that a dead writer left.

    :raises Locked: if another writer has it, or an unfinished transaction will write the file.
    :raises AccessDenied: if what has its name is not of aiofs, or may not be removed.
    """
    return _new_stage(root, path, _stage_with_lock)


def new_leased_stage(root: Root, path: str) -> Stage:
    """Make the staging file of a path whose lock another file system keeps."""
    return _new_stage(root, path, _stage_under_lease)


def _new_stage(root: Root, path: str, make: Callable[[Root, Place], Stage | None]) -> Stage:
    def attempt() -> Stage | None:
        place = root.find(path, create=True)
        try:
            stage = make(root, place)
        except FileNotFoundError:
            place.close()
            raise
        except BaseException:
            prune_folders(root, place)
            raise
        if stage is None:
            place.close()
        return stage

    return _in_folder_that_lasts(path, attempt)


def _in_folder_that_lasts(path: str, attempt: Callable[[], T | None]) -> T:
    """Return what an attempt to make a file returns. Try again after `None`, and after a folder was removed meanwhile.

    :raises OSError: if the folder was removed each time.
    """
    for _ in range(_TRIES):
        try:
            done = attempt()
        except StoreMissing:
            raise
        except FileNotFoundError:
            continue
        if done is not None:
            return done
    raise OSError(errno.EAGAIN, "its folder keeps being removed", path)


def take_over(root: Root, token: Mapping[str, Any], *, growing: bool = False) -> Stage | None:
    """Take over the prepared write of a token; with `growing`, also a staging file that a killed writer left.

    Returns `None` if there is none any more. Its folders are removed with it if they are empty then.

    :raises Locked: if the writer is alive.
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
    """Lock the path, and make its staging file; `None` if the caller has to try again."""
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
    """Take over a prepared write that its process has locked while it lives."""
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
    """Take over a prepared write whose process has the lock of the file, another file, while it lives."""
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
    """Take over the lock of a killed writer that had prepared nothing, with an empty staging file."""
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

    :raises IsAFolder: if it is not a regular file.
    """
    target = place.status()
    if target is not None:
        check_regular(place.path, target)
    return target


def take_named_lock(root: Root, path: str, *, durable: bool, numbered: bool) -> Stage:
    """Take the lock with a name for which `path` stands, and with `numbered` give it the next number.

    Its files have one folder, and are named by a digest: `a` and `a/b` can both be locks.

    :raises Locked: if somebody else has it.
    """
    stage = new_stage(root.whole(), path_of_lock(digest_of_lock(path)))
    stage.path = path
    try:
        if numbered:
            stage.number = _take_number(stage.place, durable=durable)
    except BaseException:
        stage.release_now()
        raise
    return stage


def _take_number(place: Place, *, durable: bool) -> int:
    """Return the next number of the lock at this place, which the caller holds, and write it beside the lock."""
    folder = locks.folder_status(place)
    mode = locks.mode_for_folder_writers(folder)  # other users may be the next holders
    name = place.beside(NUMBER + digest_of(place.leaf))
    try:
        fd = os.open(name, os.O_RDWR | EXISTING, dir_fd=place.fd)
    except FileNotFoundError:
        fd = os.open(name, locks.NEW, mode, dir_fd=place.fd)
        belong(fd, folder, mode)
    try:
        check_regular(place.path, os.fstat(fd))
        found = os.read(fd, _DIGITS)
        number = next_number(int(found) if found.isdigit() and int(found) <= _LARGEST_NUMBER else None)
        write_at(fd, b"%0*d" % (_DIGITS, number), 0)
        if durable:
            os.fsync(fd)
            place.sync_way()
            if place.fd is not None:
                sync_name(place.fd, name, fd)
    finally:
        os.close(fd)
    return number


def check_not_locked(root: Root, place: Place, held: set[str]) -> None:
    """Raise `Locked` if somebody else than the holder of `held` writes the file; remove what a dead writer left."""
    if place.path in held:
        return
    locks.check_free(place)
    if place.status(place.beside(PART + digest_of(place.leaf))) is not None:
        new_stage(root, place.path).release_now()


def _is_meant(status: os.stat_result | None, token: Mapping[str, Any]) -> TypeGuard[os.stat_result]:
    """Whether the file with this status is the prepared write of a token."""
    if status is None or not is_file(status):
        return False
    if "stage" in token:
        return bool(version_of(status) == token["stage"])
    return not STAMPS or token.get("fence") == f"{status.st_ino:x}-{status.st_mtime_ns % MARKS:x}"


def keep_image(root: Root, path: str, tag: str, *, durable: bool) -> None:
    """Keep the file as a before-image: as a second name, or as a copy where the system has no hard links."""
    try:
        with root.place(path) as place:
            if not is_file(place.status()):
                return
            image = _image_of(place, tag)
            try:
                os.link(place.leaf, image, src_dir_fd=place.fd, dst_dir_fd=place.fd, follow_symlinks=False)
            except FileExistsError:
                _check_kept(place, image)  # it may not be on the disk yet: its writer may have been killed
            except FileNotFoundError:
                return  # somebody removed the file in this moment
            except (OSError, NotImplementedError):
                _copy_image(place, image, durable=durable)
            if durable:
                place.sync()
    except (NotFound, NotAFolder):
        return


def open_image(root: Root, path: str, tag: str) -> int:
    """Return a descriptor of the before-image, open for reading.

    :raises NotFound: if there is no before-image.
    """
    with root.place(path) as place:
        try:
            return os.open(_image_of(place, tag), os.O_RDONLY | EXISTING, dir_fd=place.fd)
        except FileNotFoundError as error:
            raise NotFound.of(path, "what the file was before is not kept") from error


def restore_image(stage: Stage, tag: str, match: str, *, durable: bool) -> Entry:
    """Give the before-image the file's name back.

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
    """Remove the before-image, and folders that have no file left."""
    with suppress(NotFound, NotAFolder):
        with root.place(path) as place, suppress(FileNotFoundError):
            os.unlink(_image_of(place, tag), dir_fd=place.fd)
        root.prune(parents_of(path))


def park(stage: Stage) -> None:
    """Leave a staging file under the name of a prepared write, which keeps writers out when nobody holds it."""
    stage.stamp()
    stage.make_ready(durable=False)
    stage.leave()


def unpark(root: Root, path: str, fence: str) -> Stage | None:
    """Take a parked staging file back: it is locked before it gets its old name, so no writer comes between."""
    stage = take_over(root, {"path": path, "fence": fence})
    if stage is not None:
        stage.make_growing()
    return stage


def append(root: Root, path: str, data: bytes, *, durable: bool) -> None:
    """Write the data at the end of the file, which is made if it is missing."""

    def attempt() -> int:
        with root.place(path, create=True, follow=False) as place:
            return _append(place, data, durable=durable)

    _in_folder_that_lasts(path, attempt)


def _append(place: Place, data: bytes, *, durable: bool) -> int:
    folder = locks.folder_status(place)
    mode = locks.mode_for_folder_writers(folder)  # a journal may have the bytes of files that others may not read
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
    return len(data)


def _image_of(place: Place, tag: str) -> str:
    digest = hashlib.blake2b(f"{tag}\0{os.path.basename(place.leaf)}".encode(), digest_size=16).hexdigest()
    return place.beside(BEFORE + digest)


def _check_kept(place: Place, image: str) -> None:
    """Raise `AccessDenied` if the before-image that exists belongs neither to the file's owner nor to us."""
    kept, status = place.status(image), place.status()
    if kept is None or status is None or not hasattr(os, "geteuid"):
        return
    if not is_file(kept) or kept.st_uid not in {status.st_uid, os.geteuid()}:
        leaf = os.path.basename(image)
        raise AccessDenied.of(
            place.path, f"{leaf!r} beside this file is of {owner_of(kept)}, and not a before-image of aiofs: remove it"
        )


def _copy_image(place: Place, image: str, *, durable: bool) -> None:
    growing = f"{image}-growing"
    source = os.open(place.leaf, os.O_RDONLY | EXISTING, dir_fd=place.fd)
    try:
        with suppress(FileNotFoundError):
            os.unlink(growing, dir_fd=place.fd)  # a process was killed while it copied
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
