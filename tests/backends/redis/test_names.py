"""How paths and keys spell each other."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from aiofs.backends.redis.names import LOCK, key_of, key_of_tail, path_of, pattern_of, tail_of
from aiofs.names import check_path

ALPHABET = st.sampled_from([*"%23A5F0_.:/{}ab", "%25", "%3A", "%2F", "%00", "%_", "é", "\U0001f600", "\0"])
keys = st.lists(ALPHABET).map("".join)
segments = st.lists(ALPHABET.filter(lambda text: text not in "/\0"), min_size=1).map("".join)
paths = st.lists(segments.filter(lambda text: text not in {"", ".", ".."}), min_size=1).map("/".join)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("dir/path/file.bin", "dir:path:file.bin"),
        ("a:b", "a%3Ab"),
        ("a%3Ab", "a%253Ab"),
        ("a%253Ab", "a%25253Ab"),
        ("100%", "100%"),
        ("a%20b", "a%20b"),
        ("%25", "%25"),
        ("cache/%_/7", "cache::7"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("%./%..", ".:.."),
        ("%25_", "%_"),
    ],
)
def test_spelling(path: str, key: str) -> None:
    assert key_of(path) == key
    assert path_of(key) == path


@given(keys)
@example("")
@example("::")
@example("%25%_")
def test_every_key_has_one_path_and_it_is_valid(key: str) -> None:
    path = path_of(key)
    if not path.startswith(".aiofs") and "/.aiofs" not in path:
        check_path(path)
    assert key_of(path) == key


@given(paths)
def test_every_path_has_one_key(path: str) -> None:
    assert path_of(key_of(path)) == path


@given(paths, st.integers(0, 40))
def test_the_pattern_of_a_prefix_finds_all_that_begins_with_it(path: str, cut: int) -> None:
    glob = pattern_of(path[:cut])
    plain = re.sub(r"\\(.)", lambda found: f"[{found[1]}]", glob)
    assert fnmatch.fnmatchcase(key_of(path), plain)


def test_the_pattern_takes_names_literally() -> None:
    assert pattern_of("a*[1]?/b\\") == r"a\*\[1\]\?:b\\*"


@given(keys)
@example("a{b}c")
@example("{}")
@example("}{")
@example("a{b")
def test_companions_share_the_slot_of_their_key(key: str) -> None:
    tail = tail_of(key)
    assert key_slot((LOCK + tail).encode()) == key_slot(key.encode())
    assert key_of_tail(tail) == key
