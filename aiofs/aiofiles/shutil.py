"""`shutil` for asyncio: copies, moves and removes files and trees in a thread."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from aiofs.aiofiles.base import wrap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["copy", "copy2", "copyfile", "copymode", "copystat", "copytree", "disk_usage", "move", "rmtree", "which"]

copy: Callable[..., Awaitable[Any]] = wrap(shutil.copy)
copy2: Callable[..., Awaitable[Any]] = wrap(shutil.copy2)
copyfile: Callable[..., Awaitable[Any]] = wrap(shutil.copyfile)
copymode: Callable[..., Awaitable[None]] = wrap(shutil.copymode)
copystat: Callable[..., Awaitable[None]] = wrap(shutil.copystat)
copytree: Callable[..., Awaitable[Any]] = wrap(shutil.copytree)
disk_usage: Callable[..., Awaitable[Any]] = wrap(shutil.disk_usage)
move: Callable[..., Awaitable[Any]] = wrap(shutil.move)
rmtree: Callable[..., Awaitable[None]] = wrap(shutil.rmtree)
which: Callable[..., Awaitable[Any]] = wrap(shutil.which)
