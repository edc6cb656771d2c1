"""Texts with every trap of encodings and newlines in them, and files of bytes to hold them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from aiofs.files.handle import FileLike
from aiofs.files.text import CHUNK

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "utf-7",
    "latin-1",
    "cp1252",
    "shift_jis",
    "iso2022_jp",
]
NEWLINES = [None, "", "\n", "\r", "\r\n"]
TRAPS = "ab é€ \n\r\x0b\x0c\x1c\x85\u2028\u3042\u30a2\U0001f600"

encodings = st.sampled_from(ENCODINGS)
newlines = st.sampled_from(NEWLINES)


class BytesFile(FileLike):
    """Bytes in memory; what `close` published is in `published`."""

    def __init__(self, data: bytes = b"", mode: str = "r+", *, most: int = -1) -> None:
        super().__init__("name.txt", mode)
        self.raw = io.BytesIO(data)
        self.published: bytes | None = None
        self.most = most
        self.aborted = False
        self.full = False

    async def read(self, size: int | None = -1) -> bytes:
        self._guard()
        if self._mode not in {"r", "r+"}:
            self._cannot("read")
        return self.raw.read(size)

    async def write(self, data: ReadableBuffer) -> int:
        self._guard()
        if self._mode == "r":
            self._cannot("write")
        if data and self.full:
            raise OSError(28, "no space left", self._name)
        return self.raw.write(data)

    async def seek(self, offset: int, whence: int = 0) -> int:
        self._guard()
        return self.raw.seek(offset, whence)

    async def tell(self) -> int:
        self._guard()
        return self.raw.tell()

    async def truncate(self, size: int | None = None) -> int:
        self._guard()
        return self.raw.truncate(size)

    async def close(self) -> None:
        if not self._closed:
            self.published = self.raw.getvalue()
        self._closed = True

    async def abort(self) -> None:
        self._closed = self.aborted = True


def fitting(text: str, encoding: str) -> str:
    """Leave out what the encoding has not."""
    kept = []
    for character in text:
        try:
            character.encode(encoding)
        except UnicodeError:
            continue
        kept.append(character)
    return "".join(kept)


class Stored(NamedTuple):
    """A text file, the newline it is opened with, and how many characters come before the interesting ones."""

    ending: str
    encoding: str
    newline: str | None
    before: int

    @property
    def data(self) -> bytes:
        filling = fitting("ab\u3042\r\n", self.encoding) * (self.before // 4 + 1)
        return (filling[: self.before] + fitting(self.ending, self.encoding)).encode(self.encoding)


borders = st.sampled_from([0, 0, CHUNK // 8, CHUNK // 4, CHUNK // 2, CHUNK]).flatmap(
    lambda border: st.integers(max(0, border - 4), border)
)
stored = st.builds(Stored, st.text(TRAPS, max_size=40), encodings, newlines, borders)

READS = st.one_of(
    st.tuples(st.just("read"), st.sampled_from([0, 1, 2, 3, 7, CHUNK // 4, CHUNK - 1, CHUNK, CHUNK + 1])),
    st.tuples(st.just("readline"), st.sampled_from([-1, 0, 1, 2, 5, 100])),
    st.tuples(st.just("tell"), st.just(0)),
    st.tuples(st.just("back"), st.integers(0, 10)),
    st.tuples(st.just("end"), st.just(0)),
    st.tuples(st.just("start"), st.just(0)),
)


def builtin(data: bytes, encoding: str, newline: str | None, errors: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline)
