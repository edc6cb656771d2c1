"""How characters are kept as bytes, and text decoded ahead of its reader."""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The encoding, errors and newline of a text file, known to be good."""

    encoding: str
    errors: str
    newline: str | None

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> TextFormat:
        """Read the arguments as builtins' `open` does, with the locale's encoding where none is given.

        :raises LookupError: for an unknown encoding or error handler, or a codec that does not encode text.
        :raises ValueError: for a newline other than `None`, "", newline, carriage return, or both.
        """
        wrapper = io.TextIOWrapper(io.BytesIO(), encoding or _default_encoding(), errors, newline)
        codecs.lookup_error(wrapper.errors or "strict")
        return cls(wrapper.encoding, wrapper.errors or "strict", newline)

    def decoder(self, *, at_start: bool = True) -> codecs.IncrementalDecoder | io.IncrementalNewlineDecoder:
        """Return a decoder for the start of a file, or behind it (no BOM follows), that also translates newlines."""
        decoder = codecs.getincrementaldecoder(self.encoding)(self.errors)
        if not at_start and self.mark_size:
            decoder.setstate((b"", 0))  # only with a byte order mark: iso2022 has no such state
        if self.newline:
            return decoder
        return io.IncrementalNewlineDecoder(decoder, translate=self.newline is None)

    def encoder(self, *, at_start: bool) -> Callable[[str], bytes]:
        """Return what encodes one text after another, beginning at the start of a file (with a BOM) or behind it."""
        newline = os.linesep if self.newline is None else self.newline
        encode = self._plain_encoder(at_start=at_start)
        if newline in {"", "\n"}:
            return encode
        return lambda text: encode(text.replace("\n", newline))

    def lines(self, text: str) -> list[str]:
        """Cut decoded text behind every line end; the last piece may lack one."""
        newline = self.newline
        if newline is None or newline in {"", "\n"}:
            return io.StringIO(text, newline="" if newline == "" else "\n").readlines()
        *whole, last = text.split(newline)
        ended = [line + newline for line in whole]
        return [*ended, last] if last else ended

    def first_line(self, text: str) -> str:
        """Return decoded text up to the first line end, with it."""
        newline = self.newline
        if newline is None or newline in {"", "\n"}:
            return io.StringIO(text, newline="" if newline == "" else "\n").readline()
        line, end, _ = text.partition(newline)
        return line + end

    @property
    def mark_size(self) -> int:
        """How many bytes of byte order mark a file begins with."""
        return len("".encode(self.encoding))

    @property
    def line_ends(self) -> tuple[str, ...]:
        """What a whole line ends with."""
        if self.newline == "":
            return ("\n", "\r")
        return (self.newline or "\n",)

    def _plain_encoder(self, *, at_start: bool) -> Callable[[str], bytes]:
        name = codecs.lookup(self.encoding).name
        if name == "utf-8" and self.errors == "strict":
            return str.encode
        if name in {"utf-8", "ascii", "iso8859-1"}:
            return lambda text: text.encode(name, self.errors)
        encoder = codecs.getincrementalencoder(self.encoding)(self.errors)
        if not at_start and self.mark_size:
            encoder.setstate(0)
        return encoder.encode


def _default_encoding() -> str:
    return "utf-8" if sys.flags.utf8_mode else locale.getencoding()


_FIELD = 64
_MASK = (1 << _FIELD) - 1
_FEW_BYTES = 8


class Cookie(NamedTuple):
    """A place in a text: go to the byte `position`, set the decoder, feed it, and leave out the first characters."""

    position: int
    flags: int = 0
    feed: int = 0
    skip: int = 0
    final: bool = False

    def pack(self) -> int:
        """Return it as one number: the offset itself where the encoding allows that."""
        number = 0
        for field in (int(self.final), self.skip, self.feed, self.flags, self.position):
            number = number << _FIELD | field
        return number

    @classmethod
    def unpack(cls, number: int) -> Cookie:
        """Return the place that `pack` gave this number."""
        position, flags, feed, skip, final = (number >> _FIELD * place & _MASK for place in range(5))
        return cls(position, flags, feed, skip, bool(final))


class _Source(NamedTuple):
    """Bytes that were decoded in one go, from `position` on and with the decoder in the state `flags`."""

    position: int
    flags: int
    data: bytes
    final: bool
    text: str


class Ahead:
    """Text decoded ahead of its reader, from `position` on, and which bytes it came from."""

    def __init__(self, form: TextFormat, position: int, flags: int = 0) -> None:
        self._form = form
        self._decoder = form.decoder(at_start=position == 0)
        if flags:
            self._decoder.setstate((b"", flags))
        self.position: int = position
        self._sources: list[_Source] = []
        self._before = 0
        self._text = ""
        self._at = 0
        self._lines: list[str] = []
        self._coming: Iterator[str] = iter(())

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The line ends met so far, where they are translated."""
        return getattr(self._decoder, "newlines", None)

    def feed(self, data: bytes, *, final: bool) -> None:
        """Decode the next bytes, the last ones where `final`.

        :raises UnicodeError: if they are not what the encoding says; then nothing has changed.
        """
        held, flags = self._decoder.getstate()
        try:
            text = self._decoder.decode(data, final)
        except UnicodeError:
            self._decoder.setstate((held, flags))
            raise
        rest = self.take()
        self._sources.append(_Source(self.position - len(held), int(flags), held + data, final, text))
        self.position += len(data)
        self._text = rest + text
        self._at = 0
        self._before = sum(len(source.text) for source in self._sources) - len(self._text)
        while self._sources and self._before >= len(self._sources[0].text):
            self._before -= len(self._sources.pop(0).text)

    @property
    def left(self) -> int:
        """How many characters there are ahead."""
        self._settle()
        return len(self._text) - self._at

    def take(self, size: int | None = None) -> str:
        """Hand out the next `size` characters, fewer where there are no more."""
        self._settle()
        start = self._at
        self._at = len(self._text) if size is None else min(len(self._text), start + size)
        return self._text[start : self._at]

    def give_back(self, size: int) -> None:
        """Put the last `size` characters that were taken back."""
        self._at -= size

    def lines(self, *, final: bool = False) -> Iterator[str]:
        """Return an iterator over the whole lines ahead, and with `final` also over the rest."""
        rest = self.take()
        self._lines = self._form.lines(rest)
        if self._lines and not final and not self._lines[-1].endswith(self._form.line_ends):
            self._at -= len(self._lines.pop())
        self._coming = iter(self._lines)
        return self._coming

    def place(self) -> tuple[Cookie, int]:
        """Return where the next character is: the cookie to continue from, and the offset of its first byte."""
        taken = self._before + self._at - self._still_coming()
        held, flags = self._decoder.getstate()
        for source in self._sources:
            if taken < len(source.text):
                try:
                    return self._place_in(source, taken)
                finally:
                    self._decoder.setstate((held, flags))
            taken -= len(source.text)
        end = self.position - len(held)
        return Cookie(end, int(flags)), end

    def _place_in(self, source: _Source, taken: int) -> tuple[Cookie, int]:
        """Find the byte behind the first `taken` characters, by decoding so many bytes that they come out."""
        guess = self._guess(source, taken)
        if self._count(source, guess) == taken and not self._decoder.getstate()[0]:
            return Cookie(source.position + guess, int(self._decoder.getstate()[1])), source.position + guess
        enough = bisect_left(range(len(source.data) + 1), taken, key=partial(self._count, source))
        if enough > len(source.data):
            return Cookie(source.position, source.flags, enough - 1, taken, final=True), source.position + enough - 1
        offset = source.position + enough - (self._count(source, enough) > taken)
        for start in range(enough, max(0, enough - _FEW_BYTES), -1):
            done = self._count(source, start)
            held, flags = self._decoder.getstate()
            if not held and done <= taken:
                feed = 0 if done == taken else enough - start
                return Cookie(source.position + start, int(flags), feed, taken - done), offset
        return Cookie(source.position, source.flags, enough, taken), offset

    def _guess(self, source: _Source, taken: int) -> int:
        """Return how many bytes the first `taken` characters would be, were they encoded the plain way."""
        text = source.text[:taken]
        if self.newlines == "\r\n":
            text = text.replace("\n", "\r\n")
        try:
            size = len(text.encode(self._form.encoding, self._form.errors))
        except UnicodeError:
            return 0
        return size - self._form.mark_size if source.position else size

    def _count(self, source: _Source, size: int) -> int:
        """Return how many characters come out of the first `size` bytes."""
        self._decoder.setstate((b"", source.flags))
        return len(self._decoder.decode(source.data[:size]))

    def _still_coming(self) -> int:
        left = self._coming.__length_hint__()  # type: ignore[attr-defined]
        return sum(map(len, self._lines[-left:])) if left else 0

    def _settle(self) -> None:
        """Take back the lines that were cut and not read, also from running iterators."""
        self._at -= self._still_coming()
        self._lines.clear()
