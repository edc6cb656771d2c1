"""Opening for reading without a thread, where the kernel has the whole path in memory.

A path is first opened as a mere place (O_PATH, RESOLVE_CACHED): that touches neither disk nor network, nor wakes a FIFO.
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
from typing import IO, TYPE_CHECKING, Any

from aiofs.localio.devices import Device, known_device
from aiofs.localio.files import LocalFile
from aiofs.localio.opening import READ_MODES, Request, is_usual, stack

if TYPE_CHECKING:
    from aiofs.localio.turns import Turn

try:
    from ctypes import PyDLL, addressof, c_char_p, c_int, c_long, c_size_t, c_uint, c_void_p, create_string_buffer
except ImportError:
    PyDLL = None  # type: ignore[assignment,misc]

OPENAT2 = 437
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
HERE = -100
RESOLVE_CACHED = 0x20
EMPTY_PATH, DONT_SYNC = 0x1000, 0x4000
BASIC = 0x7FF
STATUS = struct.Struct("=28xH10xQ88xII")
"""The mode, the size and the two halves of the device's number, in what statx(2) fills."""


def open_cached(request: Request, turn: Turn) -> IO[Any] | None:
    """Open for reading, on the loop; None where only a thread can do it, or tell why it cannot be done."""
    file = request.file
    if request.mode not in READ_MODES or type(file) is int or request.opener is not None or not is_usual(request):
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


class CachedOpener:
    """The two system calls that Python does not know."""

    def __init__(self) -> None:
        library = PyDLL(None)  # keeps the GIL: neither call waits
        self._syscall = library.syscall
        self._syscall.restype = c_long
        self._syscall.argtypes = [c_long, c_long, c_char_p, c_void_p, c_size_t]
        self._statx = library.statx
        self._statx.argtypes = [c_int, c_char_p, c_int, c_uint, c_void_p]
        how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_CACHED)
        self._how = create_string_buffer(how, len(how))
        self._how_at = addressof(self._how)
        self._how_size = len(how)
        self._answers = _Answers()
        self._descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str | bytes) -> tuple[int, Device, int] | None:
        """Open `path` for reading; return the descriptor, the device and the size. None where that cannot be done at once."""
        try:
            name = os.fsencode(path)
        except ValueError:
            return None
        place = -1 if b"\0" in name else self._syscall(OPENAT2, HERE, name, self._how_at, self._how_size)
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

    def _look(self, place: int) -> tuple[Device, int] | None:
        """Return device and size of `place` if that is a regular file whose bytes can be had without a thread."""
        answers = self._answers
        if self._statx(place, b"", EMPTY_PATH | DONT_SYNC, BASIC, answers.address) != 0:
            return None
        mode, size, major, minor = STATUS.unpack_from(answers.buffer)
        device = known_device(os.makedev(major, minor))
        if device is None or not (device.local and (device.nowait or device.memory)) or not stat.S_ISREG(mode):
            return None
        return device, size

    def works(self) -> bool:
        """Whether the kernel knows both calls, and nothing forbids them."""
        place = self._syscall(OPENAT2, HERE, b"/", self._how_at, self._how_size)
        if place < 0:
            return False
        try:
            return bool(self._statx(place, b"", EMPTY_PATH | DONT_SYNC, BASIC, self._answers.address) == 0)
        finally:
            os.close(place)

    def close(self) -> None:
        """Let go of the view of this process's descriptors."""
        os.close(self._descriptors)


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
