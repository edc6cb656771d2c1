"""Reading: open files as streams."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiofs.backends.osfiles.places import check_regular, entry_of, errors_about, version_of
from aiofs.driver import Entry, ReadStream
from aiofs.kit import check_match
from aiofs.localio import device_of, pread
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_READ = 1 << 16


class OSStream(ReadStream):
    """An open file: its bytes stay, whatever is published under its name."""

    def __init__(self, entry: Entry, fd: int, start: int, stop: int | None, *, first: bytes, local: bool) -> None:
        self.entry = entry
        self.fd: int = fd
        self._start = start
        self._stop = stop
        self._first = first  # they were read in the same hop as opening
        self._local = local  # closing it needs no network

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        if self._stop is not None:
            want = min(want, self._stop - self._start)
        first, self._first = self._first, b""
        if first and (want <= len(first) or len(first) == self.entry.size):
            data = first
        else:  # reading some bytes again costs less than joining two pieces
            try:
                data = await pread(self.fd, max(want, 0), self._start)
            except OSError:
                with errors_about(self.entry.path):
                    raise
        self._start += len(data)
        return data

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on at `start`."""
        self._start, self._stop, self._first = start, stop, b""

    async def aclose(self) -> None:
        """Close the file; in a worker if that may take long, as closing a removed file frees its room on the disk."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        with errors_about(self.entry.path):
            if self._local and _has_name(fd):
                os.close(fd)
            else:
                await hop(os.close, fd)

    def abandon(self) -> None:
        """Close the file."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with errors_about(self.entry.path):
                os.close(fd)


def open_stream(
    path: str,
    fd: int,
    start: int,
    stop: int | None,
    match: str | None,
    *,
    read: Callable[[int, int, int], bytes | None],
) -> OSStream:
    """Return the stream of an open file, and close the file if that fails."""
    try:
        status = os.fstat(fd)
        check_regular(path, status)
        if match is not None:
            check_match(path, match, version_of(status))
        want = FIRST_READ if stop is None else min(FIRST_READ, stop - start)
        first = read(fd, want, start) if want > 0 else None
        local = device_of(fd, status.st_dev).local
    except BaseException:
        with errors_about(path):
            os.close(fd)
            raise
    return OSStream(entry_of(path, status), fd, start, stop, first=first or b"", local=local)


def _has_name(fd: int) -> bool:
    try:
        return bool(os.fstat(fd).st_nlink)
    except OSError:
        return False  # closing it raises what is wrong
