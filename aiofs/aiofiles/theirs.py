"""aiofiles' classes as bases of ours, so that ours are instances of them. To a type checker they add nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    T_co = TypeVar("T_co", covariant=True)

    class ContextManager(Generic[T_co]):
        """What is awaited or entered."""

    Base: TypeAlias = object
    BufferedIOBase: TypeAlias = object
    BufferedReader: TypeAlias = object
    FileIO: TypeAlias = object
    TextIOWrapper: TypeAlias = object
    sync_open: Any
else:
    from aiofiles.base import AiofilesContextManager as ContextManager
    from aiofiles.base import AsyncBase as Base
    from aiofiles.threadpool import sync_open
    from aiofiles.threadpool.binary import AsyncBufferedIOBase as BufferedIOBase
    from aiofiles.threadpool.binary import AsyncBufferedReader as BufferedReader
    from aiofiles.threadpool.binary import AsyncFileIO as FileIO
    from aiofiles.threadpool.text import AsyncTextIOWrapper as TextIOWrapper

__all__ = ["Base", "BufferedIOBase", "BufferedReader", "ContextManager", "FileIO", "TextIOWrapper", "sync_open"]
