"""Codecs: layers that encode what is written and decode what is read. Base64 is here, Gzip in gzip.py."""

from __future__ import annotations

import binascii
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aiofs.errors import Conflict, Damaged
from aiofs.kit import BytesStream, whole_part
from aiofs.layers.forward import ForwardedStream, power_of
from aiofs.layers.mapped import Mapped, MappedSession
from aiofs.lifetimes import finish
from aiofs.powers import (
    ChecksRemoval,
    Copies,
    CopiesPermissions,
    HasOwners,
    Joins,
    KeepsHistory,
    Moves,
    Parks,
    Removes,
    Snapshots,
    Sweeps,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from aiofs.driver import Capabilities, Driver, Entry, Lease, Part, ReadStream, WriteSession

ATTEMPTS = 5


class Codec(Mapped, ABC):
    """Encodes what is written and decodes what is read. A subclass defines `decoded` and `encoded`.

    The store can still copy and move files by itself, as their encoded bytes stay the same.
    """

    powers: ClassVar[tuple[type, ...]] = (
        ChecksRemoval,
        Copies,
        Moves,
        Joins,
        KeepsHistory,
        Sweeps,
        Removes,
        Snapshots,
        Parks,
        CopiesPermissions,
        HasOwners,
    )
    encoded_at_once: ClassVar[int]
    """How many bytes a session that `encoded` returned is given in each part."""

    @abstractmethod
    async def decoded(self, base: ReadStream, asked: int | None) -> ReadStream:
        """Return the stream that decodes `base`. The first request asked for `asked` bytes of it; `None`: for all.

        :raises Damaged: if the bytes of `base` are not encoded so.
        """

    @abstractmethod
    def encoded(self, base: WriteSession, path: str) -> WriteSession:
        """Return the session that encodes what is written, and writes it to `base`."""

    def first_request(self, start: int, stop: int | None) -> int | None:
        """Return how many bytes of the encoded file to ask for first, to read a range of the file; `None`: all."""
        return self.base.window

    def bind(self, base: Driver) -> Self:
        bound = super().bind(base)
        bound.part_size = self.encoded_at_once
        return bound

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that listings do not know sizes, and that parts cannot be changed once they are encoded."""
        return replace(capabilities, listed_sizes=False, rewrite=False, partial=False)

    def entry(self, entry: Entry) -> Entry | None:
        """Return the entry without size and digest, which are those of the encoded bytes."""
        return replace(entry, size=None, digest=None)

    async def stat(self, path: str) -> Entry:
        """Describe the file. Its size is read from the file itself."""
        stream = await self.read(path)
        await stream.aclose()
        return stream.entry

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        for _ in range(ATTEMPTS):
            try:
                asked = self.first_request(start, stop)
                stream = await self.base.read(path, 0, asked, match=match)
                return await self._decoded(stream, asked, start, stop)
            except Conflict:  # the file was replaced between the first request and the second
                if match is not None:
                    raise
        raise Conflict.of(path, f"the file was replaced during each of {ATTEMPTS} attempts to open it")

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return self.encoded(await self.base.begin(path, lease, match=match, metadata=metadata), path)

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        keeps = power_of(self.base, KeepsHistory)
        asked = self.first_request(start, stop)
        stream = await keeps.read_version(path, version_id, 0, asked)
        return await self._decoded(stream, asked, start, stop)

    async def read_image(self, path: str, tag: str) -> ReadStream:
        return await self._decoded(await power_of(self.base, Snapshots).read_image(path, tag), None)

    async def _decoded(
        self, base: ReadStream, asked: int | None, start: int = 0, stop: int | None = None
    ) -> ReadStream:
        try:
            stream = await self.decoded(base, asked)
            await stream.seek(start, stop)
        except BaseException:
            await finish(base.aclose())
            raise
        stream.entry = replace(stream.entry, digest=None)
        return stream


class PartWriter:
    """Collects bytes of any length and writes them to a session in parts of `part_size`."""

    def __init__(self, session: WriteSession, part_size: int) -> None:
        self._session = session
        self._part_size = part_size
        self._held = bytearray()

    async def write(self, data: Part) -> None:
        """Add the next bytes, and write the parts that are complete."""
        self._held += data
        while len(self._held) >= self._part_size:
            part = bytes(memoryview(self._held)[: self._part_size])
            del self._held[: self._part_size]
            await self._session.write(part)

    async def flush(self) -> None:
        """Write the last part, which may be shorter."""
        if self._held:
            part, self._held = self._held, bytearray()
            await self._session.write(part)


class ExactReader:
    """Reads exactly as many bytes from a stream as are asked for."""

    def __init__(self, stream: ReadStream) -> None:
        self._stream = stream
        self._held = b""

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Continue with the range from `start` to `stop`."""
        self._held = b""
        await self._stream.seek(start, stop)

    async def start(self) -> None:
        """Make the request for the range now, not when the first bytes are read."""
        if not self._held:
            self._held = await self._stream.chunk(1)

    async def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        pieces = [self._held]
        missing = size - len(self._held)
        while missing > 0 and (piece := await self._stream.chunk(missing)):
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        self._held = data[size:]
        return data[:size]


class DecodedStream(ForwardedStream):
    """A stream of `size` decoded bytes, of which a subclass decodes those from `_at` to `_stop`."""

    def __init__(self, base: ReadStream, size: int) -> None:
        super().__init__(base, replace(base.entry, size=size))
        self._reader = ExactReader(base)
        self._size = size
        self._at = 0
        self._stop = size
        self._seek_first = True  # the base is not at the bytes that come next

    async def seek(self, start: int, stop: int | None = None) -> None:
        self._at = start
        self._stop = self._size if stop is None else min(stop, self._size)
        self._seek_first = True


async def with_end(stream: ReadStream, window: int | None, size: int) -> tuple[ReadStream, bytes]:
    """Return the stream to continue with, and the last `size` bytes of the file, whose size must be known.

    The first request asked for `window` bytes. A file that is not larger is kept in memory then, so that looking at its
    end costs no second request.
    """
    whole = stream.entry.size or 0
    if window is not None and whole <= window:
        held = BytesStream(stream.entry, await whole_part(stream, whole))
        await stream.aclose()
        stream = held
    reader = ExactReader(stream)
    await reader.seek(max(0, whole - size), whole)
    return stream, await reader.read(size)


class Base64(Codec):
    """Writes base64 without line breaks, as `base64 -w0` does, and reads any range of it."""

    encoded_at_once = 3 << 18  # a multiple of three, so that only the end is padded

    async def decoded(self, base: ReadStream, asked: int | None) -> ReadStream:
        base, end = await with_end(base, asked, 2)
        return _Base64Stream(base, end)

    def encoded(self, base: WriteSession, path: str) -> WriteSession:
        return _Base64Session(self, base, path)


class _Base64Stream(DecodedStream):
    def __init__(self, base: ReadStream, end: bytes) -> None:
        encoded = base.entry.size
        if encoded is None or encoded % 4:
            raise Damaged.of(base.entry.path, "base64: the length is not a multiple of four")
        super().__init__(base, encoded // 4 * 3 - end.count(b"="))

    async def chunk(self, want: int) -> bytes:
        if self._at >= self._stop:
            return b""
        group = self._at // 3
        want = max(1, min(want, Base64.encoded_at_once))
        behind = -(-min(self._stop, self._at + want) // 3)
        seek_first, self._seek_first = self._seek_first, True  # stays so if this fails
        if seek_first:
            await self._reader.seek(4 * group, 4 * -(-self._stop // 3))
        encoded = await self._reader.read(4 * (behind - group))
        try:
            data = binascii.a2b_base64(encoded, strict_mode=True)
        except binascii.Error as error:
            raise Damaged.of(self.entry.path, f"base64: {error}") from error
        start, self._at = self._at, min(3 * behind, self._stop)
        if len(data) < self._at - 3 * group:
            raise Damaged.of(self.entry.path, "base64: the file was cut short")
        self._seek_first = False
        return data[start - 3 * group : self._at - 3 * group]


class _Base64Session(MappedSession):
    def __init__(self, layer: Base64, base: WriteSession, path: str) -> None:
        super().__init__(layer, base, path)
        self._parts = PartWriter(base, layer.base.part_size)
        self._size = 0

    async def write(self, part: Part) -> None:
        self._size += len(part)
        await self._parts.write(binascii.b2a_base64(part, newline=False))

    async def prepare(self) -> dict[str, Any]:
        await self._parts.flush()
        return await super().prepare()

    async def commit(self) -> Entry:
        await self._parts.flush()
        return replace(await super().commit(), size=self._size)
