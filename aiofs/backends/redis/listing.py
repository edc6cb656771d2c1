"""Listing: the keys of all nodes, which come in no order, are sorted into pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.redis.errors import failed
from aiofs.backends.redis.names import COMPANIONS, key_of, path_of, pattern_of
from aiofs.driver import Entry
from aiofs.errors import WrongType
from aiofs.kit import level_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aiofs.backends.redis.client import RedisClient

SIZES_AT_ONCE = 1000


async def entries(
    client: RedisClient, prefix: str, after: str, delimiter: str | None, page: int
) -> AsyncGenerator[Entry]:
    """Yield entries that begin with `prefix` and come after `after`, in order.

    All keys are looked at for each page of names, so that memory does not grow with their number.
    """
    full = True
    while full:
        names = await _first_names(client, prefix, after, delimiter, page)
        for start in range(0, len(names), SIZES_AT_ONCE):
            for entry in await _sized(client, names[start : start + SIZES_AT_ONCE]):
                yield entry
        full = len(names) == page
        after = names[-1] if names else after


async def _first_names(client: RedisClient, prefix: str, after: str, delimiter: str | None, count: int) -> list[str]:
    """Return the first `count` names after `after`, cut at the delimiter, in order.

    At most twice as many names are in memory, however many keys there are.
    """
    found: set[str] = set()
    last: str | None = None
    async for key in client.keys(pattern_of(prefix)):
        name = path_of(key)
        if key.startswith(COMPANIONS) or not name.startswith(prefix):
            continue
        name = level_name(name, prefix, delimiter)
        if name > after and (last is None or name < last):
            found.add(name)
            if len(found) >= 2 * count:
                kept = sorted(found)[:count]
                found, last = set(kept), kept[-1]
    return sorted(found)[:count]


async def _sized(client: RedisClient, names: Sequence[str]) -> list[Entry]:
    """Return the entries of names, without names that are not files, or not any more."""
    files = [name for name in names if not name.endswith("/")]
    sizes = dict(zip(files, await _sizes(client, files), strict=True))
    return [Entry(name, sizes.get(name)) for name in names if sizes.get(name, 0) is not None]


async def _sizes(client: RedisClient, files: Sequence[str]) -> list[int | None]:
    """Return the size of each file, `None` for a key that is not a file."""
    keys = [key_of(name) for name in files]
    sizes: list[int | None] = []
    parted: list[int] = []
    empty: list[int] = []
    for index, answer in enumerate(await client.ask_each([("STRLEN", key) for key in keys])):
        if isinstance(answer, Exception):
            error = failed(answer, files[index])
            if not isinstance(error, WrongType):
                raise error from answer
            parted.append(index)
        elif not answer:
            empty.append(index)
        sizes.append(None if isinstance(answer, Exception) else answer)
    for index, there in zip(empty, await client.ask_each([("EXISTS", keys[i]) for i in empty]), strict=True):
        sizes[index] = 0 if there else None
    manifests = await client.ask_each([("HMGET", keys[i], "aiofs", "size") for i in parted])
    for index, fields in zip(parted, manifests, strict=True):
        if isinstance(fields, list) and fields[0] is not None:
            sizes[index] = int(fields[1])
    return sizes
