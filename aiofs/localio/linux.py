"""The system calls of Linux that Python does not know. Where they are missing, importing or making this fails."""

from __future__ import annotations

import os
import struct
import threading
from ctypes import (
    CDLL,
    PyDLL,
    byref,
    c_long,
    create_string_buffer,
    get_errno,
)
from typing import NamedTuple

OPENAT2 = 437
HERE = -100
RESOLVE_CACHED, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS = 0x20, 0x08, 0x02
EMPTY_PATH, DONT_SYNC = 0x1000, 0x4000
BASIC = 0x7FF
NONBLOCK = 0x02
STATUS = struct.Struct("=28xH10xQ88xII")
"""The mode, the size and the two halves of the device's number, in what statx(2) fills."""


class Status(NamedTuple):
    """What the system has in memory about a file."""

    mode: int
    size: int
    device: int


class How:
    """What openat2(2) is told about a way, which it goes only as far as memory knows it."""

    def __init__(self, flags: int, resolve: int = 0) -> None:
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve | RESOLVE_CACHED)
        self.reference: object = byref(create_string_buffer(how, len(how)))
        self.size: int = len(how)


class System:
    """The calls that never wait; they keep the GIL. Raises OSError or AttributeError where one is missing.

    Their arguments are small numbers, bytes and references, which need no declared types: checking those costs more.
    """

    def __init__(self) -> None:
        library = PyDLL(None)
        self._syscall = library.syscall
        self._statx = library.statx
        self._answers = _Answers()
        place = self.open(HERE, b"/", How(os.O_PATH))
        if place < 0:
            raise OSError("openat2(2) is missing or forbidden")
        try:
            if self.look(place) is None:
                raise OSError("statx(2) is missing or forbidden")
        finally:
            os.close(place)

    def open(self, folder: int, path: bytes, how: How) -> int:
        """Return a descriptor of `path`, in which there is no NUL; a negative number where it cannot be had at once."""
        return self._syscall(OPENAT2, folder, path, how.reference, how.size)  # type: ignore[no-any-return]

    def look(self, descriptor: int) -> Status | None:
        """Return what is known of an open file without asking its device."""
        answers = self._answers
        if self._statx(descriptor, b"", EMPTY_PATH | DONT_SYNC, BASIC, answers.reference) != 0:
            return None
        mode, size, major, minor = STATUS.unpack_from(answers.buffer)
        return Status(mode, size, os.makedev(major, minor))


class _Answers(threading.local):
    """Where statx(2) writes, for each thread its own."""

    def __init__(self) -> None:
        self.buffer = create_string_buffer(256)
        self.reference: object = byref(self.buffer)


def tee(source: int, target: int) -> int:
    """Return how many bytes of one pipe are in another as well now: one or none, and none at the end.

    :raises BlockingIOError: if there is none, and a writer who may write one.
    """
    library = CDLL(None, use_errno=True)
    count: int = library.tee(source, target, 1, NONBLOCK)
    if count < 0:
        raise OSError(get_errno(), os.strerror(get_errno()))
    return count


def type_at(path: bytes) -> int | None:
    """Return the magic number that statfs(2) tells first of what `path` is on. May wait for the device."""
    answer = create_string_buffer(256)
    if CDLL(None).statfs(path, byref(answer)) != 0:
        return None
    return c_long.from_buffer(answer).value & 0xFFFF_FFFF


def type_of_file_system(descriptor: int) -> int | None:
    """Return the magic number that fstatfs(2) tells first. May wait for the device."""
    answer = create_string_buffer(256)
    if CDLL(None).fstatfs(descriptor, byref(answer)) != 0:
        return None
    return c_long.from_buffer(answer).value & 0xFFFF_FFFF
