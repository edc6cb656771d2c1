"""The lock of a file: a file beside it that its writer made and has locked with flock, or with msvcrt on Windows.

The lock ends with its process. If a writer finds such a file and nobody has it locked, the one who made it is dead:
the writer removes it and makes a new one. It never uses what another user left or planted. After locking, it checks
that the name still leads to its file: if not, somebody removed the file in between, and it starts again.

Where a folder is written by one user alone, the lock may hold the new bytes as well. Where others may write the folder
(its mode lets them, or it belongs to somebody else), they must be able to open the lock and must not be able to open
the bytes, so these are two files. All functions here block and run in worker threads.
"""

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

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK
EVERYBODY, OURSELVES, OTHERS = 0o666, 0o600, 0o077
_TRIES = 100
_FEWEST_LOCKS, _MOST_LOCKS = 8, 500
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

if sys.platform == "win32":
    import msvcrt

    def try_lock(fd: int) -> bool:
        """Lock the open file; return False if somebody else has it locked."""
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(fd: int) -> bool:
        """Lock the open file; return False if somebody else has it locked.

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
    """Return the process that has the open file locked, where the system says it."""
    status = os.fstat(fd)
    with suppress(OSError), open("/proc/locks", encoding="utf-8") as table:
        for line in table:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].endswith(f":{status.st_ino}"):  # noqa: PLR2004
                return f"process {words[4]}"
    return None


def most_locks() -> int:
    """Return how many locks a transaction may hold open: each takes two descriptors, and the program needs most."""
    try:
        import resource  # noqa: PLC0415 -- not on Windows
    except ImportError:
        return _MOST_LOCKS
    return max(_FEWEST_LOCKS, min(_MOST_LOCKS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


def folder_status(place: Place) -> os.stat_result:
    """Return the status of the folder that the file is in."""
    return os.fstat(place.fd) if place.fd is not None else os.stat(os.path.dirname(place.leaf))


def is_shared(folder: os.stat_result) -> bool:
    """Whether anybody but this user may write the folder, so that lock and bytes need two files."""
    return hasattr(os, "geteuid") and bool(folder.st_mode & _OTHERS_WRITE or folder.st_uid != os.geteuid())


def mode_for_folder_writers(folder: os.stat_result) -> int:
    """Return the mode of a file that is only for users who may write its folder."""
    mode = OURSELVES
    for writes, both in ((stat.S_IWGRP, stat.S_IRGRP | stat.S_IWGRP), (stat.S_IWOTH, stat.S_IROTH | stat.S_IWOTH)):
        if folder.st_mode & writes:
            mode |= both
    return mode


def staging_mode(path: str, target: os.stat_result | None, folder: os.stat_result) -> int:
    """Return the mode of a new staging file, which never grants more than the published file will.

    Files of aiofs's own, such as those beside a journal, are for users who may write their folder.
    """
    if target is not None:
        return OURSELVES
    return mode_for_folder_writers(folder) if is_reserved(path) else EVERYBODY


def lock_name(place: Place) -> str:
    """Return the name of the file's lock."""
    return place.beside(STAGE + digest_of(place.leaf))


def make_lock(place: Place, name: str, mode: int, *, shared: bool) -> int | None:
    """Make the lock of the file and return it, open and locked; `None` if the caller has to try again.

    :raises Locked: if another writer has it.
    :raises AccessDenied: if something else has its name and cannot be removed.
    """
    try:
        fd = os.open(name, NEW, mode, dir_fd=place.fd)
    except FileExistsError:
        remove_dead(place, name)
        return None
    taken = False
    try:
        if shared:
            # The file is empty, and whatever the umask is, others must be able to see whether it is locked.
            os.fchmod(fd, EVERYBODY)
        if not try_lock(fd):
            raise locked(place.path, holder_of(fd))  # somebody took it for one of a dead writer, and will remove it
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
    """Remove the lock of a dead writer.

    :raises Locked: if the writer lives, or we cannot find out.
    :raises AccessDenied: if it is not a lock of aiofs, or may not be removed.
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
    """Take the lock of a file whose new bytes are in another one.

    :raises Locked: if another writer has it.
    """
    for _ in range(_TRIES):
        lock = make_lock(place, name, OURSELVES, shared=is_shared(folder_status(place)))
        if lock is not None:
            return lock
    raise locked(place.path)


def release(place: Place, name: str, lock: int) -> None:
    """Remove a lock, if its name still leads to it, and close it."""
    try:
        if is_named(place, name, os.fstat(lock)):
            os.unlink(name, dir_fd=place.fd)
    finally:
        os.close(lock)


def check_free(place: Place) -> None:
    """Raise `Locked` if somebody writes the file or has prepared a write; remove the lock of a dead writer."""
    check_not_prepared(place)
    with suppress(AccessDenied):
        remove_dead(place, lock_name(place))


def check_not_prepared(place: Place) -> None:
    """Raise `Locked` if a prepared write waits for its decision.

    Something else with that name is removed, as it would keep writers out for ever.

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
    """Raise `AccessDenied` if the file with this status cannot be one that aiofs made."""
    if not stat.S_ISREG(status.st_mode):
        _check_link(place, name, status)
        raise _planted(place, name, status, "is not a regular file")
    if status.st_nlink > 1:
        target = place.status()
        # A writer that is killed while it publishes leaves two names of one file.
        if target is None or not os.path.samestat(target, status):
            raise _planted(place, name, status, f"has {status.st_nlink} links")


def make_part(place: Place, mode: int, kind: str = PART) -> tuple[int, str]:
    """Make a file for the new bytes, of a lock that the caller has, and return it with its name.

    :raises AccessDenied: if something has this name already and may not be removed.
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
    """Remove a file of aiofs's own that somebody left.

    :raises AccessDenied: if the system does not let us; the error names the file and its owner.
    """
    try:
        os.unlink(name, dir_fd=place.fd)
    except FileNotFoundError:
        return
    except PermissionError as error:
        leaf = os.path.basename(name)
        raise AccessDenied.of(
            place.path,
            f"{owner_of(status)} left {leaf!r} beside this file, and the folder does not let others remove it: that "
            "user, or root, must remove it",
        ) from error


def is_named(place: Place, name: str, status: os.stat_result) -> bool:
    """Whether `name` still leads to the file with this status."""
    named = place.status(name)
    return named is not None and os.path.samestat(named, status)


def open_existing(place: Place, name: str) -> int | None:
    """Open a file for writing, else for reading, which is enough to lock it; `None` if it is gone.

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
    """Open a file as `open_existing` does.

    :raises Locked: if we may not open it, and so cannot find out whether somebody has it locked.
    """
    try:
        return open_existing(place, name)
    except PermissionError as error:
        holder = f"{owner_of(status)}, or that user left {os.path.basename(name)!r}, which we may not open to find out"
        raise locked(place.path, holder) from error


def _may_be_ready(place: Place, name: str, status: os.stat_result) -> bool:
    """Whether a regular file can be a prepared write: whether aiofs, run by its owner, can have made it."""
    folder, target = folder_status(place), place.status()
    if not is_shared(folder) or status.st_uid in {os.geteuid(), 0, folder.st_uid, (target or folder).st_uid}:
        return True
    if folder.st_mode & stat.S_ISVTX and target is not None:
        return False  # its owner could never publish it, as the target is another user's
    if os.path.basename(name).startswith(READY_SHARED):
        return True
    try:
        found = open_existing(place, name)  # 2.0.0a1 used this name only, and made its files readable for all
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
