"""`shutil` for asyncio: whole files and trees, copied, moved and removed in a thread."""

from __future__ import annotations

import shutil

from aiofs.aiofiles.base import wrap

__all__ = ["copy", "copy2", "copyfile", "copymode", "copystat", "copytree", "disk_usage", "move", "rmtree", "which"]

copy = wrap(shutil.copy)
copy2 = wrap(shutil.copy2)
copyfile = wrap(shutil.copyfile)
copymode = wrap(shutil.copymode)
copystat = wrap(shutil.copystat)
copytree = wrap(shutil.copytree)
disk_usage = wrap(shutil.disk_usage)
move = wrap(shutil.move)
rmtree = wrap(shutil.rmtree)
which = wrap(shutil.which)
