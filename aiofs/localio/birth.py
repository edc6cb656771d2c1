"""When a file or folder was made, which tells it from a later one that got its number."""

from __future__ import annotations

import os
import struct
from ctypes import CDLL, byref, create_string_buffer
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_EMPTY_PATH, _BIRTH = 0x1000, 0x800
_ANSWER = struct.Struct("=I76xqI")
"""In what statx(2) fills: which fields are set, and the time of birth in seconds and nanoseconds."""


def birth_of(descriptor: int) -> int:
    """Return when the open file or folder was made, in nanoseconds; 0 where the system does not tell."""
    statx = _statx()
    if statx is None:
        return int(getattr(os.fstat(descriptor), "st_birthtime", 0) * 10**9)
    buffer = create_string_buffer(256)
    if statx(descriptor, b"", _EMPTY_PATH, _BIRTH, byref(buffer)) != 0:
        return 0
    told, seconds, nanoseconds = _ANSWER.unpack_from(buffer)
    return int(seconds * 10**9 + nanoseconds) if told & _BIRTH else 0


@cache
def _statx() -> Callable[..., Any] | None:
    try:
        return CDLL(None).statx
    except (OSError, AttributeError, TypeError):
        return None
