"""Layers that only change names: Percent for stores that hold few characters, HashPrefix to spread files evenly."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import re
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from aiofs.layers.mapped import Mapped
from aiofs.names import RESERVED, begins_a_name, is_reserved

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aiofs.driver import Entry

_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")
_SHARDS_AT_ONCE = 32


class Percent(Mapped):
    """Writes names with letters, digits, `-`, `_`, `.` and `~` only; all else is percent-encoded UTF-8, as in a URL.

    What Windows does not hold, such as `CON` and a dot at the end, is encoded too. Names that are in the store
    and would not be written so are no files of this layer's. Listings sort one folder at a time in memory.
    """

    def inward(self, path: str) -> str:
        """Encode every segment."""
        return "/".join(map(_encode, path.split("/")))

    def outward(self, path: str) -> str | None:
        """Decode every segment."""
        try:
            name = unquote(path, errors="strict")
        except UnicodeDecodeError:
            return None
        return name if self.inward(name) == path else None

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """List folder after folder, each sorted by its decoded names."""
        folder, slash, _ = prefix.rpartition("/")
        for entry in await self._level(folder + slash):
            path = entry.path
            if not path.startswith(prefix) and not (entry.is_folder and prefix.startswith(path)):
                continue
            if entry.is_folder and delimiter is None:
                if path >= after or after.startswith(path):
                    async with aclosing(self.list(path, after=after)) as below:
                        async for deeper in below:
                            yield deeper
            elif path > after:
                yield entry

    async def _level(self, folder: str) -> Sequence[Entry]:
        async with aclosing(super().list(folder, delimiter="/")) as entries:
            return sorted([entry async for entry in entries], key=lambda entry: entry.path)


class HashPrefix(Mapped):
    """Puts names below folders by a hash of them, so that a store that divides its work by name can divide it evenly.

    `length` hexadecimal digits make `16 ** length` folders. A listing merges those that there are, in order.

    :raises ValueError: for a `length` that is not 1 to 4.
    """

    def __init__(self, length: int = 2) -> None:
        if length not in range(1, 5):
            raise ValueError(f"length {length!r}: use 1 to 4")
        self._length = length

    def inward(self, path: str) -> str:
        """Put the hash before it."""
        return f"{self._hash(path)}/{path}"

    def outward(self, path: str) -> str | None:
        """Leave the hash out."""
        shard, _, name = path.partition("/")
        if name.endswith("/") or is_reserved(name):  # a folder of many files, or what the base keeps beside one
            return name if len(shard) == self._length else None
        return name if name and shard == self._hash(name) else None

    def beginning(self, prefix: str) -> str:
        """Return nothing: they are in all folders."""
        return ""

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Merge the listings of all folders."""
        if not begins_a_name(prefix):
            return
        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(aclosing(self._shard(shard, prefix, after, delimiter)))
                for shard in await self._shards(prefix)
            ]
            last = ""
            async with aclosing(merged(streams)) as entries:
                async for entry in entries:
                    if entry.path != last:  # a folder is in many of them
                        last = entry.path
                        yield entry

    async def _shard(self, shard: str, prefix: str, after: str, delimiter: str | None) -> AsyncGenerator[Entry]:
        behind = shard + after if after else ""
        async with aclosing(self.base.list(shard + prefix, after=behind, delimiter=delimiter)) as entries:
            async for theirs in entries:
                ours = self.entry(theirs)
                if ours is not None:
                    yield ours

    async def _shards(self, prefix: str) -> Sequence[str]:
        """Return the folders that may have such names, that of journals too: no listing of folders need show it."""
        journals = f"{self._hash(RESERVED)}/"
        if is_reserved(prefix):
            return [journals]
        async with aclosing(self.base.list(delimiter="/")) as entries:
            found = {entry.path async for entry in entries if entry.is_folder and len(entry.path) == len(journals)}
        return sorted({*found, journals})

    def _hash(self, path: str) -> str:
        if is_reserved(path):
            return "0" * self._length
        return hashlib.sha256(path.encode()).hexdigest()[: self._length]


async def merged(streams: list[AsyncGenerator[Entry]]) -> AsyncGenerator[Entry]:
    """Merge sorted listings into one. Few ask for their first entries at once."""
    heads: list[tuple[str, int, Entry]] = []
    for start in range(0, len(streams), _SHARDS_AT_ONCE):
        some = streams[start : start + _SHARDS_AT_ONCE]
        for place, entry in enumerate(await _firsts(some)):
            if entry is not None:
                heads.append((entry.path, start + place, entry))
    heapq.heapify(heads)
    while heads:
        _, place, entry = heads[0]
        yield entry
        following = await anext(streams[place], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.path, place, following))


async def _firsts(streams: list[AsyncGenerator[Entry]]) -> list[Entry | None]:
    """Return the first entry of each. Also when this raises all have answered, so that they can be closed."""
    answers = await asyncio.gather(*(anext(stream, None) for stream in streams), return_exceptions=True)
    firsts: list[Entry | None] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        firsts.append(answer)
    return firsts


def _encode(segment: str) -> str:
    encoded = quote(segment, safe="")
    if _DEVICE.match(encoded):
        return f"%{ord(encoded[0]):02X}{encoded[1:]}"
    return f"{encoded[:-1]}%2E" if encoded.endswith(".") else encoded
