"""What the first open keeps for the whole process: its workers, and a view of the process's own descriptors."""

from __future__ import annotations

import asyncio
import os

import pytest

from aiofs import aiofiles


@pytest.fixture(scope="session", autouse=True)
def _opened_once() -> None:
    async def open_twice() -> None:
        for _ in range(2):
            async with aiofiles.open(os.devnull), aiofiles.open(__file__):
                pass

    asyncio.run(open_twice())
