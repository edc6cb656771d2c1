"""Real file objects: Python's own buffers and text layer over a file of an asynchronous file system.

`io` closes a file that is garbage-collected, and one whose block was left by an exception; to close is to publish. The
classes here abort both instead.
"""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

from aiofs.blocking.thread import loop_thread
from aiofs.errors import Spoiled
from aiofs.files.handle import PIECE, caller, check_piece
from aiofs.files.reading import SMALLEST_AHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

    from aiofs.driver import Entry
    from aiofs.files.decoding import TextFormat
    from aiofs.files.handle import Handle
    from aiofs.files.opening import Opening
    from aiofs.modes import Mode
    from aiofs.partials import Checkpoint

BUFFER = 1 << 18
"""How many bytes a buffer holds: one call of the loop moves them."""
UNKNOWN = -1


class RawFile(io.RawIOBase):
    """An open file without a buffer: each operation but `tell`, and most seeks, is a call in the loop."""

    closed: bool = False  # `io` asks at each read: a property would cost more than that
    """Whether it was closed or aborted."""

    def __init__(self, path: str, action: str) -> None:
        self.name: str = path
        self.mode: str = action.replace("r+", "rb+") if "+" in action else f"{action}b"
        self._action = action
        self._loop_thread = loop_thread()
        self._handle: Handle | None = None
        self._opened_at = caller()
        self._postponed = False
        self._dropped = False
        self._spoiled = False
        self._in_block = False
        self._before_block: BaseException | None = None
        self._seekable = False
        self._position = 0  # where the next byte is read or written
        self._at = 0  # where the handle stands
        self._want = SMALLEST_AHEAD  # how much the next reading asks for; it doubles while no seek comes

    def enter(self, opening: Opening[Any]) -> None:
        """Open the file.

        :raises OSError: as entering the opening does.
        """
        try:
            self._loop_thread.run(self._open(opening))
        except BaseException:
            self.abort()  # an interrupt may have come too late to keep it from being opened
            raise

    async def _open(self, opening: Opening[Any]) -> None:
        handle: Handle = await opening
        self._handle = handle
        self._loop_thread.files.add(handle)
        handle.opened_at = self._opened_at
        self._seekable = handle.seeks_anywhere
        self._position = self._at = await handle.tell()

    @property
    def handle(self) -> Handle:
        """The asynchronous handle.

        :raises ValueError: if the file is closed.
        """
        if self.closed or self._handle is None:
            raise ValueError(f"I/O operation on closed file {self.name!r}")
        return self._handle

    @property
    def entry(self) -> Entry:
        """What the store knows of the version that is read, or of the one that was published.

        :raises ValueError: if there is none yet, or none at all.
        """
        if self._handle is None:
            raise ValueError(f"file {self.name!r} was never open")
        return self._handle.entry

    def readable(self) -> bool:
        """Whether `read` is allowed."""
        return self.handle is not None and self._action.startswith("r")

    def writable(self) -> bool:
        """Whether `write` is allowed."""
        return self.handle is not None and self._action != "r"

    def seekable(self) -> bool:
        """Whether no seek can fail. False for a new file whose store cannot change parts that it was given."""
        return self.handle is not None and self._seekable

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into `buffer`, perhaps only a part of it, and return how many bytes that were; 0 only at the end."""
        self._check("read", readable=self._action.startswith("r"))
        with memoryview(buffer).cast("B") as view:
            size = len(view)
            if size <= BUFFER:
                size = min(size, self._want)
                data = self._move(lambda handle: handle.read1(size))
                self._want = min(BUFFER, self._want * 2)
            else:
                data = self._move(lambda handle: handle.read(size))
            view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Return all that is left."""
        self._check("read", readable=self._action.startswith("r"))
        return self._move(lambda handle: handle.read(-1))

    def write(self, data: ReadableBuffer) -> int:
        """Write `data` and return how many bytes that were. After a failure nothing of the file can be published."""
        if self._dropped:
            return memoryview(data).nbytes
        self._check("write", readable=self._action != "r")
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str': open with mode 't' or encoding= for text")
        whole = bytes(data)  # the caller may change its buffer, or free it, while an interrupted call still ends
        self._spoiled = True
        self._call(self._write(whole))
        self._spoiled = False
        return len(whole)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move, and return the new position.

        :raises io.UnsupportedOperation: if `seekable` is false.
        """
        if self._dropped:
            return self._position
        handle = self.handle
        if not self._seekable:
            reason = (
                "this store takes the bytes of a new file in order: write a local file, and give it to write_bytes()"
            )
            raise io.UnsupportedOperation(f"seek: file {self.name!r} is open in mode {self.mode!r}: {reason}")
        if whence == io.SEEK_END:
            self._position = self._at = self._call(handle.seek(offset, whence))
        else:
            target = offset + (self._position if whence == io.SEEK_CUR else 0)
            if whence not in {io.SEEK_SET, io.SEEK_CUR} or target < 0:
                raise ValueError(f"seek to {target}, before the start of the file, or by whence={whence!r}")
            self._position = target
        if self._position != self._at:
            self._want = SMALLEST_AHEAD
        return self._position

    def tell(self) -> int:
        """Return the position."""
        self._check("tell", readable=True)
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long, by default up to the position."""
        self._check("truncate", readable=self._action != "r")
        self._spoiled = True
        try:
            cut: int = self._call(self.handle.truncate(self._position if size is None else size))
        except io.UnsupportedOperation:
            self._spoiled = False  # refused before anything was changed
            raise
        self._spoiled = False
        return cut

    def fileno(self) -> NoReturn:
        """Raise `io.UnsupportedOperation`: the bytes may be anywhere."""
        raise io.UnsupportedOperation(f"fileno: file {self.name!r} has no descriptor")

    def close(self) -> None:
        """Publish what was written. Harmless when done twice.

        :raises OSError: if it could not be published; the old bytes then stay and the lock is free.
        """
        if self.closed or self._dropped:
            self.closed = True
            return
        if self._spoiled:
            self.abort()
            raise Spoiled.of(self.name, "an earlier write failed, so nothing was published")
        self.closed = True
        if self._in_block and sys.exc_info()[1] is not self._before_block:
            self._postponed = True  # something over it was closed by an exception, which the block may let pass
        else:
            self._end(publish=True)

    def checkpoint(self) -> Checkpoint:
        """Make safe all that was written, for another process to go on."""
        checkpoint: Checkpoint = self._call(self.handle.checkpoint())
        return checkpoint

    def abort(self, *, discard: bool = False) -> None:
        """Close without publishing. Harmless when done twice. With `discard`, a checkpoint is removed, too."""
        if not self.closed or self._postponed:
            self.closed, self._postponed = True, False
            self._end(publish=False, discard=discard)

    def enter_block(self) -> None:
        """Begin a `with` block."""
        self.handle  # noqa: B018 -- a closed file raises
        self._in_block, self._before_block = True, sys.exc_info()[1]

    def leave_block(self) -> None:
        """Publish now if a `close` within the block was postponed."""
        self._in_block, self._before_block = False, None
        if self._postponed:
            self._postponed = False
            self._end(publish=True)

    def drop(self) -> None:
        """Abort without waiting, as the file is collected, and warn if it was not closed. Nothing is published."""
        handle = self._handle
        if handle is None or (self.closed and not self._postponed):
            return
        self._postponed, self._handle, self._dropped = False, None, True
        self.closed = True
        if self._loop_thread.inherited:
            return
        self._loop_thread.spawn(handle.leave())
        outcome = "" if self._action == "r" else "; what was written is lost"
        message = f"file {self.name!r}, opened at {self._opened_at}, was never closed{outcome}"
        warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def _dealloc_warn(self, source: object) -> None:
        """Drop the file: `io` calls this on collecting a buffer or a text layer over it, before it closes that.

        The layer moves its last bytes here before it closes the file. They are discarded: Python 3.13 and later print
        an error that is raised then.
        """
        if not self.closed:
            self.drop()
            self.closed = not self._dropped  # pyright: ignore[reportIncompatibleMethodOverride] -- no property, see above

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self.drop()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: two would close one file."""
        raise TypeError(f"open file {self.name!r} cannot be copied or pickled: send its path and its file system")

    def _check(self, verb: str, *, readable: bool) -> None:
        """Raise unless the file is open, and in a mode that has the verb."""
        self.handle  # noqa: B018 -- a closed file raises
        if not readable:
            raise io.UnsupportedOperation(f"{verb}: file {self.name!r} is open in mode {self.mode!r}")

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop_thread.run(work)

    def _move(self, read: Callable[[Handle], Coroutine[Any, Any, bytes]]) -> bytes:
        """Read at the position, and move it behind what was read."""
        data: bytes = self._call(self._read(self.handle, read))
        self._position = self._at = self._position + len(data)
        return data

    async def _read(self, handle: Handle, read: Callable[[Handle], Coroutine[Any, Any, bytes]]) -> bytes:
        await self._go(handle)
        return await read(handle)

    async def _write(self, data: bytes) -> None:
        handle = self.handle
        await self._go(handle)
        await handle.write(data)
        self._position = self._at = await handle.tell()

    async def _go(self, handle: Handle) -> None:
        """Bring the handle to the position. Where it stands is unknown until the operation has succeeded."""
        at, self._at = self._at, UNKNOWN
        if at != self._position:
            await handle.seek(self._position)

    def _end(self, *, publish: bool, discard: bool = False) -> None:
        handle = self._handle
        if handle is not None and (publish or not self._loop_thread.ending):
            self._loop_thread.run(self._close(handle, publish=publish, discard=discard))

    async def _close(self, handle: Handle, *, publish: bool, discard: bool) -> None:
        try:
            await (handle.close() if publish else handle.abort() if discard else handle.leave())
        finally:
            self._loop_thread.files.discard(handle)


class BlockingFile:
    """What all file objects share. Leaving the `with` block publishes; after an exception nothing is published."""

    _raw: RawFile

    @property
    def entry(self) -> Entry:
        """The entry of the version that is read; of a file open to write, once it is closed, of what it published.

        Asking for it makes no request. A file open with `r+` has the version that it read until it is closed.

        :raises ValueError: before a file that was opened to write is closed, and if it published nothing.
        """
        return self._raw.entry

    def abort(self) -> None:
        """Close without publishing, and remove what `checkpoint` kept. Harmless when done twice."""
        self._raw.abort(discard=True)

    def leave(self) -> None:
        """Close without publishing, as an exception in the block does. What `checkpoint` made safe stays."""
        self._raw.abort()

    def close(self) -> None:
        """Publish what was written. Harmless when done twice.

        While an exception is handled within the `with` block, publishing waits for the block's end.

        :raises OSError: if it could not be published; the old bytes then stay and the lock is free.
        """
        if self._raw.closed:
            return
        layer: Any = super()
        try:
            layer.flush()
        except BaseException:
            self._raw.abort()
            raise
        layer.close()

    def __enter__(self) -> Self:
        self._raw.enter_block()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._raw.abort()
        else:
            self.close()
            self._raw.leave_block()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: two would close one file."""
        self._raw.__reduce__()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was never open
            self._raw.drop()


