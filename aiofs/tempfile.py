"""`import aiofs.tempfile`: temporary files and folders, as `aiofiles.tempfile` has them."""

from __future__ import annotations

import sys

from aiofs.aiofiles import tempfile
from aiofs.aiofiles.tempfile import *  # noqa: F403 -- type checkers take the names from here

sys.modules[__name__] = tempfile  # one module by both names: what is patched in one is patched in the other
