"""Blocks: the superclass of layers that store files in blocks, each sealed so that changed bytes are found.

A stored file is a header and frames. A frame is a block of the file with some bytes that a seal adds. All blocks but
the last have the same size, so the layer knows without a request where each block is, and how large the file is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aiofs.errors import Damaged, Unsupported
from aiofs.kit import unknown_format
from aiofs.layers.codecs import Codec, DecodedStream, PartWriter
from aiofs.layers.mapped import Mapped, MappedSession
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiofs.driver import Capabilities, Entry, Part, ReadStream, WriteSession

BLOCK = 1 << 16
"""How many bytes of a file are in a block; the last block has the rest."""
MOST_BLOCKS = 16
"""How many blocks one `chunk` returns at most."""
SMALL = 1 << 17
"""Up to this size, a hop to a thread costs more than sealing."""


class Seal(ABC):
    """What seals the blocks of one version of a file. A subclass adds `overhead` bytes to each block."""

    header: bytes

    @abstractmethod
    def seal(self, number: int, block: Part, *, last: bool) -> Iterable[Part]:
        """Return the frame of a block, in pieces. Blocks are numbered from 0."""

    @abstractmethod
    def unseal(self, number: int, frame: memoryview, *, last: bool) -> Part:
        """Return the block that is in a frame.

        :raises ValueError: if this is not the frame that `seal` returned for this number.
        """


class Blocks(Codec, ABC):
    """Stores files in sealed blocks. A subclass says how large header and overhead are, and makes seals."""

    encoded_at_once = MOST_BLOCKS * BLOCK
    magic: ClassVar[bytes]
    """How a stored file begins. The next byte is the number of the format, 1."""
    header_size: ClassVar[int]
    overhead: ClassVar[int]

    @abstractmethod
    async def new_seal(self) -> Seal:
        """Return the seal of a new version."""

    @abstractmethod
    async def seal_of(self, path: str, header: bytes) -> Seal:
        """Return the seal of a stored version, by its header."""

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that parts cannot be changed once they are sealed."""
        return replace(capabilities, rewrite=False, partial=False)

    def entry(self, entry: Entry) -> Entry | None:
        """Return the entry with the size of the file, and without digest, which is that of the stored bytes."""
        size = None if entry.size is None else self.size_of(entry.size)
        return replace(entry, size=size, digest=None)

    async def stat(self, path: str) -> Entry:
        """Describe the file. Its size follows from that of the stored bytes, which are not read."""
        return await Mapped.stat(self, path)

    def size_of(self, stored: int) -> int | None:
        """Return the size of a file of which `stored` bytes are stored; `None` if no file is stored in so many."""
        framed = stored - self.header_size
        frames = -(-framed // (BLOCK + self.overhead))
        size = framed - frames * self.overhead
        return size if (frames == 1 and size == 0) or size > (frames - 1) * BLOCK >= 0 else None

    def place_of(self, block: int) -> int:
        """Return where the frame of a block begins in the stored file."""
        return self.header_size + block * (BLOCK + self.overhead)

    def first_request(self, start: int, stop: int | None) -> int | None:
        """Ask for the header, and for the range too if it begins in the first block."""
        if start >= BLOCK:
            return self.header_size
        return None if stop is None else self.place_of(max(1, -(-stop // BLOCK)))

    async def decoded(self, base: ReadStream, asked: int | None) -> ReadStream:
        path, stored = base.entry.path, base.entry.size
        if stored is None:
            raise Unsupported.of(path, f"{self.name} needs the size of the stored file, which is not known")
        stream = SealedStream(self, base, stored, asked)
        await stream.open()
        return stream

    def encoded(self, base: WriteSession, path: str) -> WriteSession:
        return SealedSession(self, base, path)

    @property
    def name(self) -> str:
        """How errors name this layer."""
        return type(self).__name__

    def damaged(self, path: str, reason: str) -> Damaged:
        """Return the error for a file."""
        return Damaged.of(path, f"{self.name}: {reason}")


class SealedStream(DecodedStream):
    """Reads the frames of the blocks that a range needs, and returns bytes of blocks whose seals are right."""

    _seal: Seal

    def __init__(self, layer: Blocks, base: ReadStream, stored: int, asked: int | None) -> None:
        size = layer.size_of(stored)
        if size is None:
            raise layer.damaged(base.entry.path, "the file was cut short, or is no such file")
        super().__init__(base, size)
        self._layer = layer
        self._stored = stored
        self._blocks = max(1, -(-size // BLOCK))
        self._end_is_right = False
        self._behind = 0  # where in the stored file the reader is,
        self._asked: float = math.inf if asked is None else asked  # and where its range ends

    async def open(self) -> None:
        """Read the header, and get the seal."""
        layer, path = self._layer, self.entry.path
        header = await self._stored_bytes(0, layer.header_size, layer.header_size)
        if not header.startswith(layer.magic):
            raise layer.damaged(path, f"the file was not written by {layer.name}, or its first bytes are damaged")
        if header[len(layer.magic)] != 1:
            raise unknown_format(path, f"a file of {layer.name}", header[len(layer.magic)], 1)
        self._seal = await layer.seal_of(path, header)

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on with another range. If that is behind the end, the last block is read: it says that it is the last.

        If only the header was read, the request for the range is made at once, while `Codec.read` still tries again.
        """
        self._at = start
        self._stop = self._size if stop is None else min(stop, self._size)
        if start >= self._size and not self._end_is_right:
            await self._load(self._blocks - 1, self._blocks, self._blocks)
        elif start >= BLOCK and self._behind == self._layer.header_size:
            await self._go_to(self._layer.place_of(start // BLOCK), self._layer.place_of(-(-self._stop // BLOCK)))
            await self._reader.start()
            self._behind = self._layer.place_of(start // BLOCK)

    async def chunk(self, want: int) -> bytes:
        """Return the rest of the block at the position and the following blocks, about `want` bytes."""
        if self._at >= self._stop:
            return b""
        first, behind = self._at // BLOCK, -(-self._stop // BLOCK)
        last = min(behind, max(first + 1, -(-(self._at + want) // BLOCK)), first + MOST_BLOCKS)
        data = await self._load(first, last, behind)
        start, self._at = self._at, min(last * BLOCK, self._stop)
        return data[start - first * BLOCK : self._at - first * BLOCK]

    async def _load(self, first: int, last: int, behind: int) -> bytes:
        """Return the blocks from `first` to `last`; if this needs a request, ask for those up to `behind`."""
        places = [min(self._layer.place_of(block), self._stored) for block in range(first, last + 1)]
        frames = await self._stored_bytes(places[0], places[-1], self._layer.place_of(behind))
        if len(frames) <= SMALL:
            return self._unsealed(first, frames)
        return await hop(self._unsealed, first, frames)

    def _unsealed(self, first: int, frames: bytes) -> bytes:
        size = BLOCK + self._layer.overhead
        blocks: list[Part] = []
        for number, start in enumerate(range(0, len(frames), size), first):
            last = number == self._blocks - 1
            try:
                blocks.append(self._seal.unseal(number, memoryview(frames)[start : start + size], last=last))
            except ValueError as error:
                raise self._layer.damaged(self.entry.path, f"block {number}: {error}") from error
            self._end_is_right = self._end_is_right or last
        return b"".join(blocks)

    async def _stored_bytes(self, start: int, stop: int, behind: int) -> bytes:
        """Return a range of the stored file; if this needs a request, ask for the bytes up to `behind`."""
        at, self._behind = self._behind, -1  # so that the next call asks anew if this fails
        if at != start or stop > self._asked:
            await self._go_to(start, behind)
        data = await self._reader.read(stop - start)
        if len(data) < stop - start:
            raise self._layer.damaged(self.entry.path, f"the stored bytes end after {start + len(data)}")
        self._behind = stop
        return data

    async def _go_to(self, start: int, behind: int) -> None:
        await self._reader.seek(start, min(behind, self._stored))
        self._asked = behind


class SealedSession(MappedSession):
    """Seals blocks. The last one so far waits, as its seal depends on whether others follow."""

    def __init__(self, layer: Blocks, base: WriteSession, path: str) -> None:
        super().__init__(layer, base, path)
        self._blocks = layer
        self._parts = PartWriter(base, layer.base.part_size)
        self._seal: Seal | None = None
        self._held: Part = b""
        self._number = 0
        self._size = 0
        self._ended = False

    async def write(self, part: Part) -> None:
        self._size += len(part)
        data = b"".join((self._held, part)) if self._held else part
        whole = max(0, len(data) - 1) // BLOCK * BLOCK
        await self._write_frames(memoryview(data)[:whole])
        self._held = bytes(memoryview(data)[whole:])

    async def prepare(self) -> dict[str, Any]:
        await self._end()
        return await super().prepare()

    async def commit(self) -> Entry:
        await self._end()
        return replace(await super().commit(), size=self._size)

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            await self._write_frames(self._held, last=True)
            await self._parts.flush()

    async def _write_frames(self, data: Part, *, last: bool = False) -> None:
        with self.around():
            seal = self._seal
            if seal is None:
                seal = self._seal = await self._blocks.new_seal()
                await self._parts.write(seal.header)
            if len(data) <= SMALL:
                frames = self._sealed(seal, data, last=last)
            else:
                frames = await hop(self._sealed, seal, data)
            await self._parts.write(frames)

    def _sealed(self, seal: Seal, data: Part, *, last: bool = False) -> bytes:
        pieces: list[Part] = []
        view = memoryview(data)
        for start in range(0, max(len(data), last), BLOCK):
            pieces += seal.seal(self._number, view[start : start + BLOCK], last=last)
            self._number += 1
        return b"".join(pieces)
