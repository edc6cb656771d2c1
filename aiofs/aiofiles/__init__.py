"""aiofiles' API, an order of magnitude faster: `from aiofs import aiofiles` is all that an existing program changes."""

from importlib import import_module
from sys import modules as _modules

from aiofiles.tempfile import temptypes as _temptypes
from aiofiles.threadpool import utils as _utils

from aiofiles import ospath as ospath
from aiofs.aiofiles import tempfile, threadpool
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

# These modules of aiofiles need no change. They can be imported by names of this package, too
tempfile.temptypes = _temptypes  # type: ignore[attr-defined] # type checkers find it in aiofiles
threadpool.utils = _utils  # type: ignore[attr-defined] # the same
_modules |= {
    f"{__name__}.ospath": ospath,
    f"{__name__}.tempfile.temptypes": _temptypes,
    f"{__name__}.threadpool.utils": _utils,
}

_SUBMODULES = frozenset({"base", "os", "shutil"})


def __getattr__(name: str) -> object:
    """Load a submodule when it is first used, as in `aiofiles.os`, without an import of its own."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
