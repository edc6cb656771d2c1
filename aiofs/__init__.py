"""One way to work with files from asyncio, wherever they live."""

from __future__ import annotations

from aiofs.driver import Capabilities, Driver, Entry, Layer
from aiofs.errors import (
    AccessDenied,
    AiofsError,
    AlreadyExists,
    Conflict,
    Damaged,
    IsAFolder,
    Locked,
    NoSpace,
    NotAFolder,
    NotFound,
    StoreMissing,
    TimedOut,
    TooLarge,
    Unavailable,
    Unreachable,
    Unsupported,
)
from aiofs.file import FileLike
from aiofs.filesystem import FileSystem
from aiofs.stores import MemoryFileSystem, OSFileSystem
from aiofs.system import FileLikeSystem

__all__ = [
    "AccessDenied",
    "AiofsError",
    "AlreadyExists",
    "Capabilities",
    "Conflict",
    "Damaged",
    "Driver",
    "Entry",
    "FileLike",
    "FileLikeSystem",
    "FileSystem",
    "IsAFolder",
    "Layer",
    "Locked",
    "MemoryFileSystem",
    "NoSpace",
    "NotAFolder",
    "NotFound",
    "OSFileSystem",
    "StoreMissing",
    "TimedOut",
    "TooLarge",
    "Unavailable",
    "Unreachable",
    "Unsupported",
]
