"""System calls of Linux that Python does not offer. A call that is missing raises OSError or AttributeError."""

from __future__ import annotations

import os
import struct
import threading
from ctypes import CDLL, PyDLL, byref, c_long, create_string_buffer, get_errno
from typing import NamedTuple

OPENAT2 = 437
HERE = -100
RESOLVE_CACHED, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS = 0x20, 0x08, 0x02
EMPTY_PATH, DONT_SYNC = 0x1000, 0x4000
BASIC = 0x7FF
NONBLOCK = 0x02
STATX = struct.Struct("=28xH10xQ88xII")
"""Where statx(2) puts the mode, the size and the two halves of the device's number."""


class FileStatus(NamedTuple):
    """What the kernel has in memory about a file."""

    mode: int
    size: int
    device: int


class OpenHow:
    """The third argument of openat2(2). With it the kernel follows a path only as far as it has it in memory."""

    def __init__(self, flags: int, resolve: int = 0) -> None:
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve | RESOLVE_CACHED)
        self.reference: object = byref(create_string_buffer(how, len(how)))
        self.size: int = len(how)


class SystemCalls:
    """The calls that never wait; they keep the GIL. Raises OSError or AttributeError if one is missing.

    Their arguments are small numbers, bytes and references, which need no declared types: checking those costs more.
    """

    def __init__(self) -> None:
        library = PyDLL(None)
        self._syscall = library.syscall
        self._statx = library.statx
        self._buffers = _StatxBuffers()
        place = self.open(HERE, b"/", OpenHow(os.O_PATH))
        if place < 0:
            raise OSError("openat2(2) is missing or forbidden")
        try:
            if self.look(place) is None:
                raise OSError("statx(2) is missing or forbidden")
        finally:
            os.close(place)

    def open(self, folder: int, path: bytes, how: OpenHow) -> int:
        """Return a descriptor of `path`, which has no NUL; a negative number if the kernel would have to wait."""
        return self._syscall(OPENAT2, folder, path, how.reference, how.size)  # type: ignore[no-any-return]

    def look(self, descriptor: int) -> FileStatus | None:
        """Return what is known of an open file without asking its device."""
        buffers = self._buffers
        if self._statx(descriptor, b"", EMPTY_PATH | DONT_SYNC, BASIC, buffers.reference) != 0:
            return None
        mode, size, major, minor = STATX.unpack_from(buffers.buffer)
        return FileStatus(mode, size, os.makedev(major, minor))


class _StatxBuffers(threading.local):
    """Where statx(2) writes: one buffer for each thread."""

    def __init__(self) -> None:
        self.buffer = create_string_buffer(256)
        self.reference: object = byref(self.buffer)


def tee(source: int, target: int) -> int:
    """Copy up to one byte from one pipe to another, and leave it in the first. Return 1, or 0 at the end.

    :raises BlockingIOError: if the pipe is empty, and some process has it open for writing.
    """
    library = CDLL(None, use_errno=True)
    count: int = library.tee(source, target, 1, NONBLOCK)
    if count < 0:
        raise OSError(get_errno(), os.strerror(get_errno()))
    return count


def type_at(path: bytes) -> int | None:
    """Return the magic number of the file system that `path` is on, by statfs(2). May wait for the device."""
    answer = create_string_buffer(256)
    if CDLL(None).statfs(path, byref(answer)) != 0:
        return None
    return c_long.from_buffer(answer).value & 0xFFFF_FFFF


def type_of_file_system(descriptor: int) -> int | None:
    """Return the magic number of the file system of an open file, by fstatfs(2). May wait for the device."""
    answer = create_string_buffer(256)
    if CDLL(None).fstatfs(descriptor, byref(answer)) != 0:
        return None
    return c_long.from_buffer(answer).value & 0xFFFF_FFFF
