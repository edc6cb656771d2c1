"""`os.path` for asyncio: aiofiles' own functions."""

from aiofiles.ospath import (
    abspath,
    exists,
    getatime,
    getctime,
    getmtime,
    getsize,
    isdir,
    isfile,
    islink,
    ismount,
    samefile,
    sameopenfile,
)

from aiofs.aiofiles.base import wrap

__all__ = [
    "abspath",
    "exists",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "ismount",
    "samefile",
    "sameopenfile",
    "wrap",
]
