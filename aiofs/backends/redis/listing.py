"""Listing: the keys of all nodes, which come in no order, sorted into pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.redis.errors import failed
from aiofs.backends.redis.names import COMPANIONS, key_of, path_of, pattern_of
from aiofs.driver import Entry
from aiofs.errors import WrongType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.backends.redis.client import Connection


async def first_names(connection: Connection, prefix: str, after: str, delimiter: str | None, count: int) -> list[str]:
    """Return the first `count` names behind `after`, cut at the delimiter, in order.

    However many keys there are, no more than twice as many names are in memory.
    """
    found: set[str] = set()
    last: str | None = None
    async for key in connection.keys(pattern_of(prefix)):
        name = path_of(key)
        if key.startswith(COMPANIONS) or not name.startswith(prefix):
            continue
        end = name.find(delimiter, len(prefix)) + 1 if delimiter else 0
        name = name[:end] if end else name
        if name > after and (last is None or name < last):
            found.add(name)
            if len(found) >= 2 * count:
                kept = sorted(found)[:count]
                found, last = set(kept), kept[-1]
    return sorted(found)[:count]


async def sized(connection: Connection, names: Sequence[str]) -> list[Entry]:
    """Return the entries of names, without those that are not files (any more)."""
    files = [name for name in names if not name.endswith("/")]
    sizes = dict(zip(files, await _sizes(connection, files), strict=True))
    return [Entry(name, sizes.get(name)) for name in names if sizes.get(name, 0) is not None]


async def _sizes(connection: Connection, files: Sequence[str]) -> list[int | None]:
    """Return the size of each file, `None` for what is none."""
    keys = [key_of(name) for name in files]
    sizes: list[int | None] = []
    parted: list[int] = []
    empty: list[int] = []
    for index, answer in enumerate(await connection.ask_each([("STRLEN", key) for key in keys])):
        if isinstance(answer, Exception):
            error = failed(answer, files[index])
            if not isinstance(error, WrongType):
                raise error from answer
            parted.append(index)
        elif not answer:
            empty.append(index)
        sizes.append(None if isinstance(answer, Exception) else answer)
    for index, there in zip(empty, await connection.ask_each([("EXISTS", keys[i]) for i in empty]), strict=True):
        sizes[index] = 0 if there else None
    manifests = await connection.ask_each([("HMGET", keys[i], "aiofs", "size") for i in parted])
    for index, fields in zip(parted, manifests, strict=True):
        if isinstance(fields, list) and fields[0] is not None:
            sizes[index] = int(fields[1])
    return sizes
