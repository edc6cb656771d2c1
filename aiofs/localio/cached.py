"""Opening for reading without a thread, where the kernel has the whole path in memory.

A path is first opened as a mere place (O_PATH, RESOLVE_CACHED): that touches no disk, no network, and wakes no FIFO.
Only a regular file on a device known to be local is then opened in earnest, through /proc. Anything else, and
any failure, is left to a thread.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from aiofs.localio.devices import Device, known_device
from aiofs.localio.files import LocalFile
from aiofs.localio.opening import READ_MODES, Request, is_usual, stack

if TYPE_CHECKING:
    from aiofs.localio.turns import Turn

try:
    from ctypes import PyDLL, addressof, c_char_p, c_int, c_long, c_size_t, c_uint, c_void_p, create_string_buffer
    from fcntl import F_SETFL, fcntl
except ImportError:
    PyDLL = None  # type: ignore[assignment,misc]

OPENAT2 = 437
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
PLACE = getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0)
KNOWN_FOR, MOST_KNOWN = 1.0, 4096
"""Seconds for which a path is taken for what it was, and how many paths."""
HERE = -100
RESOLVE_CACHED, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS = 0x20, 0x08, 0x02
EMPTY_PATH, DONT_SYNC = 0x1000, 0x4000
BASIC = 0x7FF
STATUS = struct.Struct("=28xH10xQ88xII")
"""The mode, the size and the two halves of the device's number, in what statx(2) fills."""


def open_cached(request: Request, turn: Turn) -> IO[Any] | None:
    """Open for reading, on the loop; None where only a thread can do it, or tell why it cannot be done."""
    file = request.file
    if not is_usual(request) or request.mode not in READ_MODES or type(file) is int:
        return None
    if request.opener is not None or not request.closefd:
        return None
    opener = _opener.get()
    if opener is None:
        return None
    path = os.fspath(file)
    found = opener.open(path)
    if found is None:
        return None
    sys.audit("open", path, request.mode, READ)
    descriptor, device, size = found
    try:
        raw = LocalFile(descriptor, "r")
    except BaseException:
        os.close(descriptor)
        raise
    try:
        raw.name = path
        stream = stack(raw, request)
    except BaseException:
        raw.close()
        raise
    raw.settle_in(device, turn, size)
    return stream


def open_below(folder: str, path: str) -> tuple[int, Device] | None:
    """Open the regular file `path` for reading, on the loop, by a way that does not leave `folder`.

    Return the descriptor and its device; None where only a thread can do it, or tell why it cannot be done.
    """
    opener = _opener.get()
    found = None if opener is None else opener.open(path, below=folder)
    if found is None:
        return None
    descriptor, device, _ = found
    sys.audit("open", os.path.join(folder, path), "r", READ)
    return descriptor, device


class CachedOpener:
    """The two system calls that Python does not know."""

    def __init__(self) -> None:
        library = PyDLL(None)  # keeps the GIL: neither call waits
        self._syscall = library.syscall
        self._syscall.restype = c_long
        self._syscall.argtypes = [c_long, c_long, c_char_p, c_void_p, c_size_t]
        self._statx = library.statx
        self._statx.argtypes = [c_int, c_char_p, c_int, c_uint, c_void_p]
        self._known: dict[str | bytes, float] = {}
        self._anywhere = _How(PLACE, RESOLVE_CACHED)
        self._at_once = _How(READ | os.O_NONBLOCK | os.O_NOCTTY, RESOLVE_CACHED)
        self._below = _How(PLACE, RESOLVE_CACHED | RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        self._answers = _Answers()
        self._descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str | bytes, *, below: str | None = None) -> tuple[int, Device, int] | None:
        """Open `path` for reading, by a way that stays in the folder `below` if that is given.

        Return the descriptor, the device and the size. None where that cannot be done at once.
        """
        if below is None:
            return self._open_known(path) or self._open_new(path)
        folder = self._place(HERE, below, self._anywhere)
        if folder < 0:
            return None
        try:
            return self._open_at(folder, path, self._below)
        finally:
            os.close(folder)

    def _open_new(self, path: str | bytes) -> tuple[int, Device, int] | None:
        found = self._open_at(HERE, path, self._anywhere)
        if found is not None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[path] = monotonic() + KNOWN_FOR
        return found

    def _open_known(self, path: str | bytes) -> tuple[int, Device, int] | None:
        """Open what was a regular file a moment ago, without the detour.

        If it has become something else, opening it like this does not wait either, and a thread does it again.
        """
        if self._known.get(path, 0.0) < monotonic():
            return None
        descriptor = self._place(HERE, path, self._at_once)
        if descriptor < 0:
            return None
        status = os.fstat(descriptor)
        device = known_device(status.st_dev)
        if device is None or not device.answers_at_once or not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return None
        fcntl(descriptor, F_SETFL, os.O_RDONLY)  # it waits like any other from here on
        return descriptor, device, status.st_size

    def _open_at(self, folder: int, path: str | bytes, how: _How) -> tuple[int, Device, int] | None:
        place = self._place(folder, path, how)
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
            os.close(place)

    def _place(self, folder: int, path: str | bytes, how: _How) -> int:
        """Return a descriptor of the mere place `path`; a negative number where it cannot be had at once."""
        try:
            name = os.fsencode(path)
        except ValueError:
            return -1
        if b"\0" in name:
            return -1
        return int(self._syscall(OPENAT2, folder, name, how.address, how.size))

    def _look(self, place: int) -> tuple[Device, int] | None:
        """Return device and size of `place` if that is a regular file whose bytes can be had without a thread."""
        answers = self._answers
        if self._statx(place, b"", EMPTY_PATH | DONT_SYNC, BASIC, answers.address) != 0:
            return None
        mode, size, major, minor = STATUS.unpack_from(answers.buffer)
        device = known_device(os.makedev(major, minor))
        if device is None or not device.answers_at_once or not stat.S_ISREG(mode):
            return None
        return device, size

    def works(self) -> bool:
        """Whether the kernel knows both calls, and nothing forbids them."""
        place = self._place(HERE, b"/", self._anywhere)
        if place < 0:
            return False
        try:
            return bool(self._statx(place, b"", EMPTY_PATH | DONT_SYNC, BASIC, self._answers.address) == 0)
        finally:
            os.close(place)

    def close(self) -> None:
        """Let go of the view of this process's descriptors."""
        os.close(self._descriptors)


class _How:
    """What openat2(2) is told about the way to a place."""

    def __init__(self, flags: int, resolve: int) -> None:
        how = struct.pack("=QQQ", flags, 0, resolve)
        self._buffer = create_string_buffer(how, len(how))
        self.address = addressof(self._buffer)
        self.size = len(how)


class _Answers(threading.local):
    """Where statx(2) writes, for each thread its own."""

    def __init__(self) -> None:
        self.buffer = create_string_buffer(256)
        self.address = addressof(self.buffer)


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
        if PyDLL is None or not sys.platform.startswith("linux"):
            return None
        with suppress(OSError, AttributeError):
            opener = CachedOpener()
            if opener.works():
                return opener
            opener.close()
        return None


_opener = _Opener()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_opener.forget)
