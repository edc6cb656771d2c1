"""How characters are kept as bytes: encoding, errors and newlines, as builtins understand them."""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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

        :raises LookupError: for an encoding or error handler that nobody knows, or an encoding that is not of text.
        :raises ValueError: for a newline that is none of `None`, "", newline, carriage return, or both.
        """
        wrapper = io.TextIOWrapper(io.BytesIO(), encoding or _default_encoding(), errors, newline)
        codecs.lookup_error(wrapper.errors or "strict")
        return cls(wrapper.encoding, wrapper.errors or "strict", newline)

    def decoder(self, *, at_start: bool = True) -> codecs.IncrementalDecoder | io.IncrementalNewlineDecoder:
        """Return a decoder for the start of a file, or behind it (no BOM follows), that also translates newlines."""
        decoder = codecs.getincrementaldecoder(self.encoding)(self.errors)
        if not at_start and self.mark_size:
            decoder.setstate((b"", 0))  # only where there is a mark: for iso2022 this is no state at all
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
