"""Codecs: layers that keep other bytes in the base than are written. Base64 is one; Gzip has a room of its own."""

from __future__ import annotations

import binascii
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aiofs.driver import ChecksRemoval, Copies, KeepsHistory, Moves, Sweeps
from aiofs.errors import Conflict, Damaged
from aiofs.layers.forward import ForwardedStream, Packer, Taker, power_of, with_end
from aiofs.layers.mapped import Mapped, MappedSession
from aiofs.lifetimes import finish
from aiofs.powers import Likens, Parks, Permits, Removes, Snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from aiofs.driver import Capabilities, Driver, Entry, Lease, Part, ReadStream, WriteSession

ATTEMPTS = 5


class Codec(Mapped, ABC):
    """Encodes what is written and decodes what is read. The store may still copy and move files: they stay as they are.

    A subclass says how, by `decoded` and `encoded`.
    """

    powers: ClassVar[tuple[type, ...]] = (
        ChecksRemoval,
        Copies,
        Moves,
        KeepsHistory,
        Sweeps,
        Removes,
        Snapshots,
        Parks,
        Likens,
        Permits,
    )
    encoded_at_once: ClassVar[int]
    """The size of the parts that `encoded` sessions are fed."""

    @abstractmethod
    async def decoded(self, base: ReadStream) -> ReadStream:
        """Return the stream of what `base` holds encoded; the first `self.base.window` bytes of it were asked for.

        :raises Damaged: if it holds anything else.
        """

    @abstractmethod
    def encoded(self, base: WriteSession, path: str) -> WriteSession:
        """Return the session that encodes into `base`."""

    def bind(self, base: Driver) -> Self:
        """Return this layer over `base`."""
        bound = super().bind(base)
        bound.part_size = self.encoded_at_once
        return bound

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that sizes take a look into the file, and that what is encoded stays."""
        return replace(capabilities, listed_sizes=False, rewrite=False)

    def entry(self, entry: Entry) -> Entry | None:
        """Leave out the size and the digest, which are those of the encoded bytes."""
        return replace(entry, size=None, digest=None)

    async def stat(self, path: str) -> Entry:
        """Describe the file, with the size that a look into it gives."""
        stream = await self.read(path)
        await stream.aclose()
        return stream.entry

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading.

        :raises Damaged: if it holds anything else than this layer writes.
        """
        for _ in range(ATTEMPTS):
            try:
                stream = await self._open(path, match)
            except Conflict:  # it was replaced between the first look into it and the second
                if match is not None:
                    raise
            else:
                await stream.seek(start, stop)
                return stream
        raise Conflict.of(path, "the file is being replaced all the time")

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path."""
        return self.encoded(await self.base.begin(path, lease, match=match, metadata=metadata), path)

    async def read_kept(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open an old version for reading.

        :raises Damaged: if it holds anything else than this layer writes.
        """
        keeps = power_of(self.base, KeepsHistory)
        stream = await self._decoded(await keeps.read_kept(path, version_id, 0, self.base.window))
        await stream.seek(start, stop)
        return stream

    async def _open(self, path: str, match: str | None) -> ReadStream:
        return await self._decoded(await self.base.read(path, 0, self.base.window, match=match))

    async def _decoded(self, base: ReadStream) -> ReadStream:
        try:
            stream = await self.decoded(base)
        except BaseException:
            await finish(base.aclose())
            raise
        stream.entry = replace(stream.entry, digest=None)
        return stream


class Base64(Codec):
    """Writes base64 without line breaks, as `base64 -w0` does, and reads any range of it."""

    encoded_at_once = 3 << 18  # whole threes, so that only the end is padded

    async def decoded(self, base: ReadStream) -> ReadStream:
        """Return what decodes."""
        base, end = await with_end(base, self.base.window, 2)
        return _Base64Stream(base, end)

    def encoded(self, base: WriteSession, path: str) -> WriteSession:
        """Return what encodes."""
        return _Base64Session(self, base, path)


class _Base64Stream(ForwardedStream):
    def __init__(self, base: ReadStream, end: bytes) -> None:
        encoded = base.entry.size
        if encoded is None or encoded % 4:
            raise Damaged.of(base.entry.path, "base64: the length is no multiple of four")
        self._size = encoded // 4 * 3 - end.count(b"=")
        super().__init__(base, replace(base.entry, size=self._size))
        self._taker = Taker(base)
        self._at = 0
        self._stop = self._size
        self._moved = True

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes."""
        if self._at >= self._stop:
            return b""
        group = self._at // 3
        want = max(1, min(want, Base64.encoded_at_once))
        behind = -(-min(self._stop, self._at + want) // 3)
        moved, self._moved = self._moved, True  # until all went well
        if moved:
            await self._taker.seek(4 * group, 4 * -(-self._stop // 3))
        encoded = await self._taker.take(4 * (behind - group))
        try:
            data = binascii.a2b_base64(encoded, strict_mode=True)
        except binascii.Error as error:
            raise Damaged.of(self.entry.path, f"base64: {error}") from error
        start, self._at = self._at, min(3 * behind, self._stop)
        if len(data) < self._at - 3 * group:
            raise Damaged.of(self.entry.path, "base64: it is cut short")
        self._moved = False
        return data[start - 3 * group : self._at - 3 * group]

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on with that range; the request waits for the next `chunk`."""
        self._at = start
        self._stop = self._size if stop is None else min(stop, self._size)
        self._moved = True


class _Base64Session(MappedSession):
    def __init__(self, layer: Base64, base: WriteSession, path: str) -> None:
        super().__init__(layer, base, path)
        self._packer = Packer(base, layer.base.part_size)
        self._size = 0

    async def write(self, part: Part) -> None:
        """Take the next part."""
        self._size += len(part)
        await self._packer.put(binascii.b2a_base64(part, newline=False))

    async def prepare(self) -> dict[str, Any]:
        """Make the bytes durable."""
        await self._packer.end()
        return await super().prepare()

    async def commit(self) -> Entry:
        """Publish."""
        await self._packer.end()
        return replace(await super().commit(), size=self._size)
