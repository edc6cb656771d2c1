"""Paths to keys and back, and the names of the keys that belong to a file's key: its companions.

`dir/path/file.bin` is the key `dir:path:file.bin`. Every path has one key and every key that is text has one path:

* A `:` in a name is `%3A` in the key, and `%3A` in a name is `%253A`: a `%` becomes `%25` only where it would read as
  one of these two. `100%`, `%25` and `a%20b` stay what they are.
* Keys of other programs may have what paths cannot have: a `/` is `%2F` in the path (and `%2F` in such a key is
  `%252F`), a NUL is `%00`; a whole segment that is empty, `.` or `..` is `%_`, `%.` or `%..`.

A key's companions (its lock, its staged bytes) have a hash tag that puts them into the key's own slot, since one script
of Redis Cluster reaches one slot only.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS_FORMAT = "1"
"""The format of the hash of a file in several keys. 2.0.0a1 wrote none, and meant this one."""
SLOTS = 16384
FOREVER = -1
"""How many milliseconds a key has left that does not expire, as the server says it."""
LOCK = ".aiofs-lock"
PART = ".aiofs-part"
OLD_PIN = ".aiofs-pin"
"""2.0.0a1 kept versions for its readers under such keys, for some minutes."""
NEVER = f"{PART}:never-there"
"""A key that never exists."""
COMPANIONS = tuple(f"{kind}:" for kind in (LOCK, PART, OLD_PIN))

_ESCAPE = r"%(?:25)*(?:3A|2F|00)"
_IN_PATH = re.compile(rf":|{_ESCAPE}")
_IN_KEY = re.compile(rf"/|\0|{_ESCAPE}")
_STANDS_FOR_BARE = re.compile(r"%(?:25)*(?:_|\.\.?)")
_ODD_KEY = re.compile(r"[%/\0]|(?:\A|:)\.{0,2}(?=:|\Z)")
_GLOB = re.compile(r"([\\*?\[\]])")
_TO_KEY = {":": "%3A", "%2F": "/", "%00": "\0"}
_TO_PATH = {"%3A": ":", "/": "%2F", "\0": "%00"}
_BARE = {"%_": "", "%.": ".", "%..": ".."}
_STAND_IN = {bare: name for name, bare in _BARE.items()}


def key_of(path: str) -> str:
    """Return the key that holds the file `path`."""
    if "%" not in path and ":" not in path:
        return path.replace("/", ":")
    return ":".join(map(_segment_of_key, path.split("/")))


def path_of(key: str) -> str:
    """Return the path that `key` is the file of."""
    if not _ODD_KEY.search(key):
        return key.replace(":", "/")
    return "/".join(map(_segment_of_path, key.split(":")))


def pattern_of(prefix: str) -> str:
    """Return a glob of Redis that matches all keys whose paths begin with `prefix`, and perhaps others."""
    folder, slash, begun = prefix.rpartition("/")
    whole = key_of(folder) + ":" if slash else ""
    begun = begun.partition("%")[0].replace(":", "%3A")  # after a % there may be an escape, which differs in keys
    return _GLOB.sub(r"\\\1", whole + begun) + "*"


def slot_of(key: str) -> int:
    """Return the slot of Redis Cluster that the key belongs to."""
    return _slot(_tag_within(key) or key)


def tail_of(key: str) -> str:
    """Return the end of a companion's name: `:{key}`, or `:{tag}:key` where that would be another slot."""
    if key and "}" not in key:
        return f":{{{key}}}"
    return f":{{{_tag_within(key) or _word_in(_slot(key))}}}:{key}"


def part_of(identity: str, number: int, tail: str) -> str:
    """Return the key of part `number` of the write `identity`."""
    return f"{PART}:{identity}.{number}{tail}"


class Layout(NamedTuple):
    """Where the bytes of a version are: `part_size` of them in each of the keys but the last."""

    keys: Sequence[str]
    part_size: int

    @classmethod
    def of(cls, identity: str, part_size: int, count: int, tail: str) -> Layout:
        """Return the layout of a file that the write `identity` wrote in parts."""
        return cls([part_of(identity, number, tail) for number in range(count)], part_size)


def key_of_tail(tail: str) -> str:
    """Return the key whose companion ends with `tail`."""
    tag, _, key = tail.removeprefix(":{").partition("}")
    return key[1:] if key else tag


def _tag_within(key: str) -> str:
    start = key.find("{") + 1
    return key[start : max(start, key.find("}", start))] if start else ""


def _slot(text: str) -> int:
    return binascii.crc_hqx(text.encode(), 0) % SLOTS


@lru_cache(maxsize=1024)
def _word_in(slot: int) -> str:
    """Return a word with this slot, to tag a key that cannot be a tag because of its braces."""
    return next(word for word in map(str, range(SLOTS * SLOTS)) if _slot(word) == slot)


def _segment_of_key(segment: str) -> str:
    if _STANDS_FOR_BARE.fullmatch(segment):
        return _shorter(segment, _BARE)
    return _IN_PATH.sub(lambda found: _TO_KEY.get(found[0]) or _relevel(found[0], to_key=True), segment)


def _segment_of_path(segment: str) -> str:
    if segment in _STAND_IN:
        return _STAND_IN[segment]
    if _STANDS_FOR_BARE.fullmatch(segment):
        return _longer(segment)
    return _IN_KEY.sub(lambda found: _TO_PATH.get(found[0]) or _relevel(found[0], to_key=False), segment)


def _relevel(escape: str, *, to_key: bool) -> str:
    """Remove one `25` from an escape, or add one: `%3A` stands in keys, the other escapes in paths."""
    return _longer(escape) if escape.endswith("3A") is to_key else _shorter(escape, {})


def _longer(escape: str) -> str:
    return f"%25{escape[1:]}"


def _shorter(escape: str, last: dict[str, str]) -> str:
    return last[escape] if escape in last else f"%{escape[3:]}"
