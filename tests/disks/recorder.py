"""Recorder: what is done to the files below one folder by calls into the operating system, in order.

    recorder = Recorder(top)
    with recorder.at_work():
        await fs.write_bytes("a", b"new")
        recorder.report()                       # from here on it was said to be done
    recorder.events                             # what `disks.images` makes the disks of that a power cut may leave

Files and folders get numbers of their own, which `os.stat` tells as their inodes: so a disk that is made anew of a part
of the events looks to the code as if it were the same. Calls are made one at a time.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any

from disks.calls import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST = 1 << 40
"""Numbers of files begin here, out of the way of real inodes."""
HIDDEN = (
    *("st_atime", "st_mtime", "st_ctime", "st_atime_ns", "st_mtime_ns", "st_ctime_ns"),
    *("st_blksize", "st_blocks", "st_rdev"),
)


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a folder is that of a file or folder now; of none, if that is `None`."""

    folder: int
    name: str
    file: int | None


@dataclass(frozen=True, slots=True)
class Named:
    """Names changed in one step: two for a rename, else one. `made` is the folder that was made by that."""

    names: tuple[Name, ...]
    made: int | None = None


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes of a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sized:
    """A file was cut, or grew with zeros."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Marked:
    """The mode and time of a file."""

    file: int
    mode: int
    modified: int


@dataclass(frozen=True, slots=True)
class Synced:
    """A file, or the names in a folder, were brought to the disk; everything, if `file` is `None`."""

    file: int | None


@dataclass(frozen=True, slots=True)
class Reported:
    """The program was told that what it did is done."""


Event = Named | Wrote | Sized | Marked | Synced | Reported


class Recorder:
    """Records what is done below a folder."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.events: list[Event] = []
        self._lock = RLock()
        self._device = os.stat(top).st_dev
        self._numbers: dict[int, int] = {}  # of the inodes that there are
        self._next = count(FIRST)
        self._stat, self._fstat = os.stat, os.fstat

    def number(self, inode: int) -> int:
        """Return the number of the file that has this inode."""
        if inode not in self._numbers:
            self._numbers[inode] = next(self._next)
        return self._numbers[inode]

    def moved(self, top: Path, numbers: dict[int, int]) -> Recorder:
        """Return a recorder for a disk that was made anew below `top`, with these numbers for its inodes."""
        recorder = Recorder(top)
        recorder._numbers = dict(numbers)
        recorder._next = self._next
        return recorder

    def report(self) -> None:
        """Record that the program was told that all of it is done."""
        with self._lock:
            self.events.append(Reported())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Record while the block lasts."""
        with watched(self._see):
            yield

    def _see(self, name: str, do: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        seen = getattr(self, f"_{name}", None) if name not in {"stat", "fstat"} else None
        with self._lock:
            if name in {"stat", "fstat"}:
                return self._renumbered(do(*args, **kwargs))
            return do(*args, **kwargs) if seen is None else seen(do, *args, **kwargs)

    def _renumbered(self, status: os.stat_result) -> os.stat_result:
        if status.st_dev != self._device:
            return status
        fields = list(status)
        fields[1] = self.number(status.st_ino)
        return os.stat_result(fields, {name: getattr(status, name) for name in HIDDEN})

    def _place(self, path: str, folder: int | None) -> tuple[int, str] | None:
        """Return the folder in which a name is, and the name; `None` if that is none of ours."""
        if folder is None:
            path = os.path.abspath(os.fspath(path))
            if not f"{path}/".startswith(f"{self.top}/"):
                return None
            status = self._stat(os.path.dirname(path))
        else:
            status = self._fstat(folder)
        return self.number(status.st_ino), os.path.basename(path)

    def _status(self, path: str, folder: int | None) -> os.stat_result | None:
        try:
            return self._stat(path, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None

    def _file(self, descriptor: int) -> int | None:
        status = self._fstat(descriptor)
        return self.number(status.st_ino) if status.st_dev == self._device else None

    def _add(self, *names: Name, made: int | None = None) -> None:
        self.events.append(Named(names, made))

    def _born(self, path: str, folder: int | None) -> int:
        """Give a number to what was just made, whoever had its inode before."""
        status = self._stat(path, dir_fd=folder, follow_symlinks=False)
        self._numbers[status.st_ino] = next(self._next)
        return self._numbers[status.st_ino]

    def _open(
        self, do: Callable[..., int], path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        if not flags & (os.O_CREAT | os.O_TRUNC) or not isinstance(path, str):
            return do(path, flags, mode, dir_fd=dir_fd)
        there = self._status(path, dir_fd)
        descriptor = do(path, flags, mode, dir_fd=dir_fd)
        place = self._place(path, dir_fd)
        if place is not None and there is None:
            self._add(Name(*place, self._born(path, dir_fd)))
            self._mark(descriptor)
        elif place is not None and flags & os.O_TRUNC:
            self.events.append(Sized(self.number(there.st_ino) if there else 0, 0))
        return descriptor

    def _mark(self, descriptor: int) -> None:
        status = self._fstat(descriptor)
        if status.st_dev == self._device:
            self.events.append(Marked(self.number(status.st_ino), status.st_mode & 0o7777, status.st_mtime_ns))

    def _mkdir(self, do: Callable[..., None], path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        do(path, mode, dir_fd=dir_fd)
        place = self._place(path, dir_fd)
        if place is not None:
            made = self._born(path, dir_fd)
            self._add(Name(*place, made), made=made)

    def _gone(self, do: Callable[..., None], path: str, *, dir_fd: int | None = None) -> None:
        do(path, dir_fd=dir_fd)
        place = self._place(path, dir_fd)
        if place is not None:
            self._add(Name(*place, None))

    _unlink = _rmdir = _gone

    def _link(
        self,
        do: Callable[..., None],
        source: str,
        target: str,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        do(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        place, status = self._place(target, dst_dir_fd), self._status(target, dst_dir_fd)
        if place is not None and status is not None:
            self._add(Name(*place, self.number(status.st_ino)))

    def _replace(
        self,
        do: Callable[..., None],
        source: str,
        target: str,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
    ) -> None:
        moved = self._status(source, src_dir_fd)
        covered = self._status(target, dst_dir_fd)
        do(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        old, new = self._place(source, src_dir_fd), self._place(target, dst_dir_fd)
        if old is None or new is None or moved is None or (covered is not None and covered.st_ino == moved.st_ino):
            return
        self._add(Name(*new, self.number(moved.st_ino)), Name(*old, None))

    _rename = _replace

    def _write(self, do: Callable[..., int], descriptor: int, data: Any) -> int:
        file = self._file(descriptor)
        appends = file is not None and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
        offset = 0
        if file is not None:
            offset = self._fstat(descriptor).st_size if appends else os.lseek(descriptor, 0, os.SEEK_CUR)
        written = do(descriptor, data)
        if file is not None:
            self.events.append(Wrote(file, offset, bytes(memoryview(data)[:written])))
        return written

    def _pwrite(self, do: Callable[..., int], descriptor: int, data: Any, offset: int) -> int:
        written = do(descriptor, data, offset)
        file = self._file(descriptor)
        if file is not None:
            self.events.append(Wrote(file, offset, bytes(memoryview(data)[:written])))
        return written

    def _copy_file_range(self, do: Callable[..., int], source: int, target: int, size: int, *offsets: int) -> int:
        copied = do(source, target, size, *offsets)
        file = self._file(target)
        if file is not None and copied:
            start, offset = offsets
            self.events.append(Wrote(file, offset, os.pread(source, copied, start)))
        return copied

    def _ftruncate(self, do: Callable[..., None], descriptor: int, size: int) -> None:
        do(descriptor, size)
        file = self._file(descriptor)
        if file is not None:
            self.events.append(Sized(file, size))

    def _utime(self, do: Callable[..., None], file: Any, *args: Any, **kwargs: Any) -> None:
        do(file, *args, **kwargs)
        if isinstance(file, int):
            self._mark(file)

    def _fchmod(self, do: Callable[..., None], descriptor: int, mode: int) -> None:
        do(descriptor, mode)
        self._mark(descriptor)

    def _fsync(self, do: Callable[..., None], descriptor: int) -> None:
        do(descriptor)
        file = self._file(descriptor)
        if file is not None:
            self.events.append(Synced(file))

    def _sync(self, do: Callable[..., None]) -> None:
        do()
        self.events.append(Synced(None))
