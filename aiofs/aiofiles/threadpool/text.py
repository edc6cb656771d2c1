"""Handles of text.

Python's text layer cannot ask for bytes again later: if it gets none, it takes that for the end of the file. So it is
called on the loop only when all bytes that it can ask for are in memory (`LocalFile.ahead`).

The text layer returns only the first line of a piece. The handle splits the other lines off itself, although the layer
has decoded them too. To follow, the layer later reads as many characters as the lines that were returned have. For that
it asks for no bytes, and afterwards it is where it would be if each line had been read from it.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from functools import lru_cache
from operator import length_hint
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from aiofiles.threadpool.text import AsyncTextIndirectIOWrapper

from aiofs.aiofiles.base import AiofilesTextIOWrapper
from aiofs.aiofiles.handle import LINES, SMALL, LocalHandle
from aiofs.localio.files import LocalFile, UpdateFile
from aiofs.localio.reading import INLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

SAFE_ENCODINGS = {
    *("ascii", "utf-8", "utf-8-sig", "koi8-r", "koi8-u", "tis-620", "hp-roman8", "kz1048"),
    *("big5", "big5hkscs", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "johab"),
    *("shift_jis", "shift_jis_2004", "shift_jisx0213", "cp932", "cp949", "cp950"),
    *("cp437", "cp850", "cp852", "cp855", "cp857", "cp858", "cp866"),
}
SAFE_FAMILIES = ("iso8859-", "cp125", "mac-")
KNOWN_ERRORS = {"strict", "replace", "ignore", "surrogateescape", "surrogatepass", "backslashreplace"}
"""Ways to treat bytes that cannot be decoded. A program's own way may do anything, even skip an end of line."""
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)")
LINE_END = re.compile(rb"\r\n?|\n")
LONGEST_UNDECIDED = 4
"""The most bytes that `UNDECIDED` can match."""
UNDECIDED = re.compile(rb"\r(?:[\x80-\xff].{0,2})?\Z", re.DOTALL)
r"""A "\r" that the text layer may keep back: the character after it is not there yet, or not all of it."""
MAYBE_CRLF = re.compile(rb"\r[\x80-\xff]")
r"""A "\r" that stands before a "\n" if the bytes between them cannot be decoded and are left out."""
OTHER_SEPARATORS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
r"""What str.splitlines() takes for an end of line, beside "\n"."""


@lru_cache
def line_encoding(encoding: str, errors: str) -> str | None:
    """Return the encoding that decodes one line by itself.

    None if the bytes of an end of line may be something else in this encoding, or with this handling of errors.
    """
    name = codecs.lookup(encoding).name
    if errors in KNOWN_ERRORS and (name in SAFE_ENCODINGS or name.startswith(SAFE_FAMILIES)):
        return name.removesuffix("-sig")  # which is a mark at the start of the file alone
    return None


def undecided_bytes(piece: bytes) -> int:
    r"""Return how many bytes at the end of `piece` leave open whether a "\r" is half of an end of line."""
    undecided = UNDECIDED.search(piece, max(len(piece) - LONGEST_UNDECIDED, 0))
    return len(undecided[0]) if undecided else 0


def has_line_end(piece: bytes, newline: str | None) -> bool:
    """Whether a line ends in `piece` for certain, for `newline` as in `open`."""
    if newline:
        return newline.encode("ascii") in piece
    return b"\n" in piece or piece.find(b"\r", 0, len(piece) - undecided_bytes(piece)) >= 0


def lines_after_first(before: bytes, taken: bytes, newline: str | None) -> bytes:
    """Return the whole lines of `taken` after the first line that ends there. `before` came before it in the file."""
    if newline:
        end = newline.encode("ascii")
        if end == b"\r\n" and before.endswith(b"\r"):
            taken = b"\r" + taken
        return taken[taken.find(end) + len(end) : taken.rfind(end) + len(end)]
    if before.endswith(b"\r"):
        taken = b"\r" + taken
    first = LINE_END.search(taken)
    last = max(taken.rfind(b"\n"), taken.rfind(b"\r", 0, len(taken) - undecided_bytes(taken))) + 1
    return taken[first.end() : last] if first else b""


