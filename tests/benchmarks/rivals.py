"""What two libraries in Rust do with a store, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import obstore
from turns import LARGE, SMALL, Operations, through

if TYPE_CHECKING:
    import opendal
    from obstore.store import ObjectStore

STEP = 1 << 20


def by_obstore(store: ObjectStore) -> Operations:
    """obstore, over the store's own class."""

    async def get(name: str) -> None:
        await (await obstore.get_async(store, name)).bytes_async()

    async def stream() -> None:
        await through((await obstore.get_async(store, "huge")).stream(min_chunk_size=STEP))

    return {
        "GET 1 KiB": lambda: get("small"),
        "HEAD": lambda: obstore.head_async(store, "small"),
        "PUT 1 KiB": lambda: obstore.put_async(store, "new", SMALL, use_multipart=False),
        "LIST 1000": lambda: through(obstore.list(store, "many")),
        "GET 64 MiB": lambda: get("large"),
        "PUT 64 MiB": lambda: obstore.put_async(store, "new", LARGE),
        "stream 256 MiB": stream,
    }


def by_opendal(operator: opendal.AsyncOperator) -> Operations:
    """opendal, over an operator of the store."""

    async def listed() -> None:
        await through(await operator.list("many/"))

    async def stream() -> None:
        async with await operator.open("huge", "rb") as file:
            while await file.read(STEP):
                pass

    return {
        "GET 1 KiB": lambda: operator.read("small"),
        "HEAD": lambda: operator.stat("small"),
        "PUT 1 KiB": lambda: operator.write("new", SMALL),
        "LIST 1000": listed,
        "GET 64 MiB": lambda: operator.read("large"),
        "PUT 64 MiB": lambda: operator.write("new", LARGE),
        "stream 256 MiB": stream,
    }
