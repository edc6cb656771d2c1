"""One way to work with files from asyncio, wherever they live: local disk, memory, Redis, Azure blobs, S3, FastDFS.

`open` and its neighbours `os`, `tempfile` and `stdin` ... are aiofiles' API. The file systems (`OSFileSystem`,
`MemoryFileSystem`, `connect("s3://...")` ...) share one contract, `FileLikeSystem`. Everything is loaded when it is
first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiofs import aiofiles, blocking, layers, os, tempfile
    from aiofs.aiofiles import (
        open,
        stderr,
        stderr_bytes,
        stdin,
        stdin_bytes,
        stdout,
        stdout_bytes,
    )
    from aiofs.between import copy, move
    from aiofs.driver import ABSENT, ANY, Capabilities, Driver, Entry, Layer
    from aiofs.errors import (
        AccessDenied,
        AiofsError,
        AlreadyExists,
        Archived,
        Conflict,
        Damaged,
        IsAFolder,
        LeftBehind,
        Locked,
        NeverReachable,
        NoSpace,
        NotAccepted,
        NotAFolder,
        NotFound,
        Overtaken,
        RootIsAFile,
        Spoiled,
        StillOpen,
        StoreMissing,
        TimedOut,
        TooLarge,
        Unavailable,
        Unfinished,
        Unreachable,
        Unreadable,
        Unsupported,
        WrongType,
    )
    from aiofs.files.handle import FileLike
    from aiofs.files.text import TextFile
    from aiofs.filesystem import FileSystem
    from aiofs.locks import HeldLock
    from aiofs.modes import BinaryMode, TextMode
    from aiofs.partials import Checkpoint
    from aiofs.path import LocalPath, Path
    from aiofs.probing import ProbeReport, probe
    from aiofs.properties import Properties
    from aiofs.sources import Source, Target
    from aiofs.stores import (
        AzureFileSystem,
        FastDFSFileSystem,
        MemoryFileSystem,
        OSFileSystem,
        RedisFileSystem,
        S3FileSystem,
    )
    from aiofs.system import FileLikeSystem
    from aiofs.transactions.fsck import Finding, fsck
    from aiofs.transactions.recovery import Recovered
    from aiofs.transactions.transaction import (
        FileTransaction,
        Transaction,
        TransactionalFileSystem,
        recover,
        transaction,
    )
    from aiofs.urls import connect
    from aiofs.work.kinds import Binary, Content, Image, Json, Picture, Text
    from aiofs.work.unit_of_work import PathTemplate, Repository, UnitOfWork, repository

__all__ = [
    "ABSENT",
    "ANY",
    "AccessDenied",
    "AiofsError",
    "AlreadyExists",
    "Archived",
    "AzureFileSystem",
    "Binary",
    "BinaryMode",
    "Capabilities",
    "Checkpoint",
    "Conflict",
    "Content",
    "Damaged",
    "Driver",
    "Entry",
    "FastDFSFileSystem",
    "FileLike",
    "FileLikeSystem",
    "FileSystem",
    "FileTransaction",
    "Finding",
    "HeldLock",
    "Image",
    "IsAFolder",
    "Json",
    "Layer",
    "LeftBehind",
    "LocalPath",
    "Locked",
    "MemoryFileSystem",
    "NeverReachable",
    "NoSpace",
    "NotAFolder",
    "NotAccepted",
    "NotFound",
    "OSFileSystem",
    "Overtaken",
    "Path",
    "PathTemplate",
    "Picture",
    "ProbeReport",
    "Properties",
    "Recovered",
    "RedisFileSystem",
    "Repository",
    "RootIsAFile",
    "S3FileSystem",
    "Source",
    "Spoiled",
    "StillOpen",
    "StoreMissing",
    "Target",
    "Text",
    "TextFile",
    "TextMode",
    "TimedOut",
    "TooLarge",
    "Transaction",
    "TransactionalFileSystem",
    "Unavailable",
    "Unfinished",
    "UnitOfWork",
    "Unreachable",
    "Unreadable",
    "Unsupported",
    "WrongType",
    "aiofiles",
    "blocking",
    "connect",
    "copy",
    "fsck",
    "layers",
    "move",
    "open",
    "os",
    "probe",
    "recover",
    "repository",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "tempfile",
    "transaction",
]

_ROOMS = {
    "aiofs.aiofiles": ("open", "stderr", "stderr_bytes", "stdin", "stdin_bytes", "stdout", "stdout_bytes"),
    "aiofs.between": ("copy", "move"),
    "aiofs.driver": ("ABSENT", "ANY", "Capabilities", "Driver", "Entry", "Layer"),
    "aiofs.errors": (
        "AccessDenied",
        "AiofsError",
        "AlreadyExists",
        "Archived",
        "Conflict",
        "Damaged",
        "IsAFolder",
        "LeftBehind",
        "Locked",
        "NeverReachable",
        "NoSpace",
        "NotAFolder",
        "NotAccepted",
        "NotFound",
        "Overtaken",
        "RootIsAFile",
        "Spoiled",
        "StillOpen",
        "StoreMissing",
        "TimedOut",
        "TooLarge",
        "Unavailable",
        "Unfinished",
        "Unreachable",
        "Unreadable",
        "Unsupported",
        "WrongType",
    ),
    "aiofs.files.handle": ("FileLike",),
    "aiofs.filesystem": ("FileSystem",),
    "aiofs.locks": ("HeldLock",),
    "aiofs.modes": ("BinaryMode", "TextMode"),
    "aiofs.partials": ("Checkpoint",),
    "aiofs.path": ("LocalPath", "Path"),
    "aiofs.probing": ("ProbeReport", "probe"),
    "aiofs.properties": ("Properties",),
    "aiofs.sources": ("Source", "Target"),
    "aiofs.stores": (
        "AzureFileSystem",
        "FastDFSFileSystem",
        "MemoryFileSystem",
        "OSFileSystem",
        "RedisFileSystem",
        "S3FileSystem",
    ),
    "aiofs.system": ("FileLikeSystem",),
    "aiofs.files.text": ("TextFile",),
    "aiofs.transactions.fsck": ("Finding", "fsck"),
    "aiofs.work.kinds": ("Binary", "Content", "Image", "Json", "Picture", "Text"),
    "aiofs.transactions.recovery": ("Recovered",),
    "aiofs.work.unit_of_work": ("PathTemplate", "Repository", "UnitOfWork", "repository"),
    "aiofs.transactions.transaction": (
        "FileTransaction",
        "Transaction",
        "TransactionalFileSystem",
        "recover",
        "transaction",
    ),
    "aiofs.urls": ("connect",),
}
_MODULES = ("aiofiles", "blocking", "layers", "os", "tempfile", "testing")
_HOMES = {name: f"aiofs.{name}" for name in _MODULES} | {name: room for room, names in _ROOMS.items() for name in names}
_FORMER = {
    "AzFileSystem": "AzureFileSystem",
    "InMemFileSystem": "MemoryFileSystem",
    "OsFileSystem": "OSFileSystem",
}
"""What aiofs 1 called things, and what they are called now."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 -- importing it takes as long as all the rest

        return version("aiofs")
    room = _HOMES.get(name)
    if name in _FORMER:
        import warnings  # noqa: PLC0415 -- only programs for aiofs 1 need it

        words = f"aiofs.{name} of aiofs 1 is aiofs.{_FORMER[name]} now"
        warnings.warn(words, DeprecationWarning, stacklevel=2)
        return __getattr__(_FORMER[name])
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(room)
    value = globals()[name] = module if name in _MODULES else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
