"""Ends of lines in bytes, and the encodings in which these bytes never mean anything else."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

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
