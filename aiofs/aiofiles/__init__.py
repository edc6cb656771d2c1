"""aiofiles' API, an order of magnitude faster: `from aiofs import aiofiles` is all that an existing program changes."""

from importlib import import_module

from aiofs.aiofiles import tempfile
from aiofs.aiofiles.threadpool import open, stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes

__all__ = [
    "open",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "tempfile",
]

_SUBMODULES = frozenset({"base", "os", "ospath", "shutil"})


def __getattr__(name: str) -> object:
    """Load a submodule that is used as `aiofiles.os`: the `import aiofiles.os` of old is gone with its name."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