class BlockingBytesFile(BlockingFile):
    """What the three kinds of files for bytes share."""

    def chunks(self, size: int = PIECE) -> Iterator[bytes]:
        """Yield all that is left in pieces of `size` bytes; the last one may be shorter.

        :raises ValueError: for a size that is not greater than 0.
        """
        check_piece(size)
        read: Callable[[int], bytes] = super().read  # type: ignore[misc] # of the layer of `io`
        return iter(lambda: read(size), b"")


class BlockingReader(BlockingBytesFile, io.BufferedReader):
    """A file open for reading bytes: an `io.BufferedReader`."""

    def __init__(self, raw: RawFile) -> None:
        io.BufferedReader.__init__(self, raw, BUFFER)
        self._raw = raw


class BlockingWriter(BlockingBytesFile, io.BufferedWriter):
    """A file open for writing bytes (w, x, a): an `io.BufferedWriter`."""

    def __init__(self, raw: RawFile) -> None:
        io.BufferedWriter.__init__(self, raw, BUFFER)
        self._raw = raw

    def checkpoint(self) -> Checkpoint:
        """Make safe all that was written, so that another process can go on after this one was killed.

        :raises io.UnsupportedOperation: if the file was not opened with `partial=`.
        """
        self.flush()
        return self._raw.checkpoint()


