"""Locks."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.attributes import owner_of
from aiofs.backends.osfiles.names import PART, READY, READY_SHARED, STAGE, check_link, digest_of
from aiofs.backends.osfiles.places import EXISTING, NO_LINK
from aiofs.errors import AccessDenied, Unsupported
from aiofs.locks import locked
from aiofs.names import is_reserved

if TYPE_CHECKING:
    from aiofs.backends.osfiles.places import Place
    from aiofs.errors import Locked

if sys.platform == "win32":
    import msvcrt

    def try_lock(fd: int) -> bool:
        """Lock the open file; return whether nobody else had it."""
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(fd: int) -> bool:
        """Lock the open file; return whether nobody else had it.

        :raises Unsupported: if the file system keeps no locks.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            reason = (
                f"the file system keeps no locks (flock: {error.strerror}): give locks=, another file system that "
                "keeps them (a RedisFileSystem, say)"
            )
            raise Unsupported(error.errno, reason) from error
        return True


def holder_of(fd: int) -> str | None:
    """Return which process locks the open file, where the system tells."""
    status = os.fstat(fd)
    with suppress(OSError), open("/proc/locks", encoding="utf-8") as table:
        for line in table:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].endswith(f":{status.st_ino}"):  # noqa: PLR2004
                return f"process {words[4]}"
    return None


NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK
EVERYBODY, OURSELVES, OTHERS = 0o666, 0o600, 0o077
_TRIES = 100
_FEWEST_LOCKS, _MOST_LOCKS = 8, 500
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def most_locks() -> int:
    """Return how many staging files may be open: two descriptors each, and most of them are for others."""
    try:
        import resource  # noqa: PLC0415 -- not on Windows
    except ImportError:
        return _MOST_LOCKS
    return max(_FEWEST_LOCKS, min(_MOST_LOCKS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


def folder_status(place: Place) -> os.stat_result:
    """Return the status of the folder that a file is in."""
    return os.fstat(place.fd) if place.fd is not None else os.stat(os.path.dirname(place.leaf))


def is_shared(folder: os.stat_result) -> bool:
    """Whether somebody else than this user may write the folder, so that lock and bytes need two files."""
    return hasattr(os, "geteuid") and bool(folder.st_mode & _OTHERS_WRITE or folder.st_uid != os.geteuid())


def mode_for_folder_writers(folder: os.stat_result) -> int:
    """Return the mode of a file that only those may see who may write its folder."""
    mode = OURSELVES
    for writes, both in ((stat.S_IWGRP, stat.S_IRGRP | stat.S_IWGRP), (stat.S_IWOTH, stat.S_IROTH | stat.S_IWOTH)):
        if folder.st_mode & writes:
            mode |= both
    return mode


def staging_mode(path: str, target: os.stat_result | None, folder: os.stat_result) -> int:
    """Return the mode of a new staging file: never more than the file to be will grant.

    Files of the package's own, such as what waits beside a journal, are for those who may write their folder.
    """
    if target is not None:
        return OURSELVES
    return mode_for_folder_writers(folder) if is_reserved(path) else EVERYBODY


def lock_name(place: Place) -> str:
    """Return what the lock of the file is called."""
    return place.beside(STAGE + digest_of(place.leaf))


def make_lock(place: Place, name: str, mode: int, *, shared: bool) -> int | None:
    """Make the lock of the file and return it open and locked; `None` if it was lost again, to be taken anew.

    :raises Locked: if another writer has it.
    :raises AccessDenied: if what lies there can be neither used nor removed.
    """
    try:
        fd = os.open(name, NEW, mode, dir_fd=place.fd)
    except FileExistsError:
        remove_dead(place, name)
        return None
    taken = False
    try:
        if shared:
            os.fchmod(fd, EVERYBODY)  # past the umask: it is empty, and others must be able to ask whether it is held
        if not try_lock(fd):
            raise locked(place.path, holder_of(fd))  # who took it for a dead one's, and is about to remove it
        taken = is_named(place, name, os.fstat(fd))
    except OSError as error:
        if not isinstance(error, BlockingIOError):
            with suppress(OSError):
                os.unlink(name, dir_fd=place.fd)
        raise
    finally:
        if not taken:
            os.close(fd)
    return fd if taken else None


def remove_dead(place: Place, name: str) -> None:
    """Remove a lock whose holder is dead.

    :raises Locked: if the holder lives, or that cannot be told.
    :raises AccessDenied: if it is no lock of ours, or may not be removed.
    """
    status = place.status(name)
    if status is None:
        return
    check_is_ours(place, name, status)
    fd = open_found(place, name, status)
    if fd is None:
        return
    try:
        if not try_lock(fd):
            raise locked(place.path, holder_of(fd))
        if is_named(place, name, os.fstat(fd)):
            remove(place, name, status)
    finally:
        os.close(fd)


def take(place: Place, name: str) -> int:
    """Take the lock of a file whose bytes are elsewhere.

    :raises Locked: if another writer has it.
    """
    for _ in range(_TRIES):
        lock = make_lock(place, name, OURSELVES, shared=is_shared(folder_status(place)))
        if lock is not None:
            return lock
    raise locked(place.path)


def release(place: Place, name: str, lock: int) -> None:
    """Remove a lock, if it still is ours, and close it."""
    try:
        if is_named(place, name, os.fstat(lock)):
            os.unlink(name, dir_fd=place.fd)
    finally:
        os.close(lock)


def check_free(place: Place) -> None:
    """Raise `Locked` if somebody writes the file, or is about to; remove the lock of somebody dead, if we may."""
    check_not_prepared(place)
    with suppress(AccessDenied):
        remove_dead(place, lock_name(place))


def check_not_prepared(place: Place) -> None:
    """Raise `Locked` if a prepared write waits for its decision.

    What lies under that name and cannot be a prepared write is removed: it must not keep writers out for ever.

    :raises AccessDenied: if it cannot be removed.
    """
    digest = digest_of(place.leaf)
    for name in (place.beside(READY + digest), place.beside(READY_SHARED + digest)):
        status = place.status(name)
        if status is None:
            continue
        if stat.S_ISREG(status.st_mode):
            if not _may_be_ready(place, name, status):
                continue
            raise _unfinished(place, name, status)
        _check_link(place, name, status)
        try:
            (os.rmdir if stat.S_ISDIR(status.st_mode) else os.unlink)(name, dir_fd=place.fd)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _planted(place, name, status, "is not a regular file, and cannot be removed") from error


def check_is_ours(place: Place, name: str, status: os.stat_result) -> None:
    """Raise `AccessDenied` if the file with this status cannot be one that this package made."""
    if not stat.S_ISREG(status.st_mode):
        _check_link(place, name, status)
        raise _planted(place, name, status, "is not a regular file")
    if status.st_nlink > 1:
        target = place.status()
        if target is None or not os.path.samestat(target, status):  # else it was published, and its writer killed then
            raise _planted(place, name, status, f"has {status.st_nlink} links")


def make_part(place: Place, mode: int, kind: str = PART) -> tuple[int, str]:
    """Make a file of our own for the new bytes, under the lock, and return it with its name.

    :raises AccessDenied: if what lies there may not be removed.
    """
    name = place.beside(kind + digest_of(place.leaf))
    while True:
        try:
            return os.open(name, NEW, mode, dir_fd=place.fd), name
        except FileExistsError:
            status = place.status(name)
            if status is not None:
                check_is_ours(place, name, status)
                remove(place, name, status)


def remove(place: Place, name: str, status: os.stat_result) -> None:
    """Remove what somebody left.

    :raises AccessDenied: naming it and its owner, if the system does not let us.
    """
    try:
        os.unlink(name, dir_fd=place.fd)
    except FileNotFoundError:
        return
    except PermissionError as error:
        leaf = os.path.basename(name)
        raise AccessDenied.of(
            place.path,
            f"{owner_of(status)} left {leaf!r} beside this file, and the folder does not let others remove it: they, "
            "or root, must remove it",
        ) from error


def is_named(place: Place, name: str, status: os.stat_result) -> bool:
    """Whether `name` still names the file with this status."""
    named = place.status(name)
    return named is not None and os.path.samestat(named, status)


def open_existing(place: Place, name: str) -> int | None:
    """Open what is there for writing, else for reading, which is enough to lock it; `None` if it is gone.

    :raises PermissionError: if we may do neither.
    """
    try:
        try:
            return os.open(name, os.O_RDWR | EXISTING, dir_fd=place.fd)
        except PermissionError:
            return os.open(name, os.O_RDONLY | EXISTING, dir_fd=place.fd)
    except FileNotFoundError:
        return None


def open_found(place: Place, name: str, status: os.stat_result) -> int | None:
    """Open what is there, as `open_existing` does.

    :raises Locked: naming its owner, if we may not: then nobody can tell us whether it is held.
    """
    try:
        return open_existing(place, name)
    except PermissionError as error:
        raise locked(
            place.path, f"{owner_of(status)}, or was left by them: we may not look at {os.path.basename(name)!r}"
        ) from error


def _may_be_ready(place: Place, name: str, status: os.stat_result) -> bool:
    """Whether a regular file can be a prepared write: not if no program of ours that this user ran can have made it."""
    folder, target = folder_status(place), place.status()
    if not is_shared(folder) or status.st_uid in {os.geteuid(), 0, folder.st_uid, (target or folder).st_uid}:
        return True
    if folder.st_mode & stat.S_ISVTX and target is not None:
        return False  # they could never publish it over a file of somebody else's
    if os.path.basename(name).startswith(READY_SHARED):
        return True
    try:
        found = open_existing(place, name)  # 2.0.0a1 had no other name, and took files for all to see
    except PermissionError:
        return False
    if found is not None:
        os.close(found)
    return True


def _unfinished(place: Place, name: str, status: os.stat_result) -> Locked:
    leaf = os.path.basename(name)
    return locked(
        place.path,
        f"an unfinished transaction of {owner_of(status)}; recover() ends it, and fsck with fix=True removes {leaf!r} "
        "if no journal knows of it",
    )


def _check_link(place: Place, name: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        with suppress(FileNotFoundError):
            check_link(place.path, os.readlink(name, dir_fd=place.fd))


def _planted(place: Place, name: str, status: os.stat_result, what: str) -> AccessDenied:
    leaf = os.path.basename(name)
    return AccessDenied.of(
        place.path, f"{leaf!r} beside this file, of {owner_of(status)}, {what}: it is not used; remove it"
    )