def decode_lines(lines: bytes, encoding: str, errors: str, newline: str | None) -> str:
    """Return the text of whole lines, as the text layer reads them."""
    text = lines.decode(encoding, errors)
    if newline is None and "\r" in text:
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def split_lines(text: str, newline: str | None) -> list[str]:
    """Return the lines that `text` is made of."""
    if not any(map(text.__contains__, OTHER_SEPARATORS)):
        return text.splitlines(keepends=True)
    if newline == "":
        return LINE.findall(text)
    end = newline or "\n"
    return [line + end for line in text.split(end)[:-1]]


__all__ = ["AsyncTextIOWrapper", "AsyncTextIndirectIOWrapper"]

Result = TypeVar("Result")
P = ParamSpec("P")

PIECE = 8192
"""Bytes that the text layer asks for at a time."""
BYTES_PER_CHARACTER = 4
BYTE_ORDER_MARK = 3
"""Bytes of the mark that utf-8-sig begins with."""
EMPTYING = {"flush", "seek", "tell", "truncate"}
"""Methods of the text layer that write all that it holds. Others may fill the buffer below until it writes a part."""
PLAIN_COOKIE = 1 << 63
"""From this number on, a position of `tell` has more in it than an offset, and a seek to it may read the file."""


class AsyncTextIOWrapper(LocalHandle[str], AiofilesTextIOWrapper):
    """A file of text: what `open` gives without `b` in the mode, or what `wrap` makes of any `io.TextIOBase`."""

    _lines: Iterator[str]
    _count = _characters = 0
    """How many lines the stream stands before, and their characters, including the lines that were given out."""
    _piece = PIECE
    """Bytes that are read at once: more each time, as long as only lines are asked for."""
    _last: bytes | None = b""
    r"""The last bytes that the text layer got: it may still wait with a b"\r", which is half of an end of line.

    None if they are unknown.
    """

    def __init__(
        self, file: Any, loop: asyncio.AbstractEventLoop | None = None, executor: Executor | None = None
    ) -> None:
        super().__init__(file, loop, executor)

    def _attach(self, local: LocalFile) -> None:
        stream = self._known_stream
        self._readline: Any = stream.readline
        self._newline = local.newline
        self._encoding = line_encoding(stream.encoding, stream.errors)
        self._skips_bytes = stream.errors == "ignore" and local.newline in {None, "", "\r\n"}
        super()._attach(local)

    def _take(self) -> None:
        super()._take()
        self._piece = PIECE
        if self._local is not None:
            self._local.ahead = b""

    def _may_read_now(self) -> bool:
        return self._encoding is not None and super()._may_read_now()

    def _empties(self, function: Callable[..., object]) -> bool:
        return function.__name__ in EMPTYING

    async def _drained(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        self._last = None
        return await super()._drained(function, *args, **kwargs)

    async def read(self, size: int | None = -1, /) -> str:
        """Return up to `size` characters, by default all that are left; "" at the end."""
        if self._unbuffered is not None and size == -1:
            text = self._unbuffered.read_text()
            if text is not None:
                return text
        if self._local is None:
            return await self._call(self._stream.read, size)
        if self._busy or self._budget.over:
            await self._acquire()
        else:
            self._take()
        try:
            if self._may_read_now():
                if size is None or size < 0:
                    if self._take_rest(self._local):
                        self._last = b""
                        return self._stream.read()  # type: ignore[no-any-return]
                elif self._bring(self._local, size):
                    return self._read_ahead(self._local, self._known_stream.read, size)[0]
            return await self._drained(self._stream.read, size)
        finally:
            self._release()

    def _take_rest(self, local: LocalFile) -> bool:
        """Read the rest of the file for the text layer. Return False if the rest is large or not in memory.

        Return False also for a file that may be written: its buffer seeks in the file before it asks for the rest.
        """
        if not isinstance(local, UpdateFile):
            local.rest = local.take_rest()
        return local.rest is not None

    def _bring(self, local: LocalFile, size: int) -> bool:
        """Read all bytes that `size` characters can need; False where those are many or not at hand."""
        wanted = size * BYTES_PER_CHARACTER + BYTE_ORDER_MARK
        if wanted > INLINE or self._stream.errors == "ignore":
            return False
        local.ahead = b""
        while len(local.ahead) < wanted:
            piece = local.load(max(wanted - len(local.ahead), PIECE))
            if not piece:
                return piece is not None
        return True

    def _read_ahead(self, local: LocalFile, read: Callable[[int], str], size: int = -1) -> tuple[str, bytes]:
        """Call a method of the text layer, which gets only bytes that are in memory. Return also those that it got."""
        ahead = local.ahead
        last, self._last = self._last, None
        local.sealed, local.ended = True, False
        try:
            text = read(size)
        finally:
            local.sealed = False
            left, local.ahead = local.ahead, b""
        taken = ahead[: len(ahead) - len(left)] if left else ahead
        if local.ended:
            self._last = b""
        elif last is not None or len(taken) >= LONGEST_UNDECIDED:
            self._last = ((last or b"") + taken[-LONGEST_UNDECIDED:])[-LONGEST_UNDECIDED:]
        return text, taken

    # Lines

    async def readline(self, size: int = -1, /) -> str:
        """Return the next line with its end, or `size` characters of it; "" at the end of the file."""
        if size == -1:
            for line in self._lines:
                return line
        return await self._next_line(size)

    async def readlines(self, hint: int | None = -1, /) -> list[str]:
        """Return the lines that are left, or the next lines of together about `hint` characters."""
        return await super().readlines(hint)

    async def __anext__(self) -> str:
        for line in self._lines:
            return line
        if line := await self._next_line(-1):
            return line
        raise StopAsyncIteration

    async def _next_line(self, size: int) -> str:
        """Return a line where none is in memory."""
        if self._local is None:
            return await self._call(self._stream.readline, size)
        if self._budget.over:
            await asyncio.sleep(0)
        if size == -1:
            for line in self._lines:  # another task has brought more meanwhile
                return line
            first = self._line_now(self._local)
            if first is not None:
                return first
        await self._acquire()
        try:
            if size != -1 or not self._may_read_now() or not await self._bring_line(self._local):
                return await self._drained(self._stream.readline, size)
            return self._line(self._local)
        finally:
            self._release()

    def _line_now(self, local: LocalFile) -> str | None:
        """Return a line if its end, or that of the file, is within the next piece and at hand."""
        if self._busy:
            return None
        self._sync_stream()
        if not self._may_read_now():
            return None
        self._budget.spend()
        piece = local.ahead or local.load(self._piece)
        if piece is None or (piece and not self._has_line_end(piece)):
            return None
        line = self._line_of_many(local, piece) if len(piece) > PIECE else self._line(local)
        self._allow_inline()
        return line

    def _line_of_many(self, local: LocalFile, piece: bytes) -> str:
        """Return a line. The text layer decodes many pieces at once if that makes no difference."""
        many = len(piece) // PIECE * PIECE
        if not piece.isascii() or b"\r" in piece or piece.find(b"\n", 0, many) < 0:
            line = self._line(local)  # else it would meet what cannot be decoded, or a "\r", too early
            self._piece = PIECE
            return line
        local.ahead = piece[:many]
        self._known_stream._CHUNK_SIZE = many  # noqa: SLF001 - there is no other way to say it
        try:
            return self._line(local)
        finally:
            self._known_stream._CHUNK_SIZE = PIECE  # noqa: SLF001 - the same

    async def _bring_line(self, local: LocalFile) -> bool:
        """Read the rest of a line, or of the file, in a thread if need be; False where that is long."""
        while len(local.ahead) < INLINE:
            piece = local.load(PIECE)
            if piece is None:
                piece = await self._in_thread(local.load, INLINE)
            if not piece or self._has_line_end(piece):
                return True
        local.ahead = b""
        return False

    def _line(self, local: LocalFile) -> str:
        """Return a line that is in memory, and keep the whole lines that came with it for the next calls."""
        last, ahead = self._last, local.ahead
        line, taken = self._read_ahead(local, self._readline)
        only_read = not isinstance(local, UpdateFile)  # else text is written where the layer has read to
        if only_read and not local.device.answers_at_once:
            local.ahead = ahead[len(taken) :]
        if last is not None and (rest := self._lines_after_first(last, taken)):
            text = decode_lines(rest, cast("str", self._encoding), self._known_stream.errors, self._newline)
            lines = split_lines(text, self._newline)
            if only_read:
                fitting = len(taken) * LINES // len(lines) // PIECE * PIECE
                self._piece = max(min(self._piece * 2, fitting, INLINE), PIECE)
            self._count, self._characters = len(lines), len(text)
            self._keep_lines(lines)
        return line

    def _has_line_end(self, piece: bytes) -> bool:
        return has_line_end(piece, self._newline) and not (self._skips_bytes and MAYBE_CRLF.search(piece))

    def _lines_after_first(self, before: bytes, taken: bytes) -> bytes:
        if undecided_bytes(before) > 1 or (self._skips_bytes and MAYBE_CRLF.search(before + taken)):
            return b""
        return lines_after_first(before, taken, self._newline)

    def _move_stream(self, left: int) -> None:
        self._known_stream.read(self._characters - left)

    def _skip_given_lines(self) -> None:
        """Move the stream after the lines that were given out, and keep the others in memory."""
        left = length_hint(self._lines)
        for _ in range(self._count - left):
            self._characters -= len(self._readline())
        self._count = left

    # Writing and positions

    async def write(self, data: str, /) -> int:
        """Write all of `data`; return its length. An error may come later: from the next write, `flush` or `close`."""
        if self._writes and type(data) is str and len(data) <= SMALL:
            self._writes -= 1
            return self._write(data)  # type: ignore[no-any-return]
        return await self._write_slowly(data, len(data) if isinstance(data, str) else 0)

    async def seek(self, cookie: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to what `tell` returned, to the start (0) or to the end (0, 2); return the position."""
        self._sync_if_free()
        if (
            self._reads
            and type(cookie) is int
            and (0 <= cookie < PLAIN_COOKIE if whence == 0 else whence == os.SEEK_END)
        ):
            self._reads -= 1
            self._piece, self._last = PIECE, None
            cast("LocalFile", self._local).ahead = b""
            place: int = self._known_stream.seek(cookie, whence)
            self._last = b""  # unless that failed and everything is as before
            return place
        return await self._alone(self._stream.seek, cookie, whence)

    async def tell(self) -> int:
        """Return the position, as an opaque number for `seek`."""
        if self._may_tell_now():
            if self._lines_ahead:
                self._skip_given_lines()
            return self._known_stream.tell()  # type: ignore[no-any-return]
        return await self._alone(self._stream.tell)

    async def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return await self._ask(self._stream.readable)

    def detach(self) -> Any:
        """Return the buffer below the text. The handle cannot be used any more."""
        return self._file.detach()

    @property
    def buffer(self) -> Any:
        """The buffer below the text."""
        return self._file.buffer

    @property
    def encoding(self) -> str:
        """The name of the encoding."""
        return self._stream.encoding  # type: ignore[no-any-return]

    @property
    def errors(self) -> str | None:
        """What is done about text that cannot be encoded, and bytes that cannot be decoded."""
        return self._stream.errors  # type: ignore[no-any-return]

    @property
    def line_buffering(self) -> bool:
        """Whether each line is brought to the file when it is complete."""
        return self._stream.line_buffering  # type: ignore[no-any-return]

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The ends of line met so far."""
        return self._stream.newlines  # type: ignore[no-any-return]
