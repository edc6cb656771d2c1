"""Files that are opened for reading without buffers, and without a thread if the kernel has the path in memory.

Most small files are opened, read whole and closed, and making buffers costs more than all of that. So buffers are made
only when the program asks for something else. They get the state that they would have by then.

To open without a thread, a path is first opened as a mere place (O_PATH, RESOLVE_CACHED): that reads no disk, asks no
server, and wakes no FIFO. Then only a regular file on a device that is known to be local is opened for reading, through
/proc. All else, and any failure, is left to a thread.
"""

from __future__ import annotations

import locale
import os
import stat
import sys
from contextlib import suppress
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

from aiofs.localio import linux
from aiofs.localio.devices import Device, device_of, known_device
from aiofs.localio.files import LIGHT, READ_MODES, LocalFile, OpenArguments, are_usual, buffers_over
from aiofs.localio.opening import may_wait, open_stream
from aiofs.localio.reading import FilePrefix, rest_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.localio.opening import Fifo
    from aiofs.localio.reading import LoopBudget

T = TypeVar("T")

UTF_8 = {"utf-8", "UTF-8", "utf8"}
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
FACT_SECONDS, MOST_FACTS = 1.0, 4096
"""For how many seconds a fact about a path is believed, and how many paths have one."""
UNKNOWN = (0.0, None)

Found = tuple[int, Device, int]
"""A descriptor, the device and the size of a file."""


class PathFacts(Generic[T]):
    """What was just found out about paths, believed for a second."""

    def __init__(self) -> None:
        self._facts: dict[str | bytes, tuple[float, T]] = {}

    def get(self, path: str | bytes) -> T | None:
        """Return what was found, if that is not long ago."""
        until, fact = self._facts.get(path, UNKNOWN)
        return fact if until > monotonic() else None

    def note(self, path: str | bytes, fact: T) -> None:
        """Believe `fact` about `path` from now on."""
        if len(self._facts) >= MOST_FACTS:
            self._facts.clear()
        self._facts[path] = monotonic() + FACT_SECONDS, fact


_were_regular: PathFacts[bool] = PathFacts()
"""Paths of regular files. They need no look before each opening: O_NONBLOCK is enough, if they are a FIFO by now."""


class UnbufferedFile:
    """A regular file that was opened for reading and has no buffers yet, and the arguments of its `open`."""

    __slots__ = (
        *("_arguments", "_budget", "_closed", "_descriptor", "_device"),
        *("_light_until", "_path", "_prefix", "_size", "_taken"),
    )

    def __init__(
        self,
        found: Found,
        arguments: OpenArguments,
        path: str | bytes,
        budget: LoopBudget,
        *,
        prefix: FilePrefix | None = None,
    ) -> None:
        self._descriptor, self._device, self._size = found
        self._arguments = arguments
        self._path = path
        self._budget = budget
        self._prefix = prefix
        self._taken: bytes | None = None
        self._closed = False
        self._light_until = monotonic() + 1 if self._size < LIGHT else 0.0

    def read_bytes(self) -> bytes | None:
        """Return all that is left, b"" at the end; None if that is much or would have to wait."""
        if self._closed:
            return None
        self._budget.spend()
        prefix = self._prefix
        if prefix is None:
            return rest_now(self._descriptor, self._device, self._budget.scratch)
        if not prefix.whole or not prefix.holds(self._descriptor):
            return None
        self._prefix = None
        os.lseek(self._descriptor, len(prefix.data), os.SEEK_SET)
        return prefix.data

    def read_text(self) -> str | None:
        """Return all of the text, once; None if that would have to wait, or needs the text layer."""
        if self._taken is not None:
            return None
        data = self._taken = self.read_bytes()
        if data is None:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:  # the text layer raises it in its own words
            return None
        if "\r" in text and self._arguments.newline is None:
            return text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def with_buffers(self) -> IO[Any]:
        """Return the file with its buffers, at the position after what was read, or closed if it was closed."""
        if self._closed:
            closed = self._buffers_over(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            closed.close()
            return closed
        self._closed = True
        os.set_blocking(self._descriptor, True)  # it may have been opened with O_NONBLOCK
        taken = self._taken
        if taken is not None:
            os.lseek(self._descriptor, -len(taken), os.SEEK_CUR)
        stream: Any = self._buffers_over(self._descriptor)
        raw: LocalFile = stream.raw if "b" in self._arguments.mode else stream.buffer.raw
        raw.join_loop(self._device, self._budget, self._size)
        raw.prefix = self._prefix
        if taken is not None:
            raw.seek(len(taken), os.SEEK_CUR)
            raw.rest = taken
            stream.read()
        return stream  # type: ignore[no-any-return]

    def _buffers_over(self, descriptor: int) -> IO[Any]:
        """Return the stream over `descriptor`, which is closed if that fails."""
        raw = LocalFile(descriptor, "r")
        raw.name = self._path
        try:
            return buffers_over(raw, self._arguments)
        except BaseException:
            raw.close()
            raise

    def close_quickly(self) -> bool:
        """Close the file if that cannot wait. Return whether it is closed."""
        if not self._closed:
            if monotonic() > self._light_until and not os.fstat(self._descriptor).st_nlink:
                return False
            self._closed = True
            os.close(self._descriptor)
        return True

    def close(self) -> None:
        """Close the file, in a thread."""
        self._closed = True
        os.close(self._descriptor)

    def __del__(self) -> None:
        if not self._closed:
            self.with_buffers()  # the stream warns, as any file that the program did not close


def is_simple(arguments: OpenArguments) -> bool:
    """Whether the file is opened by its path, as the system opens files."""
    return are_usual(arguments) and type(arguments.file) is not int and arguments.opener is None and arguments.closefd


def may_go_unbuffered(arguments: OpenArguments) -> bool:
    """Whether `arguments` have nothing that only the buffers and the text layer can check."""
    if "b" in arguments.mode:
        return arguments.buffering == -1
    if arguments.buffering != -1 or arguments.errors is not None:
        return False
    if arguments.encoding is None:
        return not sys.flags.warn_default_encoding and (bool(sys.flags.utf8_mode) or locale.getencoding() in UTF_8)
    return arguments.encoding in UTF_8


def open_unbuffered(arguments: OpenArguments, budget: LoopBudget) -> UnbufferedFile | IO[Any] | Fifo:
    """Open in a worker thread: a regular file that is only read, without buffers; all else as `open_stream` does."""
    if arguments.mode not in READ_MODES or not is_simple(arguments) or not may_go_unbuffered(arguments):
        return open_stream(arguments, budget)
    path = os.fspath(arguments.file)
    was_regular = _were_regular.get(path)
    if not was_regular and may_wait(arguments):
        return open_stream(arguments, budget)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK | os.O_NOCTTY if was_regular else 0))
    except ValueError:  # the builtin `open` raises it in its own words
        return open_stream(arguments, budget)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            device = device_of(descriptor, status.st_dev)
            prefix = None
            if device.local and not device.answers_at_once:
                _were_regular.note(path, fact=True)
                prefix = FilePrefix.of(descriptor, status)
            return UnbufferedFile((descriptor, device, status.st_size), arguments, path, budget, prefix=prefix)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return open_stream(arguments, budget)


