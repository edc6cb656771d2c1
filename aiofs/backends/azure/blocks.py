"""The blocks of the version that is replaced: which of them can be taken over as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiofs.backends.azure.container import PART
from aiofs.backends.azure.streams import open_stream
from aiofs.errors import Conflict, NotFound
from aiofs.kit import whole_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.backends.azure.container import Container

ID_LENGTH = 32
SHORTEST_ID = 20
"""Ids shorter than this leave no room for a random part that makes them our own."""


class Piece(NamedTuple):
    """Bytes `start` to `stop`; all of a block, or of none that could be taken over."""

    start: int
    stop: int
    block: str | None


class Base:
    """A version and its blocks. All ids in a blob have the same length, so new ones must have that of the old."""

    def __init__(self, container: Container, path: str, version: str, blocks: list[Piece]) -> None:
        self._container = container
        self._path = path
        self._version = version
        lengths = {len(piece.block.encode()) for piece in blocks if piece.block is not None}
        self.id_length: int = lengths.pop() if len(lengths) == 1 else ID_LENGTH
        self._blocks = {piece.start: piece for piece in blocks}
        if lengths or self.id_length < SHORTEST_ID:
            self.id_length = ID_LENGTH
            self._blocks = {}

    @classmethod
    async def of(cls, container: Container, path: str, version: str) -> Base:
        """Ask for the blocks of the version."""
        blob = container.blob(path)
        try:
            committed, _ = await container.ask(path, lambda: blob.get_block_list("committed"))
        except NotFound as error:
            raise Conflict.of(path, "the file was removed meanwhile") from error
        pieces: list[Piece] = []
        end = 0
        for block in committed:
            start, end = end, end + block.size
            pieces.append(Piece(start, end, block.id))
        return cls(container, path, version, pieces)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Cut `start` to `stop` into whole blocks, and what lies between them into parts."""
        carried = start
        while start < stop:
            block = self._blocks.get(start)
            if block is not None and block.stop <= stop:
                yield from _cut(carried, start)
                yield block
                start = carried = block.stop
            else:
                start = min((other for other in self._blocks if other > start), default=stop)
                start = min(start, stop)
        yield from _cut(carried, stop)

    async def bytes_of(self, piece: Piece) -> bytes:
        """Return the bytes of a piece."""
        stream = await open_stream(self._container, self._path, piece.start, piece.stop, self._version)
        try:
            return await whole_part(stream, PART)
        finally:
            await stream.aclose()


async def committed_ids(container: Container, path: str) -> list[str]:
    """Return the ids of a blob's blocks, in order; none if there is no blob."""
    committed, _ = await block_ids(container, path)
    return committed


async def block_ids(container: Container, path: str) -> tuple[list[str], list[str]]:
    """Return the ids of a blob's blocks, in order, and of those that are staged; none if there is nothing."""
    blob = container.blob(path)
    try:
        committed, staged = await container.ask(path, lambda: blob.get_block_list("all"))
    except NotFound:
        return [], []
    return [block.id for block in committed], [block.id for block in staged]


def _cut(start: int, stop: int) -> Iterator[Piece]:
    for offset in range(start, stop, PART):
        yield Piece(offset, min(offset + PART, stop), None)
