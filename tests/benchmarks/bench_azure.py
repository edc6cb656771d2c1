"""Azure: its SDK, adlfs, obstore and aiofs side by side, client CPU per operation, over an Azurite of the run's own.

`python tests/benchmarks/bench_azure.py`, with adlfs and obstore installed beside. Contenders take turns; a figure is
the median of the rounds. Azurite is another process, so what it takes is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from pathlib import Path
from typing import Any

import obstore
from adlfs import AzureBlobFileSystem
from azure.storage.blob.aio import ContainerClient
from obstore.store import AzureStore

from aiofs.stores import AzureFileSystem

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.azurite.install import NODE, install
from servers.azurite.server import ACCOUNT, KEY, OPTIONS, AzureAccount
from servers.process import HOST, running

ROUNDS = 11
CONTAINER = "benchmark"
SMALL = bytes(1024)
LARGE = bytes(64 << 20)
Operation = Callable[[], Awaitable[Any]]


async def cpu(operation: Operation, width: int, count: int) -> float:
    """Return the microseconds of this process's CPU that an operation takes, `width` at a time."""

    async def some() -> None:
        for _ in range(count // width):
            await operation()

    began = time.process_time()
    await asyncio.gather(*[some() for _ in range(width)])
    return (time.process_time() - began) / count * 1e6


async def through(listing: AsyncIterable[Any]) -> None:
    """Go through a listing."""
    async for _ in listing:
        pass


async def measure(account: AzureAccount) -> None:
    """Print a line for each operation."""
    async with contextlib.AsyncExitStack() as stack:
        sdk = await stack.enter_async_context(
            ContainerClient.from_connection_string(account.connection_string, CONTAINER)
        )
        await sdk.create_container()
        ours = await stack.enter_async_context(AzureFileSystem(CONTAINER, connection_string=account.connection_string))
        fsspec = AzureBlobFileSystem(connection_string=account.connection_string, asynchronous=True)
        rust = AzureStore(
            CONTAINER,
            account_name=account.name,
            account_key=account.key,
            endpoint=account.url,
            client_options={"allow_http": True},
        )
        await sdk.upload_blob("small", SMALL)
        for number in range(1000):
            await sdk.upload_blob(f"many/{number:04}", b"")

        async def sdk_get(name: str) -> None:
            await (await sdk.download_blob(name)).readall()

        async def rust_get(name: str) -> None:
            await (await obstore.get_async(rust, name)).bytes_async()

        async def fsspec_list() -> None:
            fsspec.dircache.clear()
            await fsspec._ls(f"{CONTAINER}/many", detail=True)

        small: dict[str, Operation] = {
            "SDK": lambda: sdk_get("small"),
            "adlfs": lambda: fsspec._cat_file(f"{CONTAINER}/small"),
            "obstore": lambda: rust_get("small"),
            "aiofs": lambda: ours.read_bytes("small"),
        }
        await measure_all("GET 1 KiB x1", 1, 64, small)
        await measure_all("GET 1 KiB x32", 32, 64, small)
        await measure_all(
            "HEAD",
            1,
            64,
            {
                "SDK": lambda: sdk.get_blob_client("small").get_blob_properties(),
                "adlfs": lambda: fsspec._info(f"{CONTAINER}/small", refresh=True),
                "obstore": lambda: obstore.head_async(rust, "small"),
                "aiofs": lambda: ours.stat("small"),
            },
        )
        await measure_all(
            "PUT 1 KiB",
            1,
            32,
            {
                "SDK": lambda: sdk.upload_blob("new", SMALL, overwrite=True),
                "adlfs": lambda: fsspec._pipe_file(f"{CONTAINER}/new", SMALL),
                "obstore": lambda: obstore.put_async(rust, "new", SMALL),
                "aiofs, locked": lambda: ours.write_bytes("new", SMALL),
            },
        )
        await measure_all(
            "LIST 1000",
            1,
            1,
            {
                "SDK": lambda: through(sdk.list_blobs("many/")),
                "adlfs": fsspec_list,
                "obstore": lambda: through(rust.list("many/")),
                "aiofs": lambda: through(ours.scan("many")),
            },
        )
        await measure_all(
            "PUT 64 MiB",
            1,
            1,
            {
                "SDK": lambda: sdk.upload_blob("large", LARGE, overwrite=True, max_concurrency=4),
                "adlfs": lambda: fsspec._pipe_file(f"{CONTAINER}/large", LARGE),
                "obstore": lambda: obstore.put_async(rust, "large", LARGE),
                "aiofs": lambda: ours.write_bytes("large", LARGE),
            },
        )
        await measure_all(
            "GET 64 MiB",
            1,
            1,
            {
                "SDK": lambda: sdk_get("large"),
                "adlfs": lambda: fsspec._cat_file(f"{CONTAINER}/large"),
                "obstore": lambda: rust_get("large"),
                "aiofs": lambda: ours.read_bytes("large"),
            },
        )


async def measure_all(what: str, width: int, count: int, contenders: dict[str, Operation]) -> None:
    """Let the contenders take turns, and print the median of each and its ratio to the first."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, operation in contenders.items():
            taken[name].append(await cpu(operation, width, count))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    first = next(iter(medians.values()))
    print(f"{what:14}", *[f"{name} {time:.0f} µs ({time / first:.2f})" for name, time in medians.items()], sep="  ")


def main() -> None:
    """Start Azurite and measure."""
    script = install()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            "azurite",
            lambda port: (str(NODE), str(script), "--blobHost", HOST, "--blobPort", str(port), *OPTIONS),
            Path(folder),
            environment={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
        ) as port,
    ):
        asyncio.run(measure(AzureAccount(f"http://{HOST}:{port}/{ACCOUNT}", ACCOUNT, KEY)))


if __name__ == "__main__":
    main()