def open_cached(arguments: OpenArguments, budget: LoopBudget) -> UnbufferedFile | None:
    """Open for reading, on the loop. None if only a thread can do it, or can say why it fails."""
    file = arguments.file
    if arguments.mode not in READ_MODES or not is_simple(arguments):
        return None
    opener = _opener.get()
    if opener is None:
        return None
    path = file if type(file) is str else os.fspath(file)
    found = opener.open(path)
    if found is None:
        return None
    sys.audit("open", path, arguments.mode, READ)
    return UnbufferedFile(found, arguments, path, budget)


def open_below(folder: str, parts: Sequence[str]) -> tuple[int, Device] | None:
    """Open a regular file for reading, on the loop. Each of `parts` has to lead below the one before.

    Return the descriptor and its device; None if only a thread can do it, or can say why it fails.
    """
    opener = _opener.get()
    found = None if opener is None else opener.open_below(folder, parts)
    if found is None:
        return None
    descriptor, device, _ = found
    sys.audit("open", os.path.join(folder, *parts), "r", READ)
    return descriptor, device


class CachedOpener:
    """Opens what can be opened without waiting. Raises OSError or AttributeError if the system cannot do that."""

    def __init__(self) -> None:
        self._system = linux.SystemCalls()
        self._here = linux.HERE
        self._place = linux.OpenHow(os.O_PATH)
        self._place_below = linux.OpenHow(os.O_PATH, linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS)
        self._at_once = linux.OpenHow(os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        self._known: PathFacts[bytes] = PathFacts()
        """Paths of regular files that can be opened at once, as the system spells them."""
        self._slow: PathFacts[bool] = PathFacts()
        """Paths of files whose bytes need a thread."""
        self._met_slow = False
        """Whether the last look met a device whose bytes need a thread."""
        self._descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str | bytes) -> Found | None:
        """Open `path` for reading; None if that would have to wait."""
        known = self._known.get(path)
        if known is not None:
            return self._open_known(known)
        if self._slow.get(path):
            return None
        name = _spelled(path)
        found = self._open_at(self._here, name, self._place)
        if found is not None:
            self._known.note(path, name)
        elif self._met_slow:
            self._slow.note(path, fact=True)
        return found

    def open_below(self, folder: str, parts: Sequence[str]) -> Found | None:
        """Open what `parts` lead to for reading, each below the one before; None if that would have to wait."""
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
        """Open a path that was a regular file a moment ago, without opening it as a place first.

        If it is something else by now, this does not wait either, and a thread opens it again.
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

    def _open_at(self, folder: int, name: bytes, how: linux.OpenHow) -> Found | None:
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
        """Return device and size of a regular file whose bytes need no thread; None of anything else."""
        status = self._system.look(descriptor)
        if status is None or not stat.S_ISREG(status.mode):
            return None
        device = known_device(status.device)
        self._met_slow = device is not None and not device.answers_at_once
        return None if device is None or self._met_slow else (device, status.size)

    def close(self) -> None:
        """Close the view of this process's descriptors."""
        os.close(self._descriptors)


def _close_place(descriptor: int) -> None:
    """Close a mere place. An error of that is suppressed, as the file that was opened through it is good."""
    with suppress(OSError):
        os.close(descriptor)


def _spelled(path: str | bytes) -> bytes:
    """Return `path` as the system takes it; b"" for one that cannot be a path: a thread says what is wrong with it."""
    with suppress(ValueError):
        name = os.fsencode(path)
        if b"\0" not in name:
            return name
    return b""


class _ProcessOpener:
    """The opener of this process, made when it is first used."""

    def __init__(self) -> None:
        self._opener: CachedOpener | None = None
        self._probed = False

    def get(self) -> CachedOpener | None:
        """Return the opener; None if the kernel, or a sandbox, does not let it work."""
        if not self._probed:
            self._opener, self._probed = self._probe(), True
        return self._opener

    def forget(self) -> None:
        """Make another opener, in a forked child: /proc/self means another process now."""
        if self._opener is not None:
            self._opener.close()
        self._opener, self._probed = None, False

    def _probe(self) -> CachedOpener | None:
        if sys.platform == "linux":
            with suppress(OSError, AttributeError):
                return CachedOpener()
        return None


_opener = _ProcessOpener()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_opener.forget)
