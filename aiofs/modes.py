"""The one parser of modes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

ReadMode: TypeAlias = Literal["r", "rb", "br"]
BinaryEditMode: TypeAlias = Literal["rb+", "r+b", "br+", "b+r", "+rb", "+br"]
EditMode: TypeAlias = Literal["r+", "+r", BinaryEditMode]
WriteMode: TypeAlias = Literal["w", "wb", "bw", "x", "xb", "bx", "a", "ab", "ba"]
BinaryMode: TypeAlias = Literal[ReadMode, EditMode, WriteMode]
PlainMode: TypeAlias = Literal["r", "r+", "+r", "w", "x", "a"]
"""A mode that says neither bytes nor text."""
TextMode: TypeAlias = Literal["rt", "tr", "r+t", "rt+", "tr+", "t+r", "+rt", "+tr", "wt", "tw", "xt", "tx", "at", "ta"]

_NEWLINES = (None, "", "\n", "\r", "\r\n")


@dataclass(frozen=True, slots=True)
class Mode:
    """What a mode asks for: `action` is one of r, r+, w, x, a."""

    action: str
    text: bool
    spelled: str


@lru_cache(maxsize=256)
def parse_mode(mode: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> Mode:
    """Read `mode` as file systems do: binary unless it has a `t`, or an `encoding`, `errors` or `newline` goes with it.

    :raises TypeError: if it is not a `str`.
    :raises ValueError: if it is not r, r+, w, x or a, with at most one `b` or `t`, or if the text options do not fit.
    """
    if not isinstance(mode, str):
        raise TypeError(f"a mode is a str, not {type(mode).__name__}")
    letters = set(mode)
    actions = letters & set("rwxa")
    if len(letters) != len(mode) or len(actions) != 1 or not letters <= set("rwxabt+") or {"b", "t"} <= letters:
        raise ValueError(f"mode {mode!r}: use one of 'r', 'r+', 'w', 'x', 'a', with 'b' or 't' beside it")
    action = actions.pop()
    if "+" in letters and action != "r":
        raise ValueError(f"mode {mode!r}: to read and write one file, open it with 'r+'")
    given = {"encoding": encoding, "errors": errors, "newline": newline}
    text = "t" in letters or any(value is not None for value in given.values())
    if text and "b" in letters:
        name = next(name for name, value in given.items() if value is not None)
        raise ValueError(f"mode {mode!r} is binary and takes no {name}")
    if newline not in _NEWLINES:
        raise ValueError(f"newline {newline!r}: use None, '', '\\n', '\\r' or '\\r\\n'")
    return Mode(action + "+" * ("+" in letters), text, mode)
