"""The file systems by name: each a driver with the portable side over it. A driver's SDK is loaded when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.filesystem import FileSystem

if TYPE_CHECKING:
    import os


class MemoryFileSystem(FileSystem):
    """Files in memory, one set per instance: for tests, caches and staging."""

    def __init__(self) -> None:
        from aiofs.backends.memory import MemoryDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(MemoryDriver())


class OSFileSystem(FileSystem):
    """Files below the folder `root`, which no name leaves. Made at the first write if it is not there.

    Every published file is on the disk before its handle is closed, unless `durable=False` leaves that to the system.
    """

    def __init__(self, root: str | os.PathLike[str], *, durable: bool = True) -> None:
        from aiofs.backends.osfiles import OSDriver  # noqa: PLC0415 -- loaded when used, like every driver

        super().__init__(OSDriver(root, durable=durable))
