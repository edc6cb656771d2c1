"""Patterns over names."""

from __future__ import annotations

from typing import Any

import pytest

import aiofs
from aiofs.listing import Pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.txt", ["a.txt", ".txt"], ["a.txt.gz", "d/a.txt", "atxt"]),
        ("d/*", ["d/a", "d/.a"], ["d/e/a", "da", "d"]),
        ("**", ["a", "a/b", "a/b/c"], []),
        ("**/a", ["a", "x/a", "x/y/a"], ["xa", "a/b"]),
        ("x/**/a", ["x/a", "x/y/a", "x/y/z/a"], ["xa", "y/a", "x/ya"]),
        ("x/**", ["x/a", "x/a/b"], ["x", "xa"]),
        ("a?c", ["abc", "a c"], ["a/c", "ac", "abbc"]),
        ("[ab]c", ["ac", "bc"], ["cc", "c"]),
        ("[!ab]c", ["cc"], ["ac", "/c"]),
        ("[a-c]", ["a", "b"], ["d"]),
        ("a[[]1]", ["a[1]"], ["a1"]),
        ("a+b(c)", ["a+b(c)"], ["aab(c)"]),
        ("a\nb*", ["a\nb", "a\nbc"], ["a b"]),
        ("é*", ["é", "éa"], ["e"]),
    ],
)
def test_pattern(pattern: str, matching: list[str], other: list[str]) -> None:
    found = Pattern(pattern)
    assert [name for name in matching + other if found.matches(name)] == matching


@pytest.mark.parametrize("pattern", ["", "/", "/*", "a//*", "*/", ".", "..", "../*", "a/./*"])
def test_pattern_that_no_name_can_match(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern .* has an? (empty )?segment"):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", [None, 3, b"*"])
async def test_pattern_that_is_no_text(pattern: Any) -> None:
    for fs in (aiofs.MemoryFileSystem(), aiofs.MemoryFileSystem().at("folder")):
        with pytest.raises(TypeError, match="a pattern is a str, not"):
            fs.glob(pattern)
        if pattern is not None:
            with pytest.raises(TypeError, match="a pattern is a str, not"):
                await fs.rm(glob=pattern)


@pytest.mark.parametrize(
    ("pattern", "folder"), [("a/b/*.txt", "a/b"), ("*", ""), ("a", ""), ("a/b", "a"), ("a/**/b", "a"), ("a/[b]/c", "a")]
)
def test_folder_below_which_all_matches_lie(pattern: str, folder: str) -> None:
    assert Pattern(pattern).folder == folder


@pytest.mark.parametrize("pattern", ["", "/a", "a//b", "a/"])
def test_empty_segments_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="empty segment"):
        Pattern(pattern)
