"""Encodings in which the bytes of a line's end are that and nothing else, whatever stands before them."""

from __future__ import annotations

import codecs
import re
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


LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)")
LINE_END = re.compile(rb"\r\n?|\n")
MOST_KEPT = 4
"""Bytes that the next can be."""
KEPT_BACK = re.compile(rb"\r(?:[\x80-\xff].{0,2})?\Z", re.DOTALL)
r"""A "\r" that the text layer may keep back: what follows is not there, or may not be all of a character."""
BLURRED = re.compile(rb"\r[\x80-\xff]")
r"""A "\r" that may turn out to stand before a "\n", where what cannot be decoded is left out."""
OTHER_SEPARATORS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What str.splitlines() takes for a line's end, beside the one that is in every text."""


@lru_cache
def plain_encoding(encoding: str, errors: str) -> str | None:
    """Return what decodes a line by itself; None where an end of line among the bytes may be none in the text."""
    name = codecs.lookup(encoding).name
    if errors in KNOWN_ERRORS and (name in PLAIN or name.startswith(PLAIN_FAMILIES)):
        return name.removesuffix("-sig")  # which is a mark at the start of the file alone
    return None


def kept_back(piece: bytes) -> int:
    r"""Return how many bytes at the end of `piece` do not tell yet whether a "\r" is half of an end."""
    kept = KEPT_BACK.search(piece, max(len(piece) - MOST_KEPT, 0))
    return len(kept[0]) if kept else 0


def has_line_end(piece: bytes, newline: str | None) -> bool:
    """Whether a line ends in `piece` for certain, for `newline` as in `open`."""
    if newline:
        return newline.encode("ascii") in piece
    return b"\n" in piece or piece.find(b"\r", 0, len(piece) - kept_back(piece)) >= 0


def lines_after_first(before: bytes, taken: bytes, newline: str | None) -> bytes:
    """Return the whole lines of `taken` after the first that ends there. `before` is what came before it."""
    if newline:
        end = newline.encode("ascii")
        if end == b"\r\n" and before.endswith(b"\r"):
            taken = b"\r" + taken
        return taken[taken.find(end) + len(end) : taken.rfind(end) + len(end)]
    if before.endswith(b"\r"):
        taken = b"\r" + taken
    first = LINE_END.search(taken)
    last = max(taken.rfind(b"\n"), taken.rfind(b"\r", 0, len(taken) - kept_back(taken))) + 1
    return taken[first.end() : last] if first else b""


def decoded(lines: bytes, encoding: str, errors: str, newline: str | None) -> str:
    """Return whole lines as the text layer reads them."""
    text = lines.decode(encoding, errors)
    if newline is None and "\r" in text:
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def split(text: str, newline: str | None) -> list[str]:
    """Return the lines that `text` is made of."""
    if not any(map(text.__contains__, OTHER_SEPARATORS)):
        return text.splitlines(keepends=True)
    if newline == "":
        return LINE.findall(text)
    end = newline or "\n"
    return [line + end for line in text.split(end)[:-1]]
