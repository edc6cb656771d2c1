"""`import aiofs.os`: the functions of `os` and `os.path`, awaited, as `aiofiles.os` has them."""

from __future__ import annotations

import sys

from aiofs.aiofiles import os
from aiofs.aiofiles.os import *  # noqa: F403 -- type checkers take the names from here

sys.modules[__name__] = os  # one module by both names: what is patched in one is patched in the other
