"""Calls into the operating system for files, seen on their way: to be recorded, or to fail."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Function = "Callable[..., Any]"

FOR_FILES = (
    *("open", "close", "stat", "fstat", "readlink", "scandir", "read", "pread", "write", "pwrite", "copy_file_range"),
    *("ftruncate", "fsync", "sync", "utime", "chmod", "fchmod", "chown", "fchown", "getxattr", "setxattr", "listxattr"),
    *("link", "unlink", "rename", "replace", "mkdir", "makedirs", "rmdir"),
)
"""What aiofs calls of `os` to do with files. What only looks is here as well: it can fail like the others."""


@contextmanager
def watched(see: Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
    """Have every such call made by `see`, which is given its name, the real function and the arguments."""
    real = {name: getattr(os, name) for name in FOR_FILES if hasattr(os, name)}

    def through(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return see(name, real[name], args, kwargs)

        return call

    for name in real:
        setattr(os, name, through(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def asked_by(package: str, *, above: int) -> bool:
    """Whether the function so many calls `above` the caller's is one of this package."""
    return str(sys._getframe(above + 1).f_globals.get("__name__", "")).startswith(package)
