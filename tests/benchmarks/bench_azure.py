"""Azure: its SDK, adlfs, obstore, opendal and aiofs side by side, over an Azurite of the benchmark's own.

`python tests/benchmarks/bench_azure.py`; what is measured, `turns.py` says. Azurite is another process, so what it
takes is not counted.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
import opendal
from adlfs import AzureBlobFileSystem
from azure.storage.blob.aio import ContainerClient
from obstore.store import AzureStore
from turns import Operation, take_turns

from aiofs.stores import AzureFileSystem

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.azurite.install import NODE, install
from servers.azurite.server import ACCOUNT, KEY, OPTIONS, AzureAccount
from servers.process import HOST, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

CONTAINER = "benchmark"
SMALL = bytes(1024)
LARGE = bytes(64 << 20)
Operations = dict[str, Operation]


async def through(listing: AsyncIterable[Any]) -> None:
    """Go through a listing."""
    async for _ in listing:
        pass


async def by_sdk(account: AzureAccount, stack: AsyncExitStack) -> Operations:
    """The raw SDK, as it comes."""
    client = await stack.enter_async_context(
        ContainerClient.from_connection_string(account.connection_string, CONTAINER)
    )

    async def get(name: str) -> None:
        await (await client.download_blob(name)).readall()

    return {
        "GET 1 KiB": lambda: get("small"),
        "HEAD": lambda: client.get_blob_client("small").get_blob_properties(),
        "PUT 1 KiB": lambda: client.upload_blob("new", SMALL, overwrite=True),
        "LIST 1000": lambda: through(client.list_blobs("many/")),
        "GET 64 MiB": lambda: get("large"),
        "PUT 64 MiB": lambda: client.upload_blob("large", LARGE, overwrite=True, max_concurrency=4),
    }


async def by_adlfs(account: AzureAccount, stack: AsyncExitStack) -> Operations:
    """adlfs, by its asynchronous methods; called synchronous, it has a loop to end in when the process does."""
    fs = AzureBlobFileSystem(connection_string=account.connection_string)
    stack.push_async_callback(fs.service_client.close)

    async def listed() -> None:
        fs.dircache.clear()
        await fs._ls(f"{CONTAINER}/many", detail=True)

    return {
        "GET 1 KiB": lambda: fs._cat_file(f"{CONTAINER}/small"),
        "HEAD": lambda: fs._info(f"{CONTAINER}/small", refresh=True),
        "PUT 1 KiB": lambda: fs._pipe_file(f"{CONTAINER}/new", SMALL),
        "LIST 1000": listed,
        "GET 64 MiB": lambda: fs._cat_file(f"{CONTAINER}/large"),
        "PUT 64 MiB": lambda: fs._pipe_file(f"{CONTAINER}/large", LARGE),
    }


async def by_obstore(account: AzureAccount, _: AsyncExitStack) -> Operations:
    """obstore, in Rust."""
    store = AzureStore(
        CONTAINER,
        account_name=account.name,
        account_key=account.key,
        endpoint=account.url,
        client_options={"allow_http": True},
    )

    async def get(name: str) -> None:
        await (await obstore.get_async(store, name)).bytes_async()

    return {
        "GET 1 KiB": lambda: get("small"),
        "HEAD": lambda: obstore.head_async(store, "small"),
        "PUT 1 KiB": lambda: obstore.put_async(store, "new", SMALL),
        "LIST 1000": lambda: through(store.list("many/")),
        "GET 64 MiB": lambda: get("large"),
        "PUT 64 MiB": lambda: obstore.put_async(store, "large", LARGE),
    }


async def by_opendal(account: AzureAccount, _: AsyncExitStack) -> Operations:
    """opendal, in Rust."""
    operator = opendal.AsyncOperator(
        "azblob", container=CONTAINER, endpoint=account.url, account_name=account.name, account_key=account.key
    )

    async def listed() -> None:
        await through(await operator.list("many/"))

    return {
        "GET 1 KiB": lambda: operator.read("small"),
        "HEAD": lambda: operator.stat("small"),
        "PUT 1 KiB": lambda: operator.write("new", SMALL),
        "LIST 1000": listed,
        "GET 64 MiB": lambda: operator.read("large"),
        "PUT 64 MiB": lambda: operator.write("large", LARGE),
    }


async def by_aiofs(account: AzureAccount, stack: AsyncExitStack) -> Operations:
    """aiofs, which writes under a lock."""
    fs = await stack.enter_async_context(AzureFileSystem(CONTAINER, connection_string=account.connection_string))
    return {
        "GET 1 KiB": lambda: fs.read_bytes("small"),
        "HEAD": lambda: fs.stat("small"),
        "PUT 1 KiB": lambda: fs.write_bytes("new", SMALL),
        "LIST 1000": lambda: through(fs.scan("many")),
        "GET 64 MiB": lambda: fs.read_bytes("large"),
        "PUT 64 MiB": lambda: fs.write_bytes("large", LARGE),
    }


async def fill(account: AzureAccount) -> None:
    """Make the container, and what is read."""
    async with ContainerClient.from_connection_string(account.connection_string, CONTAINER) as client:
        await client.create_container()
        await client.upload_blob("small", SMALL)
        await client.upload_blob("large", LARGE)
        for number in range(1000):
            await client.upload_blob(f"many/{number:04}", b"")


async def measure(account: AzureAccount) -> None:
    """Print a line for each operation."""
    await fill(account)
    async with AsyncExitStack() as stack:
        contenders = {
            "SDK": await by_sdk(account, stack),
            "adlfs": await by_adlfs(account, stack),
            "obstore": await by_obstore(account, stack),
            "opendal": await by_opendal(account, stack),
            "aiofs": await by_aiofs(account, stack),
        }
        for what, width, count in (
            ("GET 1 KiB", 1, 64),
            ("GET 1 KiB", 32, 64),
            ("HEAD", 1, 64),
            ("PUT 1 KiB", 1, 32),
            ("LIST 1000", 1, 1),
            ("GET 64 MiB", 1, 1),
            ("PUT 64 MiB", 1, 1),
        ):
            able = {name: operations[what] for name, operations in contenders.items()}
            await take_turns(what, able, width=width, count=count)


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
