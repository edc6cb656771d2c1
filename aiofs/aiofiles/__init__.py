"""aiofiles' API, an order of magnitude faster: `from aiofs import aiofiles` is all that an existing program changes."""

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
