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

import opendal
from adlfs import AzureBlobFileSystem
from azure.storage.blob.aio import ContainerClient
from obstore.store import AzureStore
from rivals import by_obstore, by_opendal
from turns import LARGE, SMALL, Operations, compare, through

from aiofs.stores import AzureFileSystem

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.azurite.install import NODE, install
from servers.azurite.server import ACCOUNT, KEY, OPTIONS, AzureAccount
from servers.process import HOST, running

CONTAINER = "benchmark"
PLAN = (
    ("GET 1 KiB", 1, 64),
    ("GET 1 KiB", 32, 64),
    ("HEAD", 1, 64),
    ("PUT 1 KiB", 1, 32),
    ("LIST 1000", 1, 1),
    ("GET 64 MiB", 1, 1),
    ("PUT 64 MiB", 1, 1),
)


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
        "PUT 64 MiB": lambda: client.upload_blob("new", LARGE, overwrite=True, max_concurrency=4),
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
        "PUT 64 MiB": lambda: fs._pipe_file(f"{CONTAINER}/new", LARGE),
    }


def by_rust(account: AzureAccount) -> dict[str, Operations]:
    """obstore and opendal."""
    keys = {"account_name": account.name, "account_key": account.key, "endpoint": account.url}
    store = AzureStore(CONTAINER, **keys, client_options={"allow_http": True})
    operator = opendal.AsyncOperator("azblob", container=CONTAINER, **keys)
    return {"obstore": by_obstore(store), "opendal": by_opendal(operator)}


async def by_aiofs(account: AzureAccount, stack: AsyncExitStack) -> Operations:
    """aiofs, which writes under a lock."""
    fs = await stack.enter_async_context(AzureFileSystem(CONTAINER, connection_string=account.connection_string))
    return {
        "GET 1 KiB": lambda: fs.read_bytes("small"),
        "HEAD": lambda: fs.stat("small"),
        "PUT 1 KiB": lambda: fs.write_bytes("new", SMALL),
        "LIST 1000": lambda: through(fs.scan("many")),
        "GET 64 MiB": lambda: fs.read_bytes("large"),
        "PUT 64 MiB": lambda: fs.write_bytes("new", LARGE),
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
            **by_rust(account),
            "aiofs": await by_aiofs(account, stack),
        }
        await compare(contenders, PLAN)


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