class BlockingEditor(BlockingBytesFile, io.BufferedRandom):
    """A file open for changing bytes (r+): an `io.BufferedRandom`."""

    def __init__(self, raw: RawFile) -> None:
        io.BufferedRandom.__init__(self, raw, BUFFER)
        self._raw = raw


class BlockingTextFile(BlockingFile, io.TextIOWrapper):
    """A file open for text: an `io.TextIOWrapper` over one of the others."""

    def __init__(self, buffer: BlockingReader | BlockingWriter | BlockingEditor, form: TextFormat, mode: str) -> None:
        io.TextIOWrapper.__init__(self, buffer, form.encoding, form.errors, form.newline)
        self._raw = buffer._raw  # noqa: SLF001 -- of the same family
        vars(self)["mode"] = mode  # as `open` of builtins does


BUFFERS: dict[str, type[BlockingReader | BlockingEditor]] = {"r": BlockingReader, "r+": BlockingEditor}


def open_file(opening: Opening[Any], path: str, mode: Mode, form: TextFormat | None) -> Any:
    """Enter `opening`, which gives a file for bytes, and return the file object for it: of text, if `form` is given.

    :raises OSError: as entering the opening does.
    """
    raw = RawFile(path, mode.action)
    raw.enter(opening)
    try:
        buffer = BUFFERS.get(mode.action, BlockingWriter)(raw)
        return buffer if form is None else BlockingTextFile(buffer, form, mode.spelled)
    except BaseException:
        raw.abort()
        raise
