"""Layers that only change names: Prefix (a folder), Percent (encoded names), HashPrefix (names spread by a hash)."""

from __future__ import annotations

import hashlib
import heapq
import re
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote

from aiofs.errors import Unsupported
from aiofs.kit import together
from aiofs.layers.forward import power_of
from aiofs.layers.mapped import Mapped
from aiofs.names import RESERVED, begins_a_name, check_inside, check_path, check_prefix, is_reserved
from aiofs.powers import HasAddress, HasLocalPaths, Probes, Walks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable, Sequence
    from typing import Self

    from aiofs.driver import Driver, Entry, Power
    from aiofs.powers import Level, ServerFacts


class Prefix(Mapped):
    """Shows the files whose names begin with `prefix`, without that prefix. Usually it is a folder with its `/`.

    :raises ValueError: if no name can begin with `prefix`.
    """

    powers: ClassVar[tuple[type, ...]] = (*Mapped.powers, HasAddress, HasLocalPaths, Probes, Walks)

    def __init__(self, prefix: str) -> None:
        if check_prefix(prefix):
            check_path(prefix + "x")
        self._prefix = prefix

    def bind(self, base: Driver) -> Self:
        return super().bind(base.narrowed(self._prefix.count("/")))

    def inward(self, path: str) -> str:
        """Put the prefix before the name.

        :raises ValueError: if the name would lead out of the folder.
        """
        return self._prefix + check_inside(path)

    def beginning(self, prefix: str) -> str:
        return self._prefix + prefix

    def outward(self, path: str) -> str | None:
        """Remove the prefix. A file is not shown if the rest is not a name."""
        rest = path.removeprefix(self._prefix)
        return rest if path.startswith(self._prefix) and rest and not rest.startswith("/") else None

    async def walk(self, folder: str = "") -> AsyncGenerator[Level]:
        cut = len(self._prefix)
        with self.named():
            async with aclosing(power_of(self.base, Walks).walk((self._prefix + folder).removesuffix("/"))) as levels:
                async for theirs, folders, files in levels:
                    yield theirs[cut:], folders, files

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return what the base says of the name in it: a folder of a store is no other store."""
        return self.base.locate(self._prefix + path if path else self._prefix.removesuffix("/"))

    def address(self, folder: str) -> str:
        if not f"/{self._prefix}".endswith("/"):
            raise Unsupported.of(None, f"{self} has no URL: its prefix is not a whole folder")
        return power_of(self.base, HasAddress).address((self._prefix + folder).removesuffix("/"))

    async def probe(self, removed: Sequence[str]) -> ServerFacts:
        return await power_of(self.base, Probes).probe([self.within(path) for path in removed])

    def local_path(self, path: str) -> str:
        return power_of(self.base, HasLocalPaths).local_path(self.within(path))

    def offers(self, power: type[Power]) -> Power | None:
        """Return the driver that has the power. A walk is offered only if the prefix is a whole folder."""
        if power is Walks and not f"/{self._prefix}".endswith("/"):
            return None
        return super().offers(power)

    def __str__(self) -> str:
        over = f", {self.base}" if hasattr(self, "base") else ""
        return f"Prefix({self._prefix!r}{over})"


_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")
_SHARDS_AT_ONCE = 32


class Percent(Mapped):
    """Writes names with letters, digits, `-`, `_`, `.` and `~` only; other characters are percent-encoded, as in a URL.

    Names that Windows cannot hold, such as `CON` and a dot at the end, are encoded too. Files of the base whose names
    this layer would have written otherwise are not shown. A listing sorts one folder at a time in memory.
    """

    def inward(self, path: str) -> str:
        return "/".join(map(_encode, path.split("/")))

    def outward(self, path: str) -> str | None:
        """Decode every segment. A name that `inward` would not have made is not shown."""
        try:
            name = unquote(path, errors="strict")
        except UnicodeDecodeError:
            return None
        return name if self.inward(name) == path else None

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """List one folder after another, each sorted by its decoded names."""
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
    """Puts each file into a folder named by a hash, so that a store that divides its work by name divides it evenly.

    `length` is the number of hexadecimal digits, so there are up to `16 ** length` folders. A listing reads all of them
    and merges them in order.

    :raises ValueError: for a `length` that is not 1 to 4.
    """

    def __init__(self, length: int = 2) -> None:
        if length not in range(1, 5):
            raise ValueError(f"length {length!r}: use 1 to 4")
        self._length = length

    def inward(self, path: str) -> str:
        return f"{self._hash(path)}/{path}"

    def outward(self, path: str) -> str | None:
        shard, _, name = path.partition("/")
        if name.endswith("/") or is_reserved(name):  # a folder, or a file that the base keeps for itself
            return name if len(shard) == self._length else None
        return name if name and shard == self._hash(name) else None

    def beginning(self, prefix: str) -> str:
        """Return an empty beginning: such files may be in any folder."""
        return ""

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """List all folders at the same time, and merge them in order."""
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
                    if entry.path != last:  # a folder can be in several of them
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
        """Return the folders that can hold such names, always with that of journals, which a listing need not show."""
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
    """Merge sorted listings into one. At most `_SHARDS_AT_ONCE` of them begin at the same time."""
    heads: list[tuple[str, int, Entry]] = []
    for start in range(0, len(streams), _SHARDS_AT_ONCE):
        some = streams[start : start + _SHARDS_AT_ONCE]
        for place, entry in enumerate(await together(anext(stream, None) for stream in some)):
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


def _encode(segment: str) -> str:
    encoded = quote(segment, safe="")
    if _DEVICE.match(encoded):
        return f"%{ord(encoded[0]):02X}{encoded[1:]}"
    return f"{encoded[:-1]}%2E" if encoded.endswith(".") else encoded
