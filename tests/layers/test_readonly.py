"""What is special about ReadOnly: nothing changes, and the store does not even hear of the attempt."""

from __future__ import annotations

import errno
from typing import Literal

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.driver import Copies, Moves, Presigns, Sweeps
from aiofs.filesystem import FileSystem
from aiofs.layers import ReadOnly
from aiofs.testing import Chaos


class Signing(MemoryDriver):
    """Files in memory that have URLs."""

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        return f"https://store/{path}?{method}&{expires}"


async def test_every_write_is_refused_before_the_store_hears_of_it() -> None:
    driver = Signing()
    await FileSystem(driver).write_bytes("file", b"bytes")
    chaos = Chaos()
    fs = FileSystem(driver).over(chaos, ReadOnly())
    attempts = [
        *(fs.open("file", mode).__aenter__() for mode in ("w", "a", "x", "r+")),
        fs.write_bytes("new", b""),
        fs.rm("file"),
        fs.rm("missing", missing_ok=True),
        fs.copy("file", "copied"),
        fs.move("file", "moved"),
        fs.driver.resume({"path": "file"}),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionError, match="read-only") as caught:
            await attempt
        assert caught.value.errno == errno.EROFS
        assert caught.value.filename in {"file", "new", "missing", "copied", "moved"}
    assert not chaos.calls
    assert await fs.read_bytes("file") == b"bytes"
    assert await fs.ls() == ["file"]


async def test_its_powers() -> None:
    driver = FileSystem(Signing()).over(ReadOnly()).driver
    for power in (Copies, Moves, Sweeps):
        assert driver.offers(power) is None
    assert FileSystem(MemoryDriver()).over(ReadOnly()).driver.offers(Presigns) is None
    fs = FileSystem(Signing()).over(ReadOnly())
    assert await fs.url("file", expires=5) == "https://store/file?GET&5"
    with pytest.raises(PermissionError):
        await fs.url("file", "PUT")
