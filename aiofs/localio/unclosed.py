"""Files that are written and not closed yet: what they hold reaches the disk once, whatever becomes of the process."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from aiofs.localio.files import UpdateFile

_unclosed: WeakKeyDictionary[IO[Any], UpdateFile] = WeakKeyDictionary()


def remember(stream: IO[Any], raw: UpdateFile) -> None:
    """Note that `stream` is open, and that its bytes go through `raw`."""
    _unclosed[stream] = raw


@atexit.register
def _bring_out() -> None:
    """Write what is held when the interpreter ends, before it takes the files apart in any order."""
    for stream, raw in list(_unclosed.items()):
        with suppress(OSError, ValueError):
            raw.waits = True
            stream.flush()
            raw.drain()


def _forget() -> None:
    """In a forked child: what is gathered is the parent's to write."""
    for raw in list(_unclosed.values()):
        raw.pending.clear()
    _unclosed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
