"""Opening for reading without a thread, where the kernel has the whole path in memory.

A path is first opened as a mere place (O_PATH, RESOLVE_CACHED): that touches no disk, no network, and wakes no FIFO.
Only a regular file on a device known to be local is then opened in earnest, through /proc. Anything else, and
any failure, is left to a thread.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.localio.devices import Device, known_device
from aiofs.localio.fresh import Fresh, is_simple
from aiofs.localio.lately import Lately
from aiofs.localio.opening import READ_MODES, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.localio.linux import How
    from aiofs.localio.turns import Turn

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)

Found = tuple[int, Device, int]
"""A descriptor, the device and the size of a file."""


def open_cached(request: Request, turn: Turn) -> Fresh | None:
    """Open for reading, on the loop; None where only a thread can do it, or tell why it cannot be done."""
    file = request.file
    if request.mode not in READ_MODES or not is_simple(request):
        return None
    opener = _opener.get()
    if opener is None:
        return None
    path = file if type(file) is str else os.fspath(file)
    found = opener.open(path)
    if found is None:
        return None
    sys.audit("open", path, request.mode, READ)
    return Fresh(found, request, path, turn)


def open_below(folder: str, parts: Sequence[str]) -> tuple[int, Device] | None:
    """Open a regular file for reading, on the loop. The way through each part leads below the one before.

    Return the descriptor and its device; None where only a thread can do it, or tell why it cannot be done.
    """
    opener = _opener.get()
    found = None if opener is None else opener.open_below(folder, parts)
    if found is None:
        return None
    descriptor, device, _ = found
    sys.audit("open", os.path.join(folder, *parts), "r", READ)
    return descriptor, device


class CachedOpener:
    """Opens what can be opened without waiting. Raises ImportError, OSError or AttributeError where nothing can."""

    def __init__(self) -> None:
        from aiofs.localio import linux  # noqa: PLC0415 - not everywhere is there what it imports

        self._system = linux.System()
        self._here = linux.HERE
        self._place = linux.How(os.O_PATH)
        self._place_below = linux.How(os.O_PATH, linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS)
        self._at_once = linux.How(os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        self._known: Lately[bytes] = Lately()
        """Paths of regular files that can be opened at once, as the system spells them."""
        self._slow: Lately[bool] = Lately()
        """Paths of files whose bytes want a thread."""
        self._met_slow = False
        """Whether what was looked at last lies where bytes want a thread."""
        self._descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str | bytes) -> Found | None:
        """Open `path` for reading; None where that cannot be done at once."""
        known = self._known.get(path)
        if known is not None:
            return self._open_known(known)
        if self._slow.get(path):
            return None
        name = _spelled(path)
        found = self._open_at(self._here, name, self._place)
        if found is not None:
            self._known.remember(path, name)
        elif self._met_slow:
            self._slow.remember(path, found=True)
        return found

    def open_below(self, folder: str, parts: Sequence[str]) -> Found | None:
        """Open what `parts` lead to for reading, each below the one before; None where that cannot be done at once."""
        base = self._system.open(self._here, _spelled(folder), self._place)
        for part in parts[:-1]:
            if base < 0:
                break
            above, base = base, self._system.open(base, _spelled(part), self._place_below)
            _close_place(above)
        if base < 0:
            return None
        try:
            return self._open_at(base, _spelled(parts[-1]), self._place_below)
        finally:
            _close_place(base)

    def _open_known(self, name: bytes) -> Found | None:
        """Open what was a regular file a moment ago, without the detour.

        If it has become something else, opening it like this does not wait either, and a thread does it again.
        """
        descriptor = self._system.open(self._here, name, self._at_once)
        if descriptor < 0:
            return None
        status = os.fstat(descriptor)
        device = known_device(status.st_dev)
        if device is None or not device.answers_at_once or not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return None
        return descriptor, device, status.st_size

    def _open_at(self, folder: int, name: bytes, how: How) -> Found | None:
        self._met_slow = False
        place = self._system.open(folder, name, how)
        if place < 0:
            return None
        try:
            found = self._look(place)
            if found is None:
                return None
            return os.open(str(place), READ, dir_fd=self._descriptors), *found
        except OSError:
            return None
        finally:
            _close_place(place)

    def _look(self, descriptor: int) -> tuple[Device, int] | None:
        """Return device and size of a regular file whose bytes can be had without a thread; None of anything else."""
        status = self._system.look(descriptor)
        if status is None or not stat.S_ISREG(status.mode):
            return None
        device = known_device(status.device)
        self._met_slow = device is not None and not device.answers_at_once
        return None if device is None or self._met_slow else (device, status.size)

    def close(self) -> None:
        """Let go of the view of this process's descriptors."""
        os.close(self._descriptors)


def _close_place(descriptor: int) -> None:
    """Close what was only looked at: an error of that is no reason to lose what was opened by it."""
    with suppress(OSError):
        os.close(descriptor)


def _spelled(path: str | bytes) -> bytes:
    """Return `path` as the system takes it; b"" for what is no path, of which a thread tells what is wrong."""
    with suppress(ValueError):
        name = os.fsencode(path)
        if b"\0" not in name:
            return name
    return b""


class _Opener:
    """The opener of this process, made at its first use."""

    def __init__(self) -> None:
        self._opener: CachedOpener | None = None
        self._probed = False

    def get(self) -> CachedOpener | None:
        """Return the opener; None where the kernel, or a sandbox, does not let it work."""
        if not self._probed:
            self._opener, self._probed = self._probe(), True
        return self._opener

    def forget(self) -> None:
        """In a forked child: /proc/self is somebody else now."""
        if self._opener is not None:
            self._opener.close()
        self._opener, self._probed = None, False

    def _probe(self) -> CachedOpener | None:
        if sys.platform == "linux":
            with suppress(ImportError, OSError, AttributeError):
                return CachedOpener()
        return None


_opener = _Opener()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_opener.forget)
