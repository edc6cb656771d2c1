"""Takes stages: makes a new one under the lock of its file, or takes over a prepared one or one of a killed writer."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeGuard

from aiofs.backends.osfiles import locking
from aiofs.backends.osfiles.errors import check_regular
from aiofs.backends.osfiles.flock import holder_of, try_lock
from aiofs.backends.osfiles.names import LEASED, PART, READY, READY_SHARED, STAGE, check_token, digest_of, parents_of
from aiofs.backends.osfiles.place import is_file, version_of
from aiofs.backends.osfiles.staging import CLOSED, MARKS, STAMPS, Stage, drop_folders
from aiofs.errors import NotAFolder, NotFound, StoreMissing
from aiofs.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiofs.backends.osfiles.place import Place
    from aiofs.backends.osfiles.root import Root

_TRIES = 100


def take(root: Root, path: str) -> Stage:
    """Make the staging file of `path`, and its folders, in place of one that somebody dead left.

    :raises Locked: if another writer has it, or an unfinished transaction is about to write the file.
    :raises AccessDenied: if what lies there is none of ours, or may not be removed.
    """
    return _make(root, path, _take_at)


def under_lease(root: Root, path: str) -> Stage:
    """Make the staging file of a path whose lock another file system keeps."""
    return _make(root, path, _make_at)


def _make(root: Root, path: str, make: Callable[[Root, Place], Stage | None]) -> Stage:
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
        drop_folders(root, place)
    return stage


def _take_at(root: Root, place: Place) -> Stage | None:
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
        return Stage(root, place, fd, name, lock=second)
    except BaseException:
        if fd != lock:
            os.close(fd)
        locking.drop(place, locking.lock_of(place), lock)
        raise


def _make_at(root: Root, place: Place) -> Stage:
    mode = locking.first_mode(place.path, _target(place), locking.folder_of(place))
    fd, name = locking.make_part(place, mode, LEASED)
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
    fd = locking.open_found(place, name, status)
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
    lock = locking.take(place, locking.lock_of(place))
    fd = CLOSED
    try:
        with suppress(PermissionError):
            found = locking.open_existing(place, name)
            if found is None:
                locking.drop(place, locking.lock_of(place), lock)
                return None
            fd = found
        return Stage(root, place, fd, name, lock=lock, ready=True)
    except BaseException:
        if fd != CLOSED:
            os.close(fd)
        locking.drop(place, locking.lock_of(place), lock)
        raise


def _take_growing(root: Root, place: Place) -> Stage | None:
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
    return Stage(root, place, fd, name, lock=lock)


def _target(place: Place) -> os.stat_result | None:
    """Return the status of the file that is to be replaced, if there is one.

    :raises IsAFolder: if there is something else.
    """
    target = place.status()
    if target is not None:
        check_regular(place.path, target)
    return target


def refuse_locked(root: Root, place: Place, held: set[str]) -> None:
    """Raise `Locked` if somebody not among `held` writes the file at `place`; sweep what a killed writer left."""
    if place.path in held:
        return
    locking.check_free(place)
    if place.status(place.beside(PART + digest_of(place.leaf))) is not None:
        take(root, place.path).drop()


def _is_meant(status: os.stat_result | None, token: Mapping[str, Any]) -> TypeGuard[os.stat_result]:
    """Whether the prepared staging file with this status is the one that a token tells of."""
    if status is None or not is_file(status):
        return False
    if "stage" in token:
        return bool(version_of(status) == token["stage"])
    return not STAMPS or token.get("fence") == f"{status.st_ino:x}-{status.st_mtime_ns % MARKS:x}"
