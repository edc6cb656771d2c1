"""Encodings in which the bytes of a line's end are that and nothing else, whatever stands before them."""

from __future__ import annotations

import codecs
from functools import lru_cache

PLAIN = {
    *("ascii", "utf-8", "utf-8-sig", "koi8-r", "koi8-u", "tis-620", "hp-roman8", "kz1048"),
    *("big5", "big5hkscs", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "johab"),
    *("shift_jis", "shift_jis_2004", "shift_jisx0213", "cp932", "cp949", "cp950"),
    *("cp437", "cp850", "cp852", "cp855", "cp857", "cp858", "cp866"),
}
PLAIN_FAMILIES = ("iso8859-", "cp125", "mac-")
KNOWN_ERRORS = {"strict", "replace", "ignore", "surrogateescape", "surrogatepass", "backslashreplace"}
"""What is done about an undecodable byte; a program's own way may do anything, also skip a line's end."""


@lru_cache
def is_plain(encoding: str, errors: str) -> bool:
    """Whether each end of line among the bytes is one in the text."""
    name = codecs.lookup(encoding).name
    return errors in KNOWN_ERRORS and (name in PLAIN or name.startswith(PLAIN_FAMILIES))


def has_line_end(piece: bytes, newline: str | None) -> bool:
    """Whether a line ends in `piece` for certain, for `newline` as in `open`."""
    if newline:
        return newline.encode("ascii") in piece
    return b"\n" in piece or piece.find(b"\r", 0, -1) >= 0  # a last "\r" may be half of an end


def line_ends(piece: bytes, newline: str | None) -> int:
    """Return how many lines end in `piece` at least, for `newline` as in `open`."""
    if newline:
        return piece.count(newline.encode("ascii"))
    feeds = len(piece) - len(piece.replace(b"\n", b""))  # in half the time that `count` takes
    return feeds or piece.count(b"\r", 0, -1)
