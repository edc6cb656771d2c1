"""Bytes on their way to a storage: exactly as many as were announced."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.checks import check_offset

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Data = bytes | bytearray | memoryview
Source = Data | AsyncIterable[Data] | Callable[[], AsyncIterable[Data]]
_STEP = 1 << 18


class Payload:
    """Bytes, an iterable of them, or a function that returns one, which is called for each time that they are sent.

    Counts and sums them up on their way.
    """

    def __init__(self, data: Source, size: int | None = None) -> None:
        self._data = data
        self.can_be_sent: bool = True
        """Whether all bytes are there to be sent, for the first time or again."""
        if isinstance(data, (bytes, bytearray, memoryview)):
            length = memoryview(data).nbytes
            if size not in {None, length}:
                raise ValueError(f"{length} bytes where {size} were announced")
            size = length
        if size is None:
            raise TypeError("the size of what an iterable yields must be given: storages want to know it before")
        self.size: int = check_offset(size)
        self.crc32: int = 0

    async def pieces(self) -> AsyncGenerator[memoryview]:
        """Yield the bytes.

        :raises ValueError: if they are more or fewer than announced.
        """
        self.crc32 = 0
        if isinstance(self._data, (bytes, bytearray, memoryview)):
            whole = memoryview(self._data).cast("B")
            for start in range(0, len(whole), _STEP):
                piece = whole[start : start + _STEP]
                self.crc32 = zlib.crc32(piece, self.crc32)
                yield piece
            return
        left = self.size
        self.can_be_sent = False  # if the iterable fails, that is not the storage's fault
        async for data in self._data() if callable(self._data) else self._data:
            piece = memoryview(data).cast("B")
            left -= len(piece)
            if left < 0:
                raise ValueError(f"more bytes than the {self.size} that were announced")
            self.crc32 = zlib.crc32(piece, self.crc32)
            self.can_be_sent = callable(self._data)
            yield piece
            self.can_be_sent = False
        if left:
            raise ValueError(f"{left} bytes fewer than the {self.size} that were announced")
        self.can_be_sent = callable(self._data)
