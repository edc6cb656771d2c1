"""Sweeping: finds and removes what killed writers and unfinished transactions left, by its reserved names."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiofs import clock
from aiofs.backends.osfiles import locks
from aiofs.backends.osfiles.attributes import owner_of
from aiofs.backends.osfiles.listing import list_files
from aiofs.backends.osfiles.locks import holder_of, try_lock
from aiofs.backends.osfiles.names import (
    KNOWN,
    LEASED,
    NUMBER,
    PART,
    PARTIAL,
    READY_SHARED,
    STAGE,
    format_of,
    is_of_unknown_format,
    kind_of,
    parents_of,
)
from aiofs.backends.osfiles.places import errors_about, kind_in_words
from aiofs.errors import Locked, NotAFolder, NotFound
from aiofs.kit import unknown_format
from aiofs.locks import NUMBERS_KEPT
from aiofs.names import JOURNAL
from aiofs.partials import why_kept
from aiofs.powers import Leftover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from aiofs.backends.osfiles.names import Root
    from aiofs.backends.osfiles.places import Place

_NOWHERE = (NotFound, NotAFolder, FileNotFoundError)
_turn = threading.Lock()
"""Held while a leftover is removed. A lock and its bytes may be two leftovers, and removing either needs the lock."""


def leftovers(root: Root, prefix: str, days: timedelta) -> Iterator[Leftover]:
    """Yield all staging files, prepared and partial writes and before-images in the folder of the prefix, and below.

    `days` is for how long partial writes stay. Anything else with such a name is yielded too, because it keeps writers
    out.
    """
    for entry in list_files(root, prefix[: prefix.rfind("/") + 1], "", one_level=False, ours=True):
        kind = "journal" if entry.path.rpartition("/")[2] == JOURNAL else kind_of(entry.path)
        if kind is None:
            continue
        if (planted := _planted(root, entry.path, kind)) is not None:
            yield planted
            continue
        if _is_recent_number(entry.path, entry.modified):
            continue
        live, holder = _look(root, entry.path)
        stays = why_kept(entry.modified, days) if is_partial(entry.path) and not live else ""
        yield Leftover(entry.path, kind, entry.modified or clock.now(), holder, live, entry.path, stays)


def sweep(root: Root, path: str, days: timedelta) -> bool:
    """Remove a leftover unless somebody holds it or may hold it, or it stays; return whether it is gone."""
    if is_of_unknown_format(path) or is_leased(path):
        return False
    try:
        with _turn, errors_about(path), root.place(path, follow=False) as place:
            return _sweep_at(root, place, days)
    except _NOWHERE:
        return True


def sweep_leased(root: Root, path: str) -> bool:
    """Remove a staging file; the caller has its lock, which is kept elsewhere. Return whether it is gone."""
    with suppress(*_NOWHERE), errors_about(path), root.place(path, follow=False) as place:
        os.unlink(place.leaf, dir_fd=place.fd)
    root.prune(parents_of(path))
    return True


def is_leased(path: str) -> bool:
    """Whether this is a staging file whose lock is kept elsewhere, so that nobody here can find out who holds it."""
    return path.rpartition("/")[2].startswith(LEASED)


def is_partial(path: str) -> bool:
    """Whether this is a partial write."""
    return path.rpartition("/")[2].startswith(PARTIAL)


def _sweep_at(root: Root, place: Place, days: timedelta) -> bool:
    try:
        with _held(place) as free:
            status = place.status()
            modified = None if status is None else datetime.fromtimestamp(status.st_mtime, UTC)
            if _is_recent_number(place.path, modified) or (is_partial(place.path) and why_kept(modified, days)):
                return False
            if free and status is not None:
                locks.remove(place, place.leaf, status)
    except Locked:
        return False
    if free:
        root.prune(parents_of(place.path))
    return free


def _is_recent_number(path: str, modified: datetime | None) -> bool:
    """Whether this is the number of a lock with a name that somebody held within `NUMBERS_KEPT`."""
    leaf = path.rpartition("/")[2]
    return leaf.startswith(NUMBER) and modified is not None and clock.now() - modified < NUMBERS_KEPT


def _planted(root: Root, path: str, kind: str) -> Leftover | None:
    """Return the finding about something that aiofs cannot have made, which only a person can remove; else `None`."""
    try:
        with errors_about(path), root.place(path, follow=False) as place:
            status = place.status()
            if status is None or (stat.S_ISREG(status.st_mode) and kind != "journal"):
                return None
            target = os.readlink(place.leaf, dir_fd=place.fd) if stat.S_ISLNK(status.st_mode) else ""
    except _NOWHERE:
        return None
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    what = kind_in_words(status)
    if (number := format_of(target)) is not None:
        why = f"{unknown_format(path, 'it', number, *KNOWN).strerror}"
        return Leftover(path, f"lock of format {number}", modified, None, live=False, token=path, stays=why)
    why = f"{owner_of(status)} made it, and aiofs never uses it: remove it by hand"
    return Leftover(path, f"{what} in the place of a {kind}", modified, None, live=False, token=path, stays=why)


def _look(root: Root, path: str) -> tuple[bool, str | None]:
    """Return whether somebody holds the file, and who."""
    if is_leased(path):
        return True, "a program whose locks are kept elsewhere"
    try:
        with errors_about(path), root.place(path, follow=False) as place:
            status = place.status()
            if status is None:
                return False, None
            try:
                fd = _open(place)
            except PermissionError:  # we cannot find out whether it is held
                return True, owner_of(status)
            if fd is None:
                return False, None
            try:
                live = not try_lock(fd)
                return live, holder_of(fd) if live else None
            finally:
                os.close(fd)
    except _NOWHERE:
        return False, None


@contextmanager
def _held(place: Place) -> Iterator[bool]:
    """Hold the leftover until the block ends; the block gets whether that worked.

    :raises Locked: if somebody else holds it.
    """
    name = _lock_beside(place)
    if name is not None:
        lock = locks.take(place, name)
        try:
            yield True
        finally:
            locks.release(place, name, lock)
        return
    try:
        fd = locks.open_existing(place, place.leaf)
    except PermissionError:
        yield False
        return
    if fd is None:
        raise NotFound.of(place.path)
    try:
        yield try_lock(fd)
    finally:
        os.close(fd)


def _open(place: Place) -> int | None:
    """Open the file that the holder of the leftover has locked; `None` if that is gone."""
    return locks.open_existing(place, _lock_beside(place) or place.leaf)


def _lock_beside(place: Place) -> str | None:
    """Return the name of the lock beside a leftover, if the leftover is not locked itself."""
    leaf = os.path.basename(place.leaf)
    return (
        place.beside(STAGE + leaf.rpartition("-")[2])
        if leaf.startswith((PART, READY_SHARED, NUMBER, PARTIAL))
        else None
    )


def _renew_turn() -> None:
    global _turn  # noqa: PLW0603 -- in a forked child, no thread is left that would release the old one
    _turn = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_turn)
