"""Spool: bytes that go to a temporary file, also where the disk takes only some of them."""

from __future__ import annotations

import errno
import io
import tempfile
from typing import TYPE_CHECKING

import pytest

from aiofs.kit import Spool

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Disk(io.BytesIO):
    """A file on a disk with `room` for so many bytes, which takes a few at a time."""

    room = 1 << 20

    def write(self, data: ReadableBuffer) -> int:
        """Take some of the bytes."""
        some = memoryview(data)[: min(1000, self.room - self.tell())]
        if not some:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(some)


async def test_a_file_that_takes_only_some_bytes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Disk())
    spool, data = Spool(limit=10_000), bytes(range(256)) * 30
    await spool.append(data)
    await spool.append(data)
    assert await spool.read(0, 1 << 20) == data + data
    spool.close()


async def test_a_full_disk_is_named_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    disk.room = 5000
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: disk)
    spool, data = Spool(limit=10_000), bytes(range(256)) * 30
    await spool.append(data)
    with pytest.raises(OSError, match="No space") as caught:
        await spool.append(data)
    assert caught.value.filename == tempfile.gettempdir()
    assert disk.closed
    assert await spool.read(0, 1 << 20) == data
    spool.close()
