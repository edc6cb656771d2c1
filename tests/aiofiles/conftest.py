"""What all tests of the drop-in have in common."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from aiofs import aiofiles
from aiofs.localio import devices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def _opened_once() -> None:
    """The first open keeps for the whole process: its workers, and a view of the process's own descriptors."""

    async def open_twice() -> None:
        for _ in range(2):
            async with aiofiles.open(os.devnull), aiofiles.open(__file__):
                pass

    asyncio.run(open_twice())


@pytest.fixture(params=["page cache", "thread"])
def _either_way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Have files read from the page cache, on the loop; and where that cannot be tried, in a thread."""
    number = tmp_path.stat().st_dev
    known = devices._known.pop(number, None)
    if request.param == "thread":
        devices._known[number] = devices.Device(nowait=False, local=True)
    yield
    devices._known.pop(number, None)
    if known is not None:
        devices._known[number] = known
