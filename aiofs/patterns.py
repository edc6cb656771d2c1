"""Patterns over names: `*` and `?` and `[abc]` within a segment, `**` across segments."""

from __future__ import annotations

import re
from fnmatch import translate

_MAGIC = re.compile(r"[*?\[]")
_NOT_A_NAME = {"", ".", ".."}


class Pattern:
    """A pattern that a whole name must match. `**` stands for any number of folders, or at the end for all below."""

    def __init__(self, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern is a str, not {type(pattern).__name__}: {pattern!r}")
        segments = pattern.split("/")
        if not _NOT_A_NAME.isdisjoint(segments):
            kind = "an empty segment" if "" in segments else "a segment '.' or '..'"
            raise ValueError(f"pattern {pattern!r} has {kind}")
        plain = 0
        while plain < len(segments) - 1 and not _MAGIC.search(segments[plain]):
            plain += 1
        self.folder: str = "/".join(segments[:plain])
        """The folder below which all matches lie."""
        self.one_level: bool = len(segments) == 1 and pattern != "**"
        """Whether all matches lie in one folder."""
        self._matcher = re.compile("".join(_segments(segments)) + r"\Z", re.DOTALL)

    def matches(self, name: str) -> bool:
        """Whether `name` matches."""
        return self._matcher.match(name) is not None


def _segments(segments: list[str]) -> list[str]:
    last = len(segments) - 1
    parts = []
    for index, segment in enumerate(segments):
        if segment == "**":
            parts.append(".+" if index == last else "(?:[^/]+/)*")
        else:
            parts.append(_segment(segment) + ("" if index == last else "/"))
    return parts


def _segment(segment: str) -> str:
    """Return fnmatch's expression for one segment, with its wildcards kept from crossing a `/`."""
    pieces = re.split(r"(\*+|\?|\[!?\]?[^\]]*\])", segment)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece.startswith("*"):
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:  # noqa: PLR2004 -- brackets with something in them
        body = translate(piece)
        return "(?!/)" + body[body.index("[") : body.rindex("]") + 1]
    return re.escape(piece)
